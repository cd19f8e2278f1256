#include "tools/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM};
constexpr unsigned char kEnd = 0;

// A signal handler can reach nothing but a global. The handler runs on any thread: libraries start theirs before
// main(), so blocking signals in ours and waiting for them would not catch them all.
std::atomic<int> handler_pipe{-1};

void OnSignal(int signal) {
  const auto byte = static_cast<unsigned char>(signal);
  [[maybe_unused]] const ssize_t written = write(handler_pipe, &byte, 1);
}

}  // namespace

void IgnoreWriteSignals() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

void EndBySignal(absl::string_view command, int signal, absl::string_view left) {
  // In one call: another thread may be writing, too.
  std::fputs(absl::StrCat("\nreembed ", command, ": stopped; ", left, "\n").c_str(), stderr);
  _exit(128 + signal);
}

StopSignals::StopSignals(std::function<void(int)> first, std::function<void()> abort)
    : first_(std::move(first)), abort_(std::move(abort)) {
  if (pipe2(pipe_, O_CLOEXEC) != 0) return;  // out of descriptors: signals keep their default
  handler_pipe = pipe_[1];
  thread_ = std::thread([this] { Loop(); });
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int stop_signal : kStopSignals) sigaction(stop_signal, &action, nullptr);
}

StopSignals::~StopSignals() {
  if (!thread_.joinable()) return;
  for (const int stop_signal : kStopSignals) ::signal(stop_signal, SIG_DFL);
  [[maybe_unused]] const ssize_t written = write(pipe_[1], &kEnd, 1);
  thread_.join();
  handler_pipe = -1;
  close(pipe_[0]);
  close(pipe_[1]);
}

void StopSignals::Loop() {
  unsigned char got = kEnd;
  for (int count = 1; read(pipe_[0], &got, 1) == 1 && got != kEnd; ++count) {
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
