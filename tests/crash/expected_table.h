// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_EXPECTED_TABLE_H_
#define REEMBED_TESTS_CRASH_EXPECTED_TABLE_H_

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// What must be true of a job at any moment and in the end, made beside it and without its code: rows, texts, and the
// vector that each text must have, compared bit by bit.
namespace reembed {

struct ExpectedRow {
  std::string key;       // as text, also of a table whose keys are numbers
  std::string text;      // empty: rejected
  bool refused = false;  // the server takes this text only later
};

struct ExpectedTable {
  int dim = 0;
  bool number_keys = true;
  std::vector<ExpectedRow> rows;

  // Rows that have a vector in the end; `all`: the server refuses none any more.
  bool HasVector(const ExpectedRow& row, bool all) const { return !row.text.empty() && (all || !row.refused); }
};

// How texts begin that are bought for rows, unlike those of probes.
inline constexpr absl::string_view kRowTextMark = "row text ";

// Random rows: texts that several rows share, empty ones, long and odd ones; `refuses`: some that the server refuses;
// `number_keys`: the keys are numbers, else they may be.
ExpectedTable MakeExpectedTable(bool refuses, bool number_keys, std::mt19937_64* random);

// Of a text, as TextVector().
std::string ExpectedBytes(absl::string_view text, int dim);

// What a comparison found. Nothing of it may ever be there.
struct Findings {
  int64_t lost = 0;               // rows without a vector that should have one, or without a line in the ledger
  int64_t foreign = 0;            // rows with another vector than their own, in a target or in the ledger's slots
  int64_t wrong = 0;              // everything else that does not fit together
  int64_t twice = 0;              // texts bought twice beyond what the command says
  std::vector<std::string> said;  // the first ten, in words

  bool any() const { return lost + foreign + wrong + twice > 0; }
  void Lose(std::string what) { Say(&lost, std::move(what)); }
  void Mistake(std::string what) { Say(&foreign, std::move(what)); }
  void Doubt(std::string what) { Say(&wrong, std::move(what)); }
  void Overpay(int64_t texts, std::string what);
  std::string Text() const;

 private:
  void Say(int64_t* count, std::string what);
};

enum class JobState {
  kKilled,    // only what is there must be right
  kFinished,  // everything must be there
};

// Compares JOB/ledger.db and JOB/vectors.f32 with the table, by straight SQLite. `targets`: how many the job has.
void CheckLedger(const std::string& job, const ExpectedTable& table, JobState state, bool all, int targets,
                 Findings* findings);

// Compares what a target holds (key -> bytes of the vector) with the table. `before`: what rows may still hold.
void CheckVectors(const std::string& target, const std::map<std::string, std::string>& stored,
                  const std::map<std::string, std::string>& before, const ExpectedTable& table, JobState state,
                  bool all, Findings* findings);

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_EXPECTED_TABLE_H_
