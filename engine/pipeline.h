// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PIPELINE_H_
#define REEMBED_ENGINE_PIPELINE_H_

#include <cstdint>
#include <memory>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/embedding_client.h"
#include "engine/ledger.h"
#include "engine/named_sink.h"
#include "engine/run_counters.h"
#include "engine/source.h"
#include "engine/text/long_text.h"
#include "engine/text/token_counter.h"
#include "engine/text/token_estimator.h"

// The pipeline. Read this file first; it is the map of the code.
//
//           +-------------------------- the batch is cleared and reused --------------------------+
//           v                                                                                      |
// Source -> read -> embed ---------> decode --------> persist --------> write (one per sink) -> commit
//           serial  asynchronous     parallel         asynchronous      asynchronous            serial
//                   HTTP             parse, check     vectors.f32,      database, file,
//                                                     then ledger       index
//
//   read    RowReader::Fill          rows of earlier runs that are not finished, then new rows -> texts in a batch
//   embed   EmbeddingClient::Send    texts -> raw replies; no worker thread waits
//   decode  EmbeddingClient::Decode  replies -> vectors; NormalizeRows if asked; an unusable reply goes back to embed
//   persist Ledger::Persist          vectors -> durable; also fetches the vectors that rows share with earlier texts
//   write   SinkWriter::Write        each sink on its own thread, at its own position
//   commit  counts the answers of the sinks; after the last one the batch goes back to `read`
//
// Memory: batches_in_flight batches are allocated at the start and reused; none is allocated or freed during the
//   run. This number is also the back-pressure: without a free batch nothing is read.
// Order: batches may overtake each other after `embed`. As batches name their rows by range, only a sink that asks
//   for RowOrder::kAscending waits for its turn.
// Replay: a sink that is new, or was behind when a run was killed, gets the rows whose vectors were bought earlier.
//   These rows skip `embed`.
// Failure: a failed batch goes on to `commit` like any other, so every batch that leaves `read` comes back. Stages
//   throw no exceptions. After the first failure no more rows are read.
// Stop: `stop` ends reading; batches in flight are embedded, persisted and written. No vector that was paid for is
//   dropped. To stop requests, too, call EmbeddingClient::StopSending(). Targets whose Complete() has not begun are
//   left unfinished; the same call resumes there.
// Targets: prepared before the first row, and published when all rows are in all of them, unless the options leave
//   these steps to somebody else.

namespace reembed {

class LearnedCaps;
class OwedRows;
class RunControl;
struct NewRows;

enum class Normalization { kAsReceived, kUnitL2 };

struct PipelineOptions {
  BatchLimits batch;
  int batches_in_flight = 64;  // bounds memory and concurrency together
  Normalization normalization = Normalization::kAsReceived;
  TextLimit text_limit;
  size_t max_text_bytes = kMaxTextBytes;  // rows with longer texts are rejected, even if long texts are cut
  int64_t quota_tokens = 0;               // of one request; see RequestPacker
  // See RequestPacker: the limits on requests that the client's endpoints have learned.
  std::vector<std::shared_ptr<const LearnedCaps>> learned;
  // How often a batch is sent again because a reply was unusable. Clients give up earlier, see EmbeddingClient::Decode.
  int max_bad_replies = 32;
  absl::Duration flush_interval = absl::Seconds(5);  // between checkpoints of each sink
  absl::Duration stall_timeout = absl::Minutes(30);  // the run fails if no part answers for this long
  int64_t max_rows = 0;                              // new rows to read in this run; 0: all
  // Whether this run does the two steps of a target that are done once per job (engine/vector_sink.h).
  bool prepares = true;
  bool publishes = true;  // false: the targets are complete at the end, and the caller calls PublishTargets() later
};

// The parts of a run. All are borrowed. Precondition: they outlive RunPipeline().
struct PipelineParts {
  Source* source = nullptr;
  EmbeddingClient* client = nullptr;
  Ledger* ledger = nullptr;
  const TokenCounter* count_tokens = nullptr;  // null: tokens are estimated from lengths
  const TokenEstimator* estimator = nullptr;   // used by count_tokens; nullptr if that is exact
  absl::Span<const NamedSink> sinks;           // may be empty: then `persist` is the last stage
  RunCounters* counters = nullptr;             // null: not counted
  int64_t expected_rows = 0;                   // passed to the sinks, see SinkContext
  Source* lookup = nullptr;             // a second source of the same rows, to read single rows; null: `source` does it
  const NewRows* new_rows = nullptr;    // null: they come after the last row of the ledger
  OwedRows* owed = nullptr;             // null: nothing is owed
  const RunControl* control = nullptr;  // a pause by it is not a stall; null: the run cannot be paused
};

// Runs until every row of the source has its vector in every sink, or is rejected. Blocks; call it from one thread.
// Errors: the first failure of any part, or kCancelled after `stop`. Whatever it returns, the ledger names exactly
// what is stored durably, and the same call resumes from there.
absl::Status RunPipeline(const PipelineOptions& options, const PipelineParts& parts, std::stop_token stop);

// How many batches are needed for `concurrency` requests in flight while other batches are decoded, persisted and
// written. If vectors are small, up to three times as many more, as batches that wait for a slow disk are not free.
int BatchesInFlight(int concurrency, const BatchLimits& limits, int dim);

// The most memory, in bytes, that RunPipeline uses for its batches.
int64_t PeakBatchBytes(const PipelineOptions& options, int dim);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PIPELINE_H_
