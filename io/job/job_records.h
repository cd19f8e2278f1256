// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_RECORDS_H_
#define REEMBED_IO_JOB_JOB_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/key.h"

namespace reembed {

// What a job directory is for. A directory belongs to one of these and to no other: its ordinals, texts and vectors
// mean nothing elsewhere. Nothing here may hold a secret.
struct JobIdentity {
  std::string source;         // URI of the source
  std::string selection;      // which of its rows
  std::string recipe;         // how a row becomes a text
  std::string model;          // as the provider spells it
  std::string normalization;  // what was done to the vectors before they were kept
  int dim = 0;
};

// Whether the vectors of a job stay in JOB/vectors.f32.
//
// kNever is for embedders that cost nothing: no vector is kept, every row gets a slot of its own (equal to its ordinal)
// and is embedded for itself, and what is done is what the positions of all sinks that were asked for in this run say.
// So a target that is added later, or that lost its content, makes every row embedded again.
enum class KeepVectors { kAlways, kNever };

// One run of a job, for the user's books. Money and counts are as `tools/` knows them.
struct Receipt {
  int64_t run = 0;  // JobStore::run(); a receipt with the same number replaces the earlier one
  absl::Time started;
  absl::Time ended;
  std::string outcome;  // "running", "done", "interrupted", ...
  int64_t requests = 0;
  int64_t requests_retried = 0;
  int64_t http_429 = 0;
  int64_t tokens = 0;
  double cost_usd = 0;
  int64_t rows_embedded = 0;
  int64_t rows_rejected = 0;
  int64_t rows_possibly_rebought = 0;
  std::optional<absl::Time> switched;  // when the targets had become complete and visible; none if they did not
  std::string endpoints;               // what each did, a JSON array as `run --json` prints it; empty: not known
};

// A row that has no vector, or that one sink refused.
struct RejectedRow {
  int64_t ordinal = 0;
  Key key;
  std::string sink;  // empty: no sink gets it
  absl::Status reason;
  int64_t attempts = 1;  // runs that have tried it in vain; at least, where programs of before were among them
};

struct JobStats {
  int64_t rows = 0;                     // numbered so far
  int64_t texts = 0;                    // different texts among them
  int64_t kept_texts = 0;               // whose vector is in the store
  int64_t rejected_rows = 0;            // that no sink gets
  int64_t refused_rows = 0;             // row and sink pairs: that only this sink does not get
  int64_t rows_refused = 0;             // that a sink does not get although they are there, each once
  int64_t rows_gone = 0;                // that are not in the target any more, each once
  int64_t rows_pending = 0;             // neither with a vector nor rejected
  int64_t texts_possibly_rebought = 0;  // at most so many were bought a second time
  int64_t texts_damaged = 0;   // of them: as their kept vector was damaged; of the others requests were cut off
  double unreceipted_usd = 0;  // what runs may have spent beyond their receipts: killed, or without an answer
  std::vector<std::pair<std::string, int64_t>> sinks;  // name and position
  std::vector<Receipt> receipts;                       // by run
  std::optional<absl::Time> rolled_back;               // when its targets were put back, if no run wrote to them since
};

// Half-open range of slots.
struct SlotRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const SlotRange&, const SlotRange&) = default;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_RECORDS_H_
