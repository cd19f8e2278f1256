// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PROGRESS_H_
#define REEMBED_TOOLS_PROGRESS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/run_snapshot.h"
#include "engine/run_watch.h"
#include "tools/live_line.h"

namespace reembed {

// One line for people of at most so many columns: what does not fit whole is left out, the least important first.
std::string ProgressLine(const RunSnapshot& run, size_t columns);

// What a panel has below that line, each line of at most so many columns; at most kMostPanelLines. Plain ASCII but for
// the names of places, and without colours.
inline constexpr size_t kMostPanelLines = 12;
std::vector<std::string> PanelLines(const RunSnapshot& run, size_t columns);

// A run for programs: one JSON object.
std::string ProgressJson(const RunSnapshot& run);

// Shows how far a run is, from a thread of its own, until it is destroyed.
class Progress {
 public:
  // The watch is borrowed.
  Progress(ProgressStyle style, RunWatch* watch);

 private:
  RunSnapshot last_;  // of the thread of line_
  LiveLine line_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROGRESS_H_
