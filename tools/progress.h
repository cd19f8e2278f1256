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
  kLine,      // one line that is drawn over, for a terminal
  kLines,     // a line every 30 seconds
  kJsonLines  // the same as JSON, on standard output
};

// "auto", "on", "off" or "json"; auto is kLine on a terminal that can draw over a line and kLines elsewhere.
ProgressStyle ProgressStyleOf(const std::string& word);

// One line for people of at most so many columns: what does not fit whole is left out, the least important first.
std::string ProgressLine(const RunSnapshot& run, size_t columns);

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
