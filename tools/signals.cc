#include "tools/signals.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

namespace reembed {
namespace {

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t set = StopSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A reader that left and a file size limit are errors of the write that meets them.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

StopSignals::StopSignals(std::function<void(int)> first, std::function<void()> abort)
    : first_(std::move(first)),
      abort_(std::move(abort)),
      thread_([this](const std::stop_token& done) { Loop(done); }) {}

StopSignals::~StopSignals() {
  thread_.request_stop();
  thread_.join();
}

void StopSignals::Loop(const std::stop_token& done) {
  const sigset_t set = StopSet();
  int count = 0;
  while (!done.stop_requested()) {
    const timespec tenth{.tv_sec = 0, .tv_nsec = 100'000'000};
    const int got = sigtimedwait(&set, nullptr, &tenth);
    if (got < 0) continue;
    ++count;
    if (count == 1) {
      signal_ = got;
      stop_.request_stop();
      first_(got);
    } else if (count == 2) {
      abort_();
    } else {
      _exit(128 + got);
    }
  }
}

}  // namespace reembed
