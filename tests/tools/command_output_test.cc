// SPDX-License-Identifier: Apache-2.0
#include "tools/command_output.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kEnough = absl::Seconds(60);

TEST(CommandOutputTest, TheFirstLineCountsWithoutBlanks) {
  EXPECT_EQ(FirstLineOf("printf ' sk-1234 \\nlogin: me\\n'", kEnough).value_or("nothing"), "sk-1234");
  EXPECT_EQ(FirstLineOf("printf sk-1234", kEnough).value_or("nothing"), "sk-1234");
  // More than a pipe holds.
  EXPECT_EQ(FirstLineOf("echo sk-1234; head -c 300000 /dev/zero", kEnough).value_or("nothing"), "sk-1234");
}

TEST(CommandOutputTest, WhatFailsIsToldWithoutWhatItPrinted) {
  EXPECT_THAT(FirstLineOf("echo sk-1234; exit 3", kEnough).status().message(),
              AllOf(HasSubstr("exit code 3"), Not(HasSubstr("sk-1234"))));
  EXPECT_THAT(FirstLineOf("kill -9 $$", kEnough).status().message(), HasSubstr("signal 9"));
  EXPECT_THAT(FirstLineOf("true", kEnough).status().message(), HasSubstr("nothing"));
  EXPECT_THAT(FirstLineOf("printf '\\nsecond'", kEnough).status().message(), HasSubstr("nothing"));
}

TEST(CommandOutputTest, WhatDoesNotEndIsEnded) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(FirstLineOf("exec sleep 1000", absl::Milliseconds(50)).status()));
  // It has closed its output.
  EXPECT_TRUE(absl::IsDeadlineExceeded(FirstLineOf("exec sleep 1000 >&-", absl::Milliseconds(50)).status()));
}

}  // namespace
}  // namespace reembed
