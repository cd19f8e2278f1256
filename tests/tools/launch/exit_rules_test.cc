// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/exit_rules.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;

TEST(ExitRulesTest, EveryCodeHasOneRule) {
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 129, 130, 143};
  std::multiset<int> found;
  for (const AfterExit what : {AfterExit::kDone, AfterExit::kStopped, AfterExit::kAgain, AfterExit::kTimeIsUp,
                               AfterExit::kShardEnds, AfterExit::kJobEnds}) {
    for (const int code : CodesThat(what)) {
      found.insert(code);
      EXPECT_EQ(AfterExitOf(code), what) << code;
    }
  }
  EXPECT_EQ(found, std::multiset<int>(all.begin(), all.end()));
}

TEST(ExitRulesTest, WhatIsWrongForAllEndsTheJob) {
  EXPECT_THAT(CodesThat(AfterExit::kJobEnds), ElementsAre(kExitUsage, kExitFatal, kExitSpendCap));
  EXPECT_THAT(CodesThat(AfterExit::kTimeIsUp), ElementsAre(kExitTimeLimit));
}

TEST(ExitRulesTest, WhatNobodyKnowsIsTriedAgain) {
  for (const int code : {12, 126, 127, 134, 137, 139, 255}) EXPECT_EQ(AfterExitOf(code), AfterExit::kAgain) << code;
}

}  // namespace
}  // namespace reembed
