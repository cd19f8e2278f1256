// SPDX-License-Identifier: Apache-2.0
// main() of test programs that use a real FalkorDB. FalkorDB 4.16 crashes by itself now and then, which says nothing of
// what is tested: such a test is done again, from its beginning and with a server of its own, at most twice, and the
// server's last words are printed. The tests run in a process of their own, since a crashed server leaves nothing
// behind that another attempt could start from.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <iostream>

#include "tests/fakes/server_watch.h"

namespace reembed {
namespace {

constexpr int kAttempts = 3;

// Runs the tests in a child. Returns its exit code; a child that a signal has ended ends this process the same way.
int RunInChild(int attempt) {
  std::cout.flush();
  const pid_t child = fork();
  if (child < 0) {
    std::cerr << "fork: no process for the tests\n";
    return 1;
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int code = RUN_ALL_TESTS();
    std::exit(code != 0 && attempt < kAttempts && HasCrashedByItself() ? kExitServerCrashed : code);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
  return 1;
}

int Main() {
  for (int attempt = 1;; ++attempt) {
    const int code = RunInChild(attempt);
    if (code != kExitServerCrashed) return code;
    if (attempt == kAttempts) return 1;
    std::cout << "FalkorDB crashed by itself: attempt " << attempt << " of " << kAttempts
              << " does not count, and all is done again" << std::endl;
  }
}

}  // namespace
}  // namespace reembed

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return reembed::Main();
}
