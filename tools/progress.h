// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PROGRESS_H_
#define REEMBED_TOOLS_PROGRESS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/run_snapshot.h"
#include "engine/run_watch.h"

namespace reembed {

enum class ProgressStyle {
  kOff,
  kLine,      // drawn over, for a terminal: a panel where there is room for one, else one line
  kLines,     // a line every 30 seconds
  kJsonLines  // the same as JSON, on standard output
};

// "auto", "on", "off" or "json"; auto is kLine on a terminal that can draw over a line and kLines elsewhere.
ProgressStyle ProgressStyleOf(const std::string& word);

// One line for people of at most so many columns: what does not fit whole is left out, the least important first.
std::string ProgressLine(const RunSnapshot& run, size_t columns);

// What a panel has below that line, each line of at most so many columns; at most kMostPanelLines. Plain ASCII but for
// the names of places, and without colours.
inline constexpr size_t kMostPanelLines = 12;
inline constexpr size_t kPanelColumns = 80;  // from here on
inline constexpr size_t kPanelRows = 16;     // likewise: the half of the window stays free for what was said
std::vector<std::string> PanelLines(const RunSnapshot& run, size_t columns);

// What draws the line, and the panel below it, over what was drawn before: the cursor stays at the end of the line, so
// that what others say begins there.
std::string DrawnOver(const std::string& line, const std::vector<std::string>& below);

// The same for programs: one JSON object.
std::string ProgressJson(const RunSnapshot& run);

// Shows how far a run is, from a thread of its own, until it is destroyed.
class Progress {
 public:
  // The watch is borrowed.
  Progress(ProgressStyle style, RunWatch* watch);
  ~Progress();

 private:
  void Loop(const std::stop_token& done);
  void Show(const RunSnapshot& run) const;

  const ProgressStyle style_;
  RunWatch* const watch_;
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROGRESS_H_
