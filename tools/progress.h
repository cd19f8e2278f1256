#ifndef REEMBED_TOOLS_PROGRESS_H_
#define REEMBED_TOOLS_PROGRESS_H_

#include <cstdint>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/pipeline.h"

namespace reembed {

enum class ProgressStyle {
  kOff,
  kLine,      // one line that is drawn over, for a terminal
  kLines,     // a line every 30 seconds
  kJsonLines  // the same as JSON, on standard output
};

// "auto", "on", "off" or "json"; auto is kLine on a terminal that can draw over a line and kLines elsewhere.
ProgressStyle ProgressStyleOf(const std::string& word);

// Shows how far a run is, from a thread of its own, until it is destroyed.
class Progress {
 public:
  // Both are borrowed. `rows_expected` < 0: not known.
  Progress(ProgressStyle style, const RunCounters* counters, const EmbeddingClient* client, int64_t rows_expected);
  ~Progress();

 private:
  void Loop(const std::stop_token& done);
  std::string Text(absl::Duration elapsed) const;
  std::string Json(absl::Duration elapsed) const;

  const ProgressStyle style_;
  const RunCounters* const counters_;
  const EmbeddingClient* const client_;
  const int64_t rows_expected_;
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROGRESS_H_
