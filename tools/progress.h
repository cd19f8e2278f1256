// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PROGRESS_H_
#define REEMBED_TOOLS_PROGRESS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/pipeline.h"
#include "engine/wait_meter.h"

namespace reembed {

enum class ProgressStyle {
  kOff,
  kLine,      // one line that is drawn over, for a terminal
  kLines,     // a line every 30 seconds
  kJsonLines  // the same as JSON, on standard output
};

// "auto", "on", "off" or "json"; auto is kLine on a terminal that can draw over a line and kLines elsewhere.
ProgressStyle ProgressStyleOf(const std::string& word);

// What a run has before it.
struct RunScope {
  int64_t rows = -1;          // that it comes to, whether they get a vector or are rejected; < 0: not known
  int64_t rows_before = 0;    // of the job, done before and not among these
  int64_t rows_bought = 0;    // of `rows`: bought before, so that they are only written
  int texts_per_request = 0;  // at most; 0: not known
};

// How far a run is at one moment.
struct ProgressView {
  int64_t rows = 0;           // done or rejected
  int64_t rows_expected = 0;  // <= 0: not known
  int64_t rows_rejected = 0;
  double rows_per_second = 0;
  std::optional<absl::Duration> left;
  ClientStats client;
  std::vector<WaitShare> waits;  // of the last seconds, the largest first
};

// One line for people of at most so many columns: what does not fit whole is left out, the least important first.
std::string ProgressLine(const ProgressView& view, size_t columns);

// Rows a second that the quota allows, as far as it is known; 0: it is not. `rows` are those that `client` was asked
// for and that are done; `texts_per_request` is how many a full request has, which counts until requests have told.
double RowsPerSecondOfQuota(const ClientStats& client, int64_t rows, int texts_per_request);

// Shows how far a run is, from a thread of its own, until it is destroyed.
class Progress {
 public:
  // Both are borrowed.
  Progress(ProgressStyle style, const RunCounters* counters, const EmbeddingClient* client, const RunScope& scope);
  ~Progress();

 private:
  void Loop(const std::stop_token& done);
  void Show(const ProgressView& view, absl::Duration elapsed) const;
  std::string Json(const ProgressView& view, absl::Duration elapsed) const;

  const ProgressStyle style_;
  const RunCounters* const counters_;
  const EmbeddingClient* const client_;
  const RunScope scope_;
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROGRESS_H_
