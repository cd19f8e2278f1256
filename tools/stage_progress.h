// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_STAGE_PROGRESS_H_
#define REEMBED_TOOLS_STAGE_PROGRESS_H_

#include <cstdint>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "tools/progress.h"

namespace reembed {

// How far a stage of some work is.
struct StageView {
  std::string stage;
  int64_t done = 0;
  int64_t total = 0;  // 0: not known
  absl::Duration elapsed;
};

// "adding 120,000 of 1,000,000 rows, 12.0 %, 5,021 rows/s, 2:55 left"
std::string StageLine(const StageView& view);

// Shows how far work of several stages is, on standard error, from a thread of its own until it is destroyed.
class StageProgress {
 public:
  explicit StageProgress(ProgressStyle style);
  StageProgress(const StageProgress&) = delete;
  StageProgress& operator=(const StageProgress&) = delete;
  ~StageProgress();

  // From any thread. A new stage begins with its first call.
  void Set(absl::string_view stage, int64_t done, int64_t total);

 private:
  void Loop(const std::stop_token& done);
  std::string Line();

  const ProgressStyle style_;
  Mutex mutex_;
  StageView view_ ABSL_GUARDED_BY(mutex_);
  Moment began_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_STAGE_PROGRESS_H_
