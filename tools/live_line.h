// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_LINE_H_
#define REEMBED_TOOLS_LIVE_LINE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// How progress is shown, of a run and of every other long command: when, where, and what fits.
namespace reembed {

enum class ProgressStyle {
  kOff,
  kLine,      // drawn over, for a terminal: a panel where there is room for one, else one line
  kLines,     // a line every 30 seconds
  kJsonLines  // the same as JSON, every second, on standard output
};

// "auto", "on", "off" or "json"; auto is kLine on a terminal that can draw over a line and kLines elsewhere.
// `quiet`: nothing is shown, whatever the word.
ProgressStyle ProgressStyleOf(const std::string& word, bool quiet = false);

// A part of a line, and how much it matters.
struct LinePart {
  int weight = 0;  // the lightest goes first
  std::string text;
};
// The parts with commas between, in at most so many columns: what does not fit whole is left out.
std::string FitParts(std::vector<LinePart> parts, size_t columns);

// What draws the line, and the panel below it, over what was drawn before: the cursor stays at the end of the line, so
// that what others say begins there.
std::string DrawnOver(const std::string& line, const std::vector<std::string>& below);

// The room that there is.
struct LineRoom {
  size_t columns = 0;  // of a line; any where nothing is drawn over
  bool panel = false;  // there is room for one below the line
};
inline constexpr size_t kPanelColumns = 80;  // from here on
inline constexpr size_t kPanelRows = 16;     // likewise: the half of the window stays free for what was said

struct ShownProgress {
  std::string line;  // empty: there is nothing to show yet
  std::vector<std::string> below;
};

// Shows something from a thread of its own until it is destroyed, and then takes it off the terminal. On standard error
// but for JSON.
class LiveLine {
 public:
  struct Work {
    std::function<void()> look;                          // five times a second; null: nothing to do
    std::function<ShownProgress(const LineRoom&)> show;  // when it is time to
    std::function<std::string()> json;                   // likewise, for kJsonLines; empty: nothing yet
  };

  LiveLine(ProgressStyle style, Work work);
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;
  ~LiveLine();

 private:
  void Loop(const std::stop_token& done);
  void Show() const;

  const ProgressStyle style_;
  const Work work_;
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_LINE_H_
