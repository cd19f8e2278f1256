// SPDX-License-Identifier: Apache-2.0
#include "tools/live/status_signal.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

namespace reembed {
namespace {

constexpr char kShow = 's';
constexpr char kEnd = 'e';

// A signal handler can reach nothing but a global.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> handler_pipe{-1};

}  // namespace

void StatusSignal::PassOn(int) {
  const int error = errno;
  // A full pipe holds requests enough.
  [[maybe_unused]] const ssize_t written = write(handler_pipe, &kShow, 1);
  errno = error;
}

void StatusSignal::ShowBy(std::function<void()> show) {
  const MutexLock lock(&mutex_);
  show_ = std::move(show);
}

StatusSignal::StatusSignal(std::function<void()> unless) : unless_(std::move(unless)) {
  if (pipe2(pipe_, O_CLOEXEC) != 0) return;
  fcntl(pipe_[1], F_SETFL, O_NONBLOCK);
  handler_pipe = pipe_[1];
  thread_ = std::thread([this] {
    char what = 0;
    for (;;) {
      const ssize_t size = read(pipe_[0], &what, 1);
      if (size < 0 && errno == EINTR) continue;
      if (size != 1 || what == kEnd) return;
      const MutexLock lock(&mutex_);
      (show_ ? show_ : unless_)();
    }
  });
  struct sigaction action = {};
  action.sa_handler = PassOn;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &before_);
}

StatusSignal::~StatusSignal() {
  if (!thread_.joinable()) return;
  sigaction(SIGUSR1, &before_, nullptr);
  while (write(pipe_[1], &kEnd, 1) < 0 && (errno == EINTR || errno == EAGAIN)) std::this_thread::yield();
  thread_.join();
  handler_pipe = -1;
  close(pipe_[0]);
  close(pipe_[1]);
}

}  // namespace reembed
