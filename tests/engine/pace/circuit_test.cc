// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/circuit.h"

#include "engine/pace/retry_budget.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);

class CircuitTest : public ::testing::Test {
 protected:
  void FailAtOnce(int times) {
    for (int i = 0; i < times; ++i) circuit_.Failed(kStart, kStart);
  }
  Circuit circuit_{{.failures_to_open = 5,
                    .first_probe = absl::Seconds(0.5),
                    .longest_between_probes = absl::Seconds(1),
                    .give_up_after = absl::Minutes(10)}};
};

TEST_F(CircuitTest, StaysClosedUntilSomethingHasBeenAnswered) {
  FailAtOnce(100);
  EXPECT_FALSE(circuit_.open());
  EXPECT_FALSE(circuit_.GivenUp(kStart + absl::Hours(1)));
}

TEST_F(CircuitTest, OpensOnlyAfterFailuresInARow) {
  circuit_.Answered(kStart);
  for (int i = 0; i < 20; ++i) {
    FailAtOnce(4);
    circuit_.Answered(kStart);
  }
  EXPECT_FALSE(circuit_.open());
  FailAtOnce(5);
  EXPECT_TRUE(circuit_.open());
}

TEST_F(CircuitTest, LetsOneProbeAtATimeOutEachSecond) {
  circuit_.Answered(kStart);
  FailAtOnce(5);
  Moment now = kStart;
  int probes = 0;
  while (now < kStart + absl::Minutes(1)) {
    now = circuit_.NextStart(now);
    circuit_.Sent(now);
    EXPECT_EQ(circuit_.NextStart(now), absl::InfiniteDuration());
    circuit_.Failed(kStart, now);  // one that had left long before
    EXPECT_EQ(circuit_.NextStart(now), absl::InfiniteDuration());
    const Moment left = now;
    now += absl::Milliseconds(1);
    circuit_.Failed(left, now);
    ++probes;
  }
  EXPECT_GE(probes, 58);
  EXPECT_LE(probes, 63);
}

TEST_F(CircuitTest, AnyAnswerEndsTheOutageAndALongOneIsGivenUp) {
  circuit_.Answered(kStart);
  FailAtOnce(5);
  EXPECT_FALSE(circuit_.GivenUp(kStart + absl::Minutes(9)));
  EXPECT_TRUE(circuit_.GivenUp(kStart + absl::Minutes(10)));
  EXPECT_FALSE(circuit_.Answered(kStart - absl::Seconds(1)));  // it had left before
  EXPECT_TRUE(circuit_.open());
  EXPECT_TRUE(circuit_.Answered(kStart));
  EXPECT_EQ(circuit_.NextStart(kStart), kStart);
  EXPECT_FALSE(circuit_.GivenUp(kStart + absl::Minutes(11)));
  EXPECT_FALSE(circuit_.Answered(kStart));
}

TEST(RetryBudgetTest, IsAShareOfWhatWentWellAndSomeToBeginWith) {
  RetryBudget budget(0.1, 3, 100);
  int again = 0;
  for (int first = 0; first < 1000; ++first) {
    budget.Earn();
    while (budget.Allows()) {
      budget.Spend();
      ++again;
    }
  }
  EXPECT_GE(again, 102);
  EXPECT_LE(again, 103);
}

TEST(RetryBudgetTest, ALongGoodTimeDoesNotPayForAStorm) {
  RetryBudget budget(0.1, 3, 20);
  for (int first = 0; first < 10'000; ++first) budget.Earn();
  int again = 0;
  for (; budget.Allows(); ++again) budget.Spend();
  EXPECT_EQ(again, 20);
}

TEST(RetryPaceTest, GapsGrowAboveTheShareOfTheBudgetAndVanishBelow) {
  for (const auto& [failures_in_hundred, is_slow] : {std::pair(5, false), std::pair(8, false), std::pair(15, true)}) {
    SCOPED_TRACE(failures_in_hundred);
    RetryPace pace(0.1, absl::Seconds(8));
    for (int i = 0; i < 10'000; ++i) {
      i * 37 % 100 < failures_in_hundred ? pace.Failed() : pace.Answered();
    }
    pace.Sent(kStart);
    EXPECT_LE(pace.Next(), kStart + absl::Seconds(8));
    EXPECT_EQ(pace.Next() > kStart + absl::Milliseconds(100), is_slow);
  }
}

}  // namespace
}  // namespace reembed
