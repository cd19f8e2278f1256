// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_STAGE_PROGRESS_H_
#define REEMBED_TOOLS_STAGE_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "tools/live_line.h"

namespace reembed {

enum class StageUnit { kRows, kBytes };

// How far a stage of some work is.
struct StageView {
  std::string stage;
  std::string place;  // that it is about; empty: that need not be said
  int64_t done = 0;
  int64_t total = 0;  // 0: not known
  absl::Duration elapsed;
  StageUnit unit = StageUnit::kRows;
  int64_t begun = 0;  // of `done`, what was done before the stage began: by an earlier process
};

// "adding 120,000 of 1,000,000 rows, 12.0 %, 5,021 rows/s, 2:55 left"; where nothing is counted "adding, 12 s"; the
// place behind it. What does not fit into the columns is left out, the place first.
std::string StageLine(const StageView& view, size_t columns);

// Shows how far work of several stages is until it is destroyed.
class StageProgress {
 public:
  explicit StageProgress(ProgressStyle style);

  // What the stages from now on are about. From any thread, as all of these.
  void At(std::string place);

  // A new stage begins with its first call.
  void Set(absl::string_view stage, int64_t done, int64_t total, StageUnit unit = StageUnit::kRows);

  // A stage whose progress is asked for when it is shown, from the thread that shows it, until the next stage begins.
  void Measure(absl::string_view stage, int64_t total, StageUnit unit, std::function<int64_t()> done);

 private:
  // Whether it is a new one.
  bool Begin(absl::string_view stage) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StageView Look();

  Mutex mutex_;
  StageView view_ ABSL_GUARDED_BY(mutex_);
  std::string place_ ABSL_GUARDED_BY(mutex_);
  Moment began_ ABSL_GUARDED_BY(mutex_);
  std::function<int64_t()> measure_ ABSL_GUARDED_BY(mutex_);
  LiveLine line_;  // last: its thread uses the others
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_STAGE_PROGRESS_H_
