// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SWEEP_H_
#define REEMBED_TOOLS_SWEEP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/embedding_client.h"
#include "engine/text/token_estimator.h"

namespace reembed {

// One measure of an API: so many requests under way at a time, of so many texts each.
struct SweepCell {
  int concurrency = 0;
  int batch_size = 0;
  int64_t requests = 0;  // answered well
  int64_t texts = 0;     // of them, answered before the time was over
  int64_t tokens = 0;    // of all requests, as the API counts them
  int64_t errors = 0;    // requests that were not answered well, 429 included
  int64_t http_429 = 0;
  absl::Duration elapsed;                 // up to the last of them, in which `texts` were answered
  std::vector<absl::Duration> latencies;  // of the well answered requests, sorted
  absl::Status failure;                   // the first error
  std::string skipped;                    // why it was not measured; empty: it was

  // Whether it rests on too few requests to say much: less than 20, of which p95 is the last but one, or less than two
  // for each that was under way at a time.
  bool IsThin() const;

  double TextsPerSecond() const;
  double TokensPerSecond() const;
};

// The smallest value that at least `share` (0 to 1) of the sorted values do not exceed ("nearest rank"); zero of none.
absl::Duration Percentile(absl::Span<const absl::Duration> sorted, double share);

// The cell with the smallest concurrency of which the throughput is within 5 % of the best; of several the one with
// the best throughput. Cells with errors count only where there are no others. nullptr: nothing was measured.
const SweepCell* FindKnee(absl::Span<const SweepCell> cells);

// 1, 2, 4, ... and `max` itself.
std::vector<int> ConcurrencySteps(int max);
// 1, 8, 32, 128, ... and `max` itself.
std::vector<int> BatchSizeSteps(int max);

// Texts as memory systems have them: sentences, 20 to 2,000 bytes, half of them below 200. The n-th is always the same,
// and no two are.
std::string SampleText(int64_t number);

// What a sweep may use.
struct SweepOptions {
  absl::Duration time_per_cell = absl::Seconds(3);
  int64_t max_tokens = 0;           // of the whole sweep, as the API counts them; 0: not limited
  int64_t tokens_used = 0;          // before it began
  size_t extra_bytes_per_text = 0;  // that the API gets besides the text
  std::function<std::string(int64_t)> text = SampleText;
  // Whether `text` is so even that a batch is no more than half as expensive again, for its bytes, as those that the
  // API has counted so far. Otherwise every byte may be a token.
  bool even_texts = true;
  size_t max_memory_bytes = size_t{1} << 30;  // of the batches of one cell
};

// Measures cells one after the other, with requests in a closed loop: each answer starts the next request. Never spends
// more than max_tokens: a request leaves only when the most that it, and all that are under way, can cost is left.
class Sweeper {
 public:
  // `client` is borrowed, takes any concurrency that is asked for, and does not retry.
  Sweeper(EmbeddingClient* client, const SweepOptions& options);

  // `cells_left`: that share what is left of the tokens, this one included. Blocks. After `stop` nothing new is sent.
  SweepCell Measure(int concurrency, int batch_size, int cells_left, const std::stop_token& stop);

  // Spent for certain and, of requests that got lost, perhaps.
  int64_t tokens_used() const;

 private:
  struct Request;
  class Answers;
  class Loop;

  void FillBatch(Request* request, int batch_size);
  int64_t BoundOf(int64_t bytes) const;

  EmbeddingClient* const client_;
  const SweepOptions options_;
  const TokenEstimator estimator_;  // for the client's pacing; the bound does not rely on it
  int64_t next_text_ = 0;
  int64_t tokens_lost_ = 0;     // at most, of requests without an answer
  double tokens_per_byte_ = 0;  // the highest seen
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SWEEP_H_
