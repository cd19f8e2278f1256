// SPDX-License-Identifier: Apache-2.0
#include "tools/consent.h"

#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

// What is answered where somebody sits at a terminal and types `typed`: 0 yes, 1 refused with the advice, 2 asked and
// not granted.
int AtATerminal(const Consent& consent, const char* typed, const char* name = nullptr) {
  int master = -1;
  const pid_t child = forkpty(&master, nullptr, nullptr, nullptr);
  if (child == 0) {
    const char* const advice = "to go on, say --yes";
    const absl::Status answer = name == nullptr ? AskConsent("this replaces 5 vectors", advice, consent)
                                                : AskName("this replaces memory.db", name, advice, consent);
    _exit(answer.ok() ? 0 : absl::StrContains(answer.message(), "say --yes") ? 1 : 2);
  }
  [[maybe_unused]] const ssize_t written = write(master, typed, strlen(typed));
  char bytes[256];
  while (read(master, bytes, sizeof(bytes)) > 0) {
  }
  int state = 0;
  waitpid(child, &state, 0);
  close(master);
  return WEXITSTATUS(state);
}

TEST(ConsentTest, AYesIsNoName) {
  EXPECT_EQ(AtATerminal({}, "memory.db\n", "memory.db"), 0);
  EXPECT_EQ(AtATerminal({}, " memory.db \n", "memory.db"), 0);
  EXPECT_EQ(AtATerminal({}, "y\n", "memory.db"), 2);
  EXPECT_EQ(AtATerminal({}, "\n", "memory.db"), 2);
  EXPECT_EQ(AtATerminal({.no_input = true}, "memory.db\n", "memory.db"), 1);
  EXPECT_EQ(AtATerminal({.yes = true}, "n\n", "memory.db"), 0);
}

TEST(ConsentTest, AtATerminalItIsAskedForUnlessNobodyShallBeAsked) {
  EXPECT_EQ(AtATerminal({}, "y\n"), 0);
  EXPECT_EQ(AtATerminal({}, "n\n"), 2);
  EXPECT_EQ(AtATerminal({.no_input = true}, "y\n"), 1);
  EXPECT_EQ(AtATerminal({.yes = true, .no_input = true}, "n\n"), 0);
}

}  // namespace
}  // namespace reembed
