// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SIGNALS_H_
#define REEMBED_TOOLS_SIGNALS_H_

#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// A reader that left (PIPE) and a file size limit (XFSZ) become errors of the write that meets them. Call it first in
// main().
void IgnoreWriteSignals();

// What is said when a signal ends the process.
struct StopWords {
  std::string command;  // "run"
  std::string left;     // what there is to do about it: "run the same command again to complete it"
  bool json = false;
};

// How work ends that a signal does not end at once. Called on threads of StopSignals, each once, but for in_the_air.
struct StopSteps {
  absl::Duration wait;                         // for what is in the air
  std::function<void()> stop;                  // nothing new begins; null: the token says it all
  std::function<int()> in_the_air;             // how many requests are waited for; null: none
  std::function<void()> drop;                  // gives them up; null: there is nothing to do
  std::function<void(int signal)> last_words;  // when the process ends over what did not end in time; null: StopWords
};

// Makes INT, TERM and HUP end a command in time, whatever it waits for: a server, a lock, a disk, a full pipe, a
// library that cannot be interrupted. HUP stays ignored if it was at the start (nohup).
//
// A signal ends the process at once, with the exit code 128 + signal. While there is Work, the first one asks it to
// stop: nothing new begins; what is in the air has StopSteps::wait, then it is dropped; what is to be done with the
// answers has kStopTargets more. Then, or soon after a second signal, the process ends over it. All that is kept on
// disk may be left at any moment, as by a kill, and the same command resumes.
//
// One wish to stop may come by several ways: from the terminal and once more from `npm run`, as TERM and as HUP from
// systemd. What comes within kSameStop of the first, but from another process or as another signal, is no second one.
//
// A time limit (EndBy()) is as a first signal, kTimeIsUp in the place of its number, and a signal after it as a second
// one.
//
// One at a time; while there is none, signals do what they do by default.
class StopSignals {
 public:
  static constexpr absl::Duration kStopTargets = absl::Seconds(2);
  static constexpr absl::Duration kStopAtOnce = absl::Milliseconds(300);  // after a second signal
  static constexpr absl::Duration kSameStop = absl::Milliseconds(300);
  static constexpr absl::Duration kStopLastWords = absl::Milliseconds(500);  // have so long at most; then StopWords

  explicit StopSignals(StopWords words);
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  // Stops requested by a signal, or by RequestStop(). Callbacks run on a thread of their own.
  std::stop_token token() const { return stop_.get_token(); }
  // Has the work end as a first signal would have, for another reason and without a bound.
  void RequestStop() { stop_.request_stop(); }
  // The work ends as by a first and a second TERM. From any thread.
  void Abort();
  // The signal that came first, or kTimeIsUp; 0: none.
  int signal() const { return signal_; }

  // The work ends at `limit` as by a first signal; `hard`: what is in the air is dropped at once. Once, while there is
  // no work.
  void EndBy(Moment limit, bool hard);

  // One at a time. Its end is waited for as long as a signal leaves; what the steps refer to must outlive it.
  class Work {
   public:
    Work(StopSignals* signals, StopSteps steps);
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    ~Work();

   private:
    StopSignals* const signals_;
    const StopSteps steps_;
  };

 private:
  // What the handler sees of a signal.
  struct Came {
    int signal = 0;  // 0: none, the listener shall end; kLookAgain: there is a time limit
    int sender = 0;  // process; 0: the terminal, or the system
  };

  static void PassOn(int signal, siginfo_t* info, void* context);
  void Listen();
  void OnSignal(const Came& came);
  void TakeSteps(const StopSteps& steps);
  // For what is in the air.
  absl::Duration WaitOf(const StopSteps& steps) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[noreturn]] void EndProcess();

  static constexpr int kLookAgain = -2;
  absl::Duration UntilLimit();  // infinite: there is none, or something has ended the work before
  void Wake(int signal);

  const StopWords words_;
  std::vector<std::pair<int, struct sigaction>> before_;  // what signals did
  std::stop_source stop_;
  std::atomic<int> signal_{0};
  int pipe_[2] = {-1, -1};  // from the signal handler to listener_

  Mutex mutex_;  // nothing that may wait is called with it held
  std::condition_variable_any changed_;
  const StopSteps* steps_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the work
  Came first_ ABSL_GUARDED_BY(mutex_);
  Moment first_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;  // a second signal has come
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;   // the process ends; the work must not go away any more
  Moment end_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();    // of the process
  Moment limit_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();  // of the work
  bool limit_is_hard_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread stepper_;   // while there is work
  std::thread listener_;  // keeps the time, so it calls nothing that may wait
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_SIGNALS_H_
