// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/expected_table.h"

#include <sqlite3.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

constexpr size_t kMostSaid = 10;

// A read-only connection of straight SQLite: what a killed process has left is not touched before the next run.
class Database {
 public:
  explicit Database(const std::string& path) {
    sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READONLY, nullptr);
    sqlite3_busy_timeout(db_, 5000);
  }
  ~Database() { sqlite3_close(db_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Calls `row` for each row; returns what went wrong, empty if nothing.
  std::string Each(const std::string& sql, const std::function<void(sqlite3_stmt*)>& row) const {
    sqlite3_stmt* statement = nullptr;
    int code = sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
      code = sqlite3_step(statement);
      if (code == SQLITE_ROW) row(statement);
    }
    const std::string problem = code == SQLITE_DONE ? "" : sqlite3_errmsg(db_);
    sqlite3_finalize(statement);
    return problem;
  }

  int64_t Number(const std::string& sql) const {
    int64_t number = -1;
    Each(sql, [&](sqlite3_stmt* row) { number = sqlite3_column_int64(row, 0); });
    return number;
  }

 private:
  sqlite3* db_ = nullptr;
};

std::string BytesAt(sqlite3_stmt* row, int column) {
  const void* const bytes = sqlite3_column_blob(row, column);
  const int size = sqlite3_column_bytes(row, column);
  return bytes == nullptr ? "" : std::string(static_cast<const char*>(bytes), size);
}

// As the ledger's format has it, from the library itself.
std::string HashBytes(absl::string_view text) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text.data(), text.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
}

// The ledger as it is on the disk.
struct LedgerRows {
  struct Row {
    int64_t ordinal;
    std::string key;
    int64_t slot;
  };
  std::vector<Row> rows;
  std::map<int64_t, std::string> hash_of_slot;
  std::vector<std::pair<int64_t, int64_t>> kept;  // [begin, end)
  std::map<std::string, int64_t> rejected;        // by key: how often, of all sinks together
  std::map<std::string, int64_t> positions;       // by sink

  bool IsKept(int64_t slot) const {
    return std::any_of(kept.begin(), kept.end(),
                       [&](const auto& run) { return slot >= run.first && slot < run.second; });
  }
};

LedgerRows ReadLedger(const Database& db, Findings* findings) {
  LedgerRows ledger;
  const auto read = [&](const std::string& sql, const std::function<void(sqlite3_stmt*)>& row) {
    if (const std::string problem = db.Each(sql, row); !problem.empty()) {
      findings->Doubt(absl::StrCat("ledger.db: ", problem, ": ", sql));
    }
  };
  read("SELECT ordinal, CAST(key AS TEXT), slot FROM rows ORDER BY ordinal", [&](sqlite3_stmt* row) {
    ledger.rows.push_back({sqlite3_column_int64(row, 0), BytesAt(row, 1), sqlite3_column_int64(row, 2)});
  });
  read("SELECT slot, hash FROM texts",
       [&](sqlite3_stmt* row) { ledger.hash_of_slot[sqlite3_column_int64(row, 0)] = BytesAt(row, 1); });
  read("SELECT slot_begin, slot_end FROM kept ORDER BY 1", [&](sqlite3_stmt* row) {
    ledger.kept.emplace_back(sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1));
  });
  read("SELECT CAST(key AS TEXT), count(*) FROM rejects JOIN rows USING (ordinal) GROUP BY 1",
       [&](sqlite3_stmt* row) { ledger.rejected[BytesAt(row, 0)] = sqlite3_column_int64(row, 1); });
  read("SELECT name, position FROM sinks",
       [&](sqlite3_stmt* row) { ledger.positions[BytesAt(row, 0)] = sqlite3_column_int64(row, 1); });
  return ledger;
}

// Slots, hashes and vectors fit together, whatever the rows are.
void CheckSlots(const LedgerRows& ledger, const std::string& vectors, const ExpectedTable& table, Findings* findings) {
  std::map<std::string, const ExpectedRow*> text_of_hash;
  for (const ExpectedRow& row : table.rows) text_of_hash[HashBytes(row.text)] = &row;
  std::map<std::string, int64_t> slot_of_hash;
  for (const auto& [slot, hash] : ledger.hash_of_slot) {
    const auto [other, is_new] = slot_of_hash.emplace(hash, slot);
    if (!is_new) findings->Doubt(absl::StrCat("slots ", other->second, " and ", slot, " have the same text"));
  }
  for (size_t i = 1; i < ledger.kept.size(); ++i) {
    if (ledger.kept[i].first < ledger.kept[i - 1].second) findings->Doubt("kept runs overlap");
  }
  const size_t bytes = table.dim * sizeof(float);
  for (const auto& [begin, end] : ledger.kept) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const auto hash = ledger.hash_of_slot.find(slot);
      if (hash == ledger.hash_of_slot.end() || !text_of_hash.contains(hash->second)) {
        findings->Doubt(absl::StrCat("slot ", slot, " is kept for a text that no row has"));
        continue;
      }
      const ExpectedRow& row = *text_of_hash[hash->second];
      const std::string stored = slot * bytes + bytes <= vectors.size() ? vectors.substr(slot * bytes, bytes) : "";
      if (stored.empty()) {
        findings->Lose(absl::StrCat("vectors.f32 ends before slot ", slot, " of row ", row.key));
      } else if (stored != ExpectedBytes(row.text, table.dim)) {
        findings->Mistake(absl::StrCat("vectors.f32: slot ", slot, " of row ", row.key, " holds another vector"));
      }
    }
  }
}

void CheckRows(const LedgerRows& ledger, const ExpectedTable& table, JobState state, bool all, Findings* findings) {
  std::map<std::string, const ExpectedRow*> expected;
  for (const ExpectedRow& row : table.rows) expected[row.key] = &row;
  std::map<std::string, int64_t> seen;
  for (size_t i = 0; i < ledger.rows.size(); ++i) {
    const LedgerRows::Row& row = ledger.rows[i];
    if (row.ordinal != static_cast<int64_t>(i)) findings->Doubt(absl::StrCat("no ordinal ", i));
    if (!expected.contains(row.key)) {
      findings->Doubt(absl::StrCat("the ledger has a row ", row.key, " that the source has not"));
      continue;
    }
    if (++seen[row.key] > 1) findings->Doubt(absl::StrCat("row ", row.key, " has two ordinals"));
    const ExpectedRow& wanted = *expected[row.key];
    const bool rejected = ledger.rejected.contains(row.key);
    if (row.slot >= 0) {
      const auto hash = ledger.hash_of_slot.find(row.slot);
      if (hash == ledger.hash_of_slot.end() || hash->second != HashBytes(wanted.text)) {
        findings->Mistake(absl::StrCat("ledger.db: row ", row.key, " has the slot of another text"));
      }
    }
    // Its reason stays until it is taken back.
    const bool may_be = state == JobState::kKilled && wanted.refused;
    if (rejected && !may_be && table.HasVector(wanted, all))
      findings->Lose(absl::StrCat("row ", row.key, " is rejected"));
    if (state == JobState::kKilled) continue;
    if (!table.HasVector(wanted, all)) {
      if (!rejected) findings->Lose(absl::StrCat("row ", row.key, " has neither a vector nor a reason"));
    } else if (!ledger.IsKept(row.slot)) {
      findings->Lose(absl::StrCat("the ledger keeps no vector of row ", row.key));
    }
  }
  if (state == JobState::kKilled) return;
  for (const auto& [key, row] : expected) {
    if (!seen.contains(key)) findings->Lose(absl::StrCat("the ledger has no row ", key));
  }
}

}  // namespace

void Findings::Say(int64_t* count, std::string what) {
  ++*count;
  if (said.size() < kMostSaid) said.push_back(std::move(what));
}

void Findings::Overpay(int64_t texts, std::string what) {
  twice += texts - 1;
  Say(&twice, std::move(what));
}

std::string Findings::Text() const {
  return absl::StrCat("lost ", lost, ", foreign ", foreign, ", bought twice beyond the bound ", twice, ", other ",
                      wrong, said.empty() ? "" : ":\n  ", absl::StrJoin(said, "\n  "));
}

ExpectedTable MakeExpectedTable(bool refuses, bool number_keys, std::mt19937_64* random) {
  const auto below = [&](uint64_t n) { return (*random)() % n; };
  ExpectedTable table{.dim = static_cast<int>(4 + below(29)), .number_keys = below(2) == 0 || number_keys};
  const uint64_t seed = (*random)() % 1000000;
  const size_t count = 60 + below(340);
  for (size_t i = 0; i < count; ++i) {
    ExpectedRow row{.key = table.number_keys ? absl::StrCat(i * 3 + 1) : absl::StrCat("key-", 100000 + i)};
    const uint64_t kind = below(100);
    if (kind < 20 && i > 0) {
      const ExpectedRow& earlier = table.rows[below(i)];
      row.text = earlier.text;
      row.refused = earlier.refused;
    } else if (kind >= 23) {  // else: none
      row.text = absl::StrCat(kRowTextMark, i, " of ", seed, kind < 30 ? " \xF0\x9F\x98\x80 \"it's\"\n" : "");
      if (kind < 26) row.text.append(2000 + below(3000), 'x');
      row.refused = refuses && below(40) == 0;
      if (row.refused) row.text += " refused";
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string ExpectedBytes(absl::string_view text, int dim) {
  const std::vector<float> vector = TextVector(text, dim);
  return std::string(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
}

void CheckLedger(const std::string& job, const ExpectedTable& table, JobState state, bool all, int targets,
                 Findings* findings) {
  if (!std::filesystem::exists(job + "/ledger.db")) {
    if (state == JobState::kFinished) findings->Lose(job + "/ledger.db is gone");
    return;
  }
  const Database db(job + "/ledger.db");
  // A run that was killed while it made its tables.
  if (state == JobState::kKilled && db.Number("SELECT count(*) FROM sqlite_schema WHERE name = 'rows'") < 1) return;
  const LedgerRows ledger = ReadLedger(db, findings);
  std::ifstream file(job + "/vectors.f32", std::ios::binary);
  const std::string vectors{std::istreambuf_iterator<char>(file), {}};
  CheckSlots(ledger, vectors, table, findings);
  CheckRows(ledger, table, state, all, findings);
  if (state == JobState::kKilled) return;
  const auto rows = static_cast<int64_t>(ledger.rows.size());
  int complete = 0;
  for (const auto& [sink, position] : ledger.positions) {
    complete += position == rows ? 1 : 0;
    if (position != rows) findings->Doubt(absl::StrCat("the ledger has ", sink, " at row ", position, " of ", rows));
  }
  if (complete != targets) findings->Doubt(absl::StrCat("the ledger has ", complete, " complete targets of ", targets));
}

void CheckVectors(const std::string& target, const std::map<std::string, std::string>& stored,
                  const std::map<std::string, std::string>& before, const ExpectedTable& table, JobState state,
                  bool all, Findings* findings) {
  size_t known = 0;
  for (const ExpectedRow& row : table.rows) {
    const auto found = stored.find(row.key);
    const auto old = before.find(row.key);
    const bool as_before =
        old == before.end() ? found == stored.end() : found != stored.end() && found->second == old->second;
    known += found != stored.end() ? 1 : 0;
    if (!table.HasVector(row, all)) {
      if (!as_before) findings->Mistake(absl::StrCat(target, ": row ", row.key, " has a vector, but no text"));
      continue;
    }
    if (found != stored.end() && found->second == ExpectedBytes(row.text, table.dim)) continue;
    if (as_before && state == JobState::kKilled) continue;
    if (as_before) {
      findings->Lose(absl::StrCat(target, ": row ", row.key, " has no vector, or its old one"));
    } else if (found == stored.end()) {
      findings->Lose(absl::StrCat(target, ": row ", row.key, " has lost its old vector"));
    } else {
      findings->Mistake(absl::StrCat(target, ": row ", row.key, " has a foreign vector"));
    }
  }
  if (known != stored.size()) {
    findings->Mistake(absl::StrCat(target, ": ", stored.size() - known, " rows that the source has not"));
  }
}

}  // namespace reembed
