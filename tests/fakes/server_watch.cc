// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/server_watch.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

// Below those that the kernel gives to clients: a client that knocks at such a port while its server is away may reach
// itself, and the server that comes back finds its port taken.
constexpr int kFirstPort = 12000, kLastPort = 32000;
constexpr size_t kShownBytes = 12000;  // of a log: a crash report with its stack

// Makes a port this process's among all that ask here, also while its server is away: by a name that goes with the
// process.
bool ReservePort(int port) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = absl::StrCat("reembed-test-port-", port);
  name.copy(address.sun_path + 1, sizeof(address.sun_path) - 1);  // behind a NUL: a name without a file
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0) return true;
  close(fd);
  return false;
}

std::string Tail(const std::string& log) {
  return log.size() <= kShownBytes ? log : "..." + log.substr(log.size() - kShownBytes);
}

std::string LastWords(const ServerWatch& watch) {
  return absl::StrCat(watch.name(), " said:\n", Tail(watch.process()->out()), Tail(watch.process()->err()));
}

bool& Crashed() {
  static bool crashed = false;
  return crashed;
}

// The signals of a program that breaks, not of somebody who ends it.
bool IsFault(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
}

// Reports a server that has ended; returns whether it has.
bool ReportEnd(const ServerWatch& watch) {
  if (watch.process()->IsRunning()) return false;
  const ProcessResult ended = watch.process()->Wait();
  if (watch.name() == "FalkorDB" && IsFault(ended.signal)) Crashed() = true;
  const std::string report =
      absl::StrCat(watch.name(), " ended by itself, ",
                   ended.signal != 0 ? absl::StrCat("signal ", ended.signal) : absl::StrCat("exit ", ended.exit_code),
                   "; ", LastWords(watch));
  // After the last test there is none that could fail.
  if (testing::UnitTest::GetInstance()->current_test_info() == nullptr) {
    std::cerr << report << std::endl;
  } else {
    ADD_FAILURE() << report;
  }
  return true;
}

// The servers of this program. Never freed, as one of them may outlive everything else.
std::vector<const ServerWatch*>& Watched() {
  static auto* const watched = new std::vector<const ServerWatch*>;
  return *watched;
}

class EndOfTest : public testing::EmptyTestEventListener {
 public:
  void OnTestEnd(const testing::TestInfo& test) override {
    for (const ServerWatch* watch : Watched()) {
      if (!ReportEnd(*watch) && test.result()->Failed()) std::cout << LastWords(*watch) << std::endl;
    }
  }
};

}  // namespace

bool HasCrashedByItself() { return Crashed(); }

ServerWatch::ServerWatch(std::string name, Process* process) : name_(std::move(name)), process_(process) {
  static const bool listening = [] {
    testing::UnitTest::GetInstance()->listeners().Append(new EndOfTest);
    return true;
  }();
  (void)listening;
  Watched().push_back(this);
}

ServerWatch::~ServerWatch() {
  Watched().erase(std::find(Watched().begin(), Watched().end(), this));
  ReportEnd(*this);
}

int FreePort() {
  static std::mt19937 random{std::random_device()()};
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const int port = std::uniform_int_distribution(kFirstPort, kLastPort)(random);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (free && ReservePort(port)) return port;
  }
  std::cerr << "no free port between " << kFirstPort << " and " << kLastPort << "\n";
  abort();
}

}  // namespace reembed
