#ifndef REEMBED_TOOLS_SIGNALS_H_
#define REEMBED_TOOLS_SIGNALS_H_

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

#include "absl/strings/string_view.h"

namespace reembed {

// A reader that left (PIPE) and a file size limit (XFSZ) become errors of the write that meets them. Call it first in
// main().
void IgnoreWriteSignals();

// Ends the process as the signal would have, with a word about what is left to do. For work that may be killed at any
// moment.
[[noreturn]] void EndBySignal(absl::string_view command, int signal, absl::string_view left);

// Turns INT and TERM into a stop: the first asks to finish what is under way, the second calls `abort`, the third ends
// the process. One at a time; while there is none, signals do what they do by default.
class StopSignals {
 public:
  StopSignals(std::function<void(int signal)> first, std::function<void()> abort);
  ~StopSignals();

  std::stop_token token() const { return stop_.get_token(); }
  // Stops as the first signal would, for another reason.
  void RequestStop() { stop_.request_stop(); }
  // The signal that came; 0: none.
  int signal() const { return signal_; }

 private:
  void Loop();

  std::function<void(int)> first_;
  std::function<void()> abort_;
  std::stop_source stop_;
  std::atomic<int> signal_{0};
  int pipe_[2];  // from the signal handler to the thread
  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SIGNALS_H_
