// SPDX-License-Identifier: Apache-2.0
#include "tools/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/shown_text.h"
#include "tools/exit_code.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr absl::Duration kTick = absl::Milliseconds(10);  // between looks at what is in the air, and at the clock
constexpr absl::Duration kWaitForWords = absl::Milliseconds(200);

// A signal handler can reach nothing but a global. The handler runs on any thread: libraries start theirs before
// main(), so blocking signals in ours and waiting for them would not catch them all.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> handler_pipe{-1};

// Calls it on a thread that is left alone when it takes longer: it may wait for ever, as on a pipe that nobody reads.
// Whether it has ended.
bool CallAside(std::function<void()> call, absl::Duration longest) {
  struct Called {
    Mutex mutex;
    std::condition_variable_any changed;
    bool done = false;  // guarded by mutex
  };
  auto called = std::make_shared<Called>();
  try {
    std::thread([called, call = std::move(call)] {
      call();
      const MutexLock lock(&called->mutex);
      called->done = true;
      called->changed.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    return false;  // no thread is to be had
  }
  MutexLock lock(&called->mutex);
  return called->changed.wait_for(lock, absl::ToChronoNanoseconds(longest), [&] { return called->done; });
}

// In one call: another thread may be writing, too.
void Say(absl::string_view line, absl::Duration longest) {
  CallAside([line = ShownText(line)] { std::fputs(line.c_str(), stderr); }, longest);
}

std::string Stopping(int signal, int in_the_air, absl::Duration wait) {
  const std::string targets = absl::StrCat("up to ", absl::FormatDuration(StopSignals::kStopTargets), " for the rest");
  return absl::StrCat(signal == kTimeIsUp ? "\nthe time is up, stopping: nothing" : "\nstopping: nothing",
                      " new is sent; waiting ",
                      in_the_air > 0 && wait > absl::ZeroDuration()
                          ? absl::StrCat("up to ", absl::FormatDuration(wait), " for ", WithCommas(in_the_air),
                                         in_the_air == 1 ? " request" : " requests", " in the air, then ")
                          : "",
                      targets, " (again to end at once; either way the same command resumes)\n");
}

}  // namespace

void IgnoreWriteSignals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

void StopSignals::PassOn(int signal, siginfo_t* info, void*) {
  const int error = errno;
  const Came came = {.signal = signal, .sender = info != nullptr && info->si_code == SI_USER ? info->si_pid : 0};
  [[maybe_unused]] const ssize_t written = write(handler_pipe, &came, sizeof(came));  // so few bytes go at once
  errno = error;
}

StopSignals::StopSignals(StopWords words) : words_(std::move(words)) {
  if (pipe2(pipe_, O_CLOEXEC) != 0) return;  // out of descriptors: signals keep their default
  handler_pipe = pipe_[1];
  listener_ = std::thread([this] { Listen(); });
  struct sigaction action = {};
  action.sa_sigaction = PassOn;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  for (const int stop_signal : kStopSignals) {
    struct sigaction before = {};
    sigaction(stop_signal, nullptr, &before);
    // The others are ignored in the background of a shell without job control, where nobody means them to be.
    if (stop_signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
    sigaction(stop_signal, &action, nullptr);
    before_.emplace_back(stop_signal, before);
  }
}

StopSignals::~StopSignals() {
  if (!listener_.joinable()) return;
  for (const auto& [stop_signal, before] : before_) sigaction(stop_signal, &before, nullptr);
  Wake(0);
  listener_.join();
  handler_pipe = -1;
  close(pipe_[0]);
  close(pipe_[1]);
}

void StopSignals::Wake(int signal) {
  const Came came = {.signal = signal};
  [[maybe_unused]] const ssize_t written = write(pipe_[1], &came, sizeof(came));
}

void StopSignals::Abort() {
  // Two of one process are never one wish that comes by two ways.
  const Came came = {.signal = SIGTERM, .sender = getpid()};
  for (int times = signal() == 0 ? 2 : 1; times > 0; --times) {
    [[maybe_unused]] const ssize_t written = write(pipe_[1], &came, sizeof(came));
  }
}

void StopSignals::EndBy(Moment limit, bool hard) {
  if (!listener_.joinable()) return;
  {
    const MutexLock lock(&mutex_);
    limit_ = limit;
    limit_is_hard_ = hard;
  }
  Wake(kLookAgain);
}

absl::Duration StopSignals::UntilLimit() {
  const MutexLock lock(&mutex_);
  return signal_ != 0 ? absl::InfiniteDuration() : limit_ - MonotonicNow();
}

void StopSignals::Listen() {
  // poll() takes no longer wait; it is looked at again then.
  constexpr absl::Duration kLongestPoll = absl::Hours(1);
  for (;;) {
    pollfd from = {.fd = pipe_[0], .events = POLLIN, .revents = 0};
    const absl::Duration until_limit = UntilLimit();
    const absl::Duration wait = signal() != 0 ? kTick : std::clamp(until_limit, kTick, kLongestPoll);
    if (poll(&from, 1, static_cast<int>(absl::ToInt64Milliseconds(wait))) > 0) {
      Came came;
      if (read(pipe_[0], &came, sizeof(came)) != sizeof(came) || came.signal == 0) return;
      if (came.signal != kLookAgain) OnSignal(came);
    } else if (until_limit <= wait && UntilLimit() <= absl::ZeroDuration()) {
      OnSignal({.signal = kTimeIsUp});
    }
    MutexLock lock(&mutex_);
    if (MonotonicNow() < end_) continue;
    ending_ = true;
    lock.unlock();
    EndProcess();
  }
}

void StopSignals::OnSignal(const Came& came) {
  const MutexLock lock(&mutex_);
  const Moment now = MonotonicNow();
  if (signal_ == 0) {
    first_ = came;
    first_at_ = now;
    signal_ = came.signal;
    end_ = steps_ == nullptr ? now : now + WaitOf(*steps_) + kStopTargets;
  } else {
    const bool by_another_way = came.signal != first_.signal || came.sender != first_.sender;
    if (by_another_way && now - first_at_ < kSameStop) return;
    end_ = std::min(end_, aborted_ ? now : now + kStopAtOnce);
    aborted_ = true;
  }
  changed_.notify_all();
}

absl::Duration StopSignals::WaitOf(const StopSteps& steps) const {
  return signal_ == kTimeIsUp && limit_is_hard_ ? absl::ZeroDuration() : steps.wait;
}

void StopSignals::TakeSteps(const StopSteps& steps) {
  MutexLock lock(&mutex_);
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return steps_ == nullptr; };
  changed_.wait(lock, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return over() || signal_ != 0; });
  if (over()) return;
  const absl::Duration wait = WaitOf(steps);
  const Moment drop_at = MonotonicNow() + wait;
  lock.unlock();
  stop_.request_stop();
  if (steps.stop) steps.stop();
  const auto in_the_air = [&] { return steps.in_the_air ? steps.in_the_air() : 0; };
  int waiting = in_the_air();
  Say(Stopping(signal(), waiting, wait), kWaitForWords);
  lock.lock();
  while (waiting > 0 && !over() && !aborted_ && MonotonicNow() < drop_at) {
    changed_.wait_for(lock, absl::ToChronoNanoseconds(kTick));
    lock.unlock();
    waiting = in_the_air();
    lock.lock();
  }
  if (over()) return;
  end_ = std::min(end_, MonotonicNow() + kStopTargets);
  lock.unlock();
  if (waiting > 0 && steps.drop) steps.drop();
}

void StopSignals::EndProcess() {
  const StopSteps* steps = nullptr;  // nobody takes them away any more
  {
    const MutexLock lock(&mutex_);
    steps = steps_;
  }
  std::string stopped = "stopped; ";
  if (steps != nullptr && steps->last_words) {
    if (CallAside([steps, signal = signal()] { steps->last_words(signal); }, kStopLastWords)) {
      _exit(ExitCodeOfSignal(signal()));
    }
    stopped = "stopped before there was a summary (`reembed status` has one); ";
  }
  JsonLine line("error");
  line.Add("command", words_.command)
      .Add("message", stopped + words_.left)
      .Add("exit_code", static_cast<int>(ExitCodeOfSignal(signal())));
  Say(words_.json ? line.ToString() + "\n"
                  : absl::StrCat("\nreembed ", words_.command, ": ", stopped, words_.left, "\n"),
      kWaitForWords);
  _exit(ExitCodeOfSignal(signal()));
}

StopSignals::Work::Work(StopSignals* signals, StopSteps steps) : signals_(signals), steps_(std::move(steps)) {
  {
    const MutexLock lock(&signals_->mutex_);
    signals_->steps_ = &steps_;
  }
  signals_->stepper_ = std::thread([this] { signals_->TakeSteps(steps_); });
}

StopSignals::Work::~Work() {
  {
    MutexLock lock(&signals_->mutex_);
    signals_->changed_.wait(
        lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(signals_->mutex_) { return !signals_->ending_; });  // for good
    signals_->steps_ = nullptr;
    signals_->changed_.notify_all();
  }
  signals_->stepper_.join();
}

}  // namespace reembed
