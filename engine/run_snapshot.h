// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RUN_SNAPSHOT_H_
#define REEMBED_ENGINE_RUN_SNAPSHOT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/endpoint_report.h"
#include "engine/recent_pace.h"
#include "engine/reject_meter.h"
#include "engine/sink_meter.h"
#include "engine/wait_meter.h"

namespace reembed {

// Rows and texts of a job. Each row is done, rejected, gone or pending.
struct JobCounts {
  int64_t rows = 0;           // numbered so far
  int64_t rows_done = 0;      // that have their vector
  int64_t rows_rejected = 0;  // that get none, or that a target refuses although they are there
  int64_t rows_gone = 0;      // that are not in the target any more
  int64_t rows_pending = 0;
  int64_t texts = 0;                    // different ones
  int64_t texts_kept = 0;               // whose vector the job has
  int64_t texts_possibly_rebought = 0;  // at most so many were bought a second time
  int64_t texts_damaged = 0;            // of them: as their kept vector was damaged
};

// Everything that a run can say of itself at one moment. RunWatch makes it; whoever shows something of a run (a line, a
// page, a summary, a receipt) prints what is here and counts nothing himself.
struct RunSnapshot {
  absl::Duration elapsed;

  // Of the job. `now` is what the ledger says once the run has ended; until then as far as counters tell.
  JobCounts before, now;
  int64_t rows_left = 0;  // still to do when the run has ended, also of what was not read

  // Of this run. Rows that it is through with are done or rejected; those that are done have a vector that is new, or
  // one that was bought before and was only written.
  int64_t rows_expected = -1;  // that it comes to; < 0: not known
  int64_t rows_before = 0;     // of the job, done before and not among these
  int64_t rows_done = 0;       // that every target has taken
  int64_t rows_embedded = 0;   // of them: with a new vector
  int64_t rows_replayed = 0;   // of them: bought before
  int64_t rows_rejected = 0;
  int64_t rows_truncated = 0;  // of rows_embedded: the vector is that of the beginning of the text
  int64_t rows_split = 0;      // of rows_embedded: the vector is the mean of the text's parts
  int64_t rows_changed = 0;    // had another text than their vector was made from
  int passes = 1;              // over the source: a second one embeds what has changed during the first
  int64_t texts_embedded = 0;
  int64_t texts_damaged = 0;  // whose kept vector was found damaged, and which are bought again

  // Pace. While the run goes on: of rows that it is through with; of a run that has ended: of new vectors.
  double rows_per_second = 0;
  std::optional<absl::Duration> left;  // nullopt: nothing can be said yet
  // Between which `left` probably lies, by how even the pace has been; nullopt as `left`.
  std::optional<absl::Duration> left_least, left_most;
  Pace recent;          // of the last seconds
  bool paused = false;  // somebody has paused it: no request leaves

  // The embedder, the probe before the first purchase included, and each endpoint of it.
  ClientStats client;
  std::vector<EndpointReport> endpoints;

  // Money, in US dollars.
  double cost_usd = 0;                  // of this run
  std::optional<double> projected_usd;  // likewise, at its end, if it goes on as it went; nullopt: nothing can be said
  double spent_usd = 0;                 // of all runs of the job and its streams, as far as it is known
  std::optional<double> max_spend_usd;  // nullopt: no cap

  std::vector<SinkProgress> sinks;
  std::vector<WaitShare> waits;         // of the whole run, the largest first
  std::vector<WaitShare> recent_waits;  // of the last seconds
  std::vector<RejectedFor> rejects;     // rows_rejected by reason, the most frequent first

  int64_t rows_through() const { return rows_before + rows_done + rows_rejected; }  // of the job, as people count
  int64_t rows_new() const { return now.rows_done - before.rows_done; }
};

// Adds what another stream of the same command has done; what is not a sum is that of the later one.
void Add(const JobCounts& from, JobCounts* to);
void Add(const ClientStats& from, ClientStats* to);
void Add(const RunSnapshot& from, RunSnapshot* to);

}  // namespace reembed

#endif  // REEMBED_ENGINE_RUN_SNAPSHOT_H_
