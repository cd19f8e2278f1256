#ifndef REEMBED_TOOLS_SIGNALS_H_
#define REEMBED_TOOLS_SIGNALS_H_

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace reembed {

// Blocks INT and TERM in this thread and all that it starts, and ignores PIPE. Call it first in main(): a StopSignals
// later takes the signals up.
void BlockStopSignals();

// Turns INT and TERM into a stop: the first asks to finish what is under way, the second calls `abort`, the third ends
// the process. One at a time.
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
  void Loop(const std::stop_token& done);

  std::function<void(int)> first_;
  std::function<void()> abort_;
  std::stop_source stop_;
  std::atomic<int> signal_{0};
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SIGNALS_H_
