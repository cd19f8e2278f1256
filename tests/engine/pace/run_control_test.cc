// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/run_control.h"

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "engine/pace/pacer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr Moment kStart = absl::Hours(1000);

TEST(RunControlTest, FollowersHearOfEveryChangeAndOfWhatIsSoAlready) {
  RunControl control(16);
  control.Pause();
  std::vector<PaceWish> heard;
  auto following = control.Follow([&](const PaceWish& wish) { heard.push_back(wish); });
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_TRUE(heard[0].paused);
  control.Resume();
  ASSERT_THAT(control.SetRate(600, std::nullopt), IsOk());
  ASSERT_THAT(control.SetRate(std::nullopt, 9000), IsOk());
  ASSERT_THAT(control.SetConcurrency(3), IsOk());
  ASSERT_EQ(heard.size(), 5u);
  EXPECT_FALSE(heard[1].paused);
  EXPECT_EQ(heard.back().requests_per_minute, 600) << "what is not named stays";
  EXPECT_EQ(heard.back().tokens_per_minute, 9000);
  EXPECT_EQ(heard.back().concurrency, 3);
  following.reset();
  control.Pause();
  EXPECT_EQ(heard.size(), 5u) << "who has left hears nothing";
  EXPECT_TRUE(control.paused());
}

TEST(RunControlTest, RefusesWhatNobodyCanMean) {
  RunControl control(16);
  for (const absl::Status& refused : {control.SetRate(std::nullopt, std::nullopt), control.SetRate(-1, std::nullopt),
                                      control.SetRate(std::nullopt, std::numeric_limits<double>::infinity()),
                                      control.SetConcurrency(0), control.SetConcurrency(17)}) {
    EXPECT_THAT(refused, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("")));
  }
  EXPECT_THAT(std::string(control.SetConcurrency(17).message()), HasSubstr("1 to 16"));
  EXPECT_FALSE(control.wish().concurrency.has_value());
}

TEST(RunControlTest, AnyThreadMaySteerWhileOthersComeAndGo) {
  RunControl control(64);
  std::atomic<int> heard{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) {
        const auto following = control.Follow([&](const PaceWish&) { ++heard; });
        i % 2 == 0 ? control.Pause() : control.Resume();
        EXPECT_THAT(control.SetConcurrency(1 + n % 64), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(heard, 4 * 200 * 3) << "each hears its own at least";
}

// What a pacer makes of it.
class ObeyTest : public ::testing::Test {
 protected:
  static PacerOptions Options() { return {.concurrency = 8}; }

  // Requests that leave at once, of many.
  int LeaveNow() {
    int left = 0;
    Departure departure;
    while (left < 100 && pacer_.TryStart(SendReason::kFirst, 10, now_, &departure) <= now_) {
      ++left;
      out_.push_back(departure);
    }
    return left;
  }
  void AnswerAll(SendOutcome outcome = SendOutcome::kOk) {
    now_ += absl::Milliseconds(100);
    for (const Departure& departure : std::exchange(out_, {})) pacer_.Ended(departure, outcome, now_);
  }

  Pacer pacer_{Options()};
  Moment now_ = kStart;
  std::vector<Departure> out_;
};

TEST_F(ObeyTest, NothingLeavesWhilePausedAndThenItGoesOn) {
  EXPECT_GT(LeaveNow(), 0);
  pacer_.Obey({.paused = true}, now_);
  AnswerAll();
  EXPECT_EQ(LeaveNow(), 0);
  now_ += absl::Hours(3);
  EXPECT_EQ(LeaveNow(), 0) << "however long it takes";
  EXPECT_EQ(pacer_.QuotaWait(10, now_), absl::ZeroDuration()) << "that is no wait for quota";
  pacer_.Obey({.paused = false}, now_);
  EXPECT_GT(LeaveNow(), 0);
}

TEST_F(ObeyTest, APauseDuringAnOutageIsNoPartOfIt) {
  for (int i = 0; i < 4; ++i) {
    LeaveNow();
    AnswerAll();
  }
  while (!pacer_.probing()) {
    ASSERT_GT(LeaveNow(), 0);
    AnswerAll(SendOutcome::kFailed);
  }
  const absl::Duration failing = pacer_.FailingFor(now_);
  pacer_.Obey({.paused = true}, now_);
  now_ += absl::Hours(3);
  pacer_.Obey({.paused = false}, now_);
  EXPECT_EQ(pacer_.FailingFor(now_), failing);
  EXPECT_FALSE(pacer_.GivenUp(now_));
}

TEST_F(ObeyTest, ARateIsKeptFromThenOnAndMayBeTakenBack) {
  while (LeaveNow() < 8) AnswerAll();
  AnswerAll();
  pacer_.Obey({.requests_per_minute = 60}, now_);
  EXPECT_EQ(pacer_.limiter().requests_per_minute(), 60);
  int left = 0;
  for (int tick = 0; tick < 100; ++tick) {  // ten seconds
    left += LeaveNow();
    AnswerAll();
  }
  EXPECT_NEAR(left, 10, 1);
  pacer_.Obey({.requests_per_minute = 0}, now_);
  EXPECT_EQ(pacer_.limiter().requests_per_minute(), 0);
  EXPECT_EQ(LeaveNow(), 8);
}

TEST_F(ObeyTest, AProvidersOwnLimitIsNeverExceeded) {
  LeaveNow();
  pacer_.Learn({.limit_requests = 120}, out_.back(), now_);
  AnswerAll();
  pacer_.Obey({.requests_per_minute = 6000}, now_);
  EXPECT_EQ(pacer_.limiter().requests_per_minute(), 120);
  pacer_.Obey({.requests_per_minute = 30}, now_);
  EXPECT_EQ(pacer_.limiter().requests_per_minute(), 30);
  pacer_.Obey({.requests_per_minute = 0}, now_);
  EXPECT_EQ(pacer_.limiter().requests_per_minute(), 120) << "what it has said is not forgotten";
}

TEST_F(ObeyTest, WhereTextsAreCountedARateIsOneOfTexts) {
  Pacer pacer({.concurrency = 8, .counts_as = 100});
  pacer.Obey({.requests_per_minute = 3000}, now_);
  EXPECT_EQ(pacer.limiter().requests_per_minute(), 30);
}

TEST_F(ObeyTest, FewerAtATimeHoldsAtOnceAndMoreIsTriedSoon) {
  while (LeaveNow() + static_cast<int>(out_.size()) < 16 && pacer_.in_air() < 8) AnswerAll();
  AnswerAll();
  pacer_.Obey({.concurrency = 2}, now_);
  EXPECT_EQ(pacer_.concurrency(), 2);
  EXPECT_EQ(LeaveNow(), 2);
  AnswerAll();
  pacer_.Obey({.concurrency = 30}, now_);
  for (int i = 0; i < 40 && pacer_.concurrency() < 30; ++i) {
    LeaveNow();
    AnswerAll();
  }
  EXPECT_EQ(pacer_.concurrency(), 30);
}

TEST_F(ObeyTest, AFixedNumberAtATimeIsAnotherFixedNumber) {
  Pacer pacer({.concurrency = 8, .fixed_concurrency = true});
  EXPECT_EQ(pacer.concurrency(), 8);
  pacer.Obey({.concurrency = 3}, now_);
  EXPECT_EQ(pacer.concurrency(), 3);
}

}  // namespace
}  // namespace reembed
