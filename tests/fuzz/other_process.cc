// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/other_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

constexpr int kInputsOfOne = 1000;
constexpr char kTaken = 't', kCrashed = 'c', kReported = 'r';
constexpr int kNobodyAsks = 100, kFound = 101;  // exit codes

// The next byte of the other side; 0: it has ended.
char ReadByte(int from) {
  char byte = 0;
  ssize_t got;
  while ((got = read(from, &byte, 1)) < 0 && errno == EINTR) {
  }
  return got == 1 ? byte : '\0';
}

void WriteByte(int to, char byte) {
  while (send(to, &byte, 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

[[noreturn]] void TakeInputs(int fuzzer, const std::function<void()>& take) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(crash, SIG_DFL);
  SetEndOfFinding([] { _exit(kFound); });
  for (int i = 0; i < kInputsOfOne; ++i) {
    if (ReadByte(fuzzer) == '\0') _exit(kNobodyAsks);
    take();
    WriteByte(fuzzer, kTaken);
  }
  _exit(0);
}

// Forks one after another. What is done with an input that ended one is said here.
[[noreturn]] void Serve(int fuzzer, const std::function<void()>& take) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  while (true) {
    const pid_t child = fork();
    if (child < 0) _exit(1);
    if (child == 0) TakeInputs(fuzzer, take);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
      WriteByte(fuzzer, kCrashed);
    } else if (WEXITSTATUS(status) == kNobodyAsks) {
      _exit(0);
    } else if (WEXITSTATUS(status) != 0) {
      WriteByte(fuzzer, kReported);
    }
  }
}

}  // namespace

OtherProcess::OtherProcess(std::function<void()> take) {
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "there are sockets");
  const pid_t child = fork();
  Require(child >= 0, "there can be another process");
  if (child == 0) {
    close(ends[0]);
    Serve(ends[1], take);
  }
  close(ends[1]);
  there_ = ends[0];
}

OtherProcess::~OtherProcess() { close(there_); }

bool OtherProcess::Survives() {
  WriteByte(there_, 'i');
  const char answer = ReadByte(there_);
  Require(answer != kReported, "nothing is found in the other process (its words are above)");
  Require(answer == kTaken || answer == kCrashed, "the other process is there");
  return answer == kTaken;
}

void AddOption(const char* option, int* argc, char*** argv) {
  const absl::string_view words(option);
  const absl::string_view name = words.substr(0, words.find('=') + 1);
  for (int i = 1; i < *argc; ++i) {
    if (absl::string_view((*argv)[i]).substr(0, name.size()) == name) return;
  }
  static auto& all = *new std::vector<char*>;  // read until the very end, and looked for in it as lost memory
  all.assign(*argv, *argv + *argc);
  all.insert(all.begin() + 1, strdup(option));
  all.push_back(nullptr);
  *argc = static_cast<int>(all.size()) - 1;
  *argv = all.data();
}

}  // namespace reembed::fuzz
