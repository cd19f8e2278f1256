// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/spend_cap.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "engine/setting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Answer = SpendCap::Answer;

constexpr double kPrice = 0.01;  // of a token, so that 100 tokens are a dollar

TEST(SpendCapTest, WhatIsInTheAirCountsAsSpent) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 10});
  SpendHold first, second, third;
  ASSERT_EQ(cap.Take(600, &first), Answer::kTaken);
  first.Leave();
  EXPECT_NEAR(cap.spent_usd(), 6, 1e-9);
  ASSERT_EQ(cap.Take(400, &second), Answer::kTaken);
  second.Leave();
  EXPECT_EQ(cap.Take(1, &third), Answer::kAskLater);
  EXPECT_THAT(cap.Reached(), IsOk()) << "what is in the air may turn out cheaper";
}

TEST(SpendCapTest, TheTrueChargeTakesThePlaceOfTheEstimate) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 10});
  int batch = 0;
  SpendHold first, second;
  ASSERT_EQ(cap.Take(900, &first), Answer::kTaken);
  first.Leave();
  EXPECT_EQ(cap.Take(500, &second), Answer::kAskLater);
  cap.AwaitCharge(&batch, 0, std::move(first));
  EXPECT_EQ(cap.Take(500, &second), Answer::kAskSoon);
  cap.Charge(&batch, 0, 450);
  EXPECT_NEAR(cap.spent_usd(), 4.5, 1e-9);
  EXPECT_EQ(cap.Take(500, &second), Answer::kTaken);
}

TEST(SpendCapTest, WithNothingUnderWayTheCapIsReachedForGoodAndSaysBothNumbers) {
  SpendCap cap({.usd_per_token = kPrice, .spent_usd = 9.5, .cap_usd = 10});
  SpendHold hold;
  EXPECT_EQ(cap.Offer(100, &hold), Answer::kNever);
  EXPECT_THAT(cap.Reached(), IsOk()) << "what can do without ends nothing";
  EXPECT_EQ(cap.Take(100, &hold), Answer::kNever);
  EXPECT_TRUE(IsSpendCapReached(cap.Reached()));
  EXPECT_THAT(cap.Reached().message(), AllOf(HasSubstr("the cap of $10.00"), HasSubstr("$9.50"), HasSubstr("$1.00")));
  EXPECT_EQ(SettingOf(cap.Reached()), Setting::kMaxSpend);
  EXPECT_EQ(cap.Take(1, &hold), Answer::kNever) << "smaller ones do not slip through";
  EXPECT_FALSE(IsSpendCapReached(absl::CancelledError("stopped")));
}

TEST(SpendCapTest, WhatWasRefusedIsFreeAndWhatGotLostIsNot) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 100});
  {
    SpendHold refused, lost, never_left;
    ASSERT_EQ(cap.Take(100, &refused), Answer::kTaken);
    ASSERT_EQ(cap.Take(200, &lost), Answer::kTaken);
    ASSERT_EQ(cap.Take(400, &never_left), Answer::kTaken);
    refused.Leave();
    lost.Leave();
    refused.Return();
  }
  EXPECT_NEAR(cap.spent_usd(), 2, 1e-9);
  SpendHold hold;
  EXPECT_EQ(cap.Take(9801, &hold), Answer::kNever) << "nothing is in the air any more";
}

TEST(SpendCapTest, AReplyThatNobodyReadsCostsItsEstimate) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 100});
  int batch = 0;
  for (int round = 1; round <= 3; ++round) {
    SpendHold hold;
    ASSERT_EQ(cap.Take(100, &hold), Answer::kTaken);
    hold.Leave();
    cap.AwaitCharge(&batch, 0, std::move(hold));
    EXPECT_NEAR(cap.spent_usd(), round, 1e-9);
  }
  cap.Charge(&batch, 0, 50);
  EXPECT_NEAR(cap.spent_usd(), 2.5, 1e-9);
  cap.Charge(&batch, 0, 50);
  EXPECT_NEAR(cap.spent_usd(), 2.5, 1e-9) << "charged twice";
}

TEST(SpendCapTest, AHoldIsSplitAndPutTogetherWithoutLossOrGain) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 10});
  SpendHold all;
  ASSERT_EQ(cap.Take(1000, &all), Answer::kTaken);
  SpendHold part = all.Split(300);
  EXPECT_EQ(part.tokens(), 300);
  EXPECT_EQ(all.tokens(), 700);
  part.Leave();
  part.Return();
  all.Add(std::move(part));
  EXPECT_EQ(all.tokens(), 1000);
  EXPECT_NEAR(cap.spent_usd(), 10, 1e-9);
  all = SpendHold();
  EXPECT_NEAR(cap.spent_usd(), 0, 1e-9);
}

TEST(SpendCapTest, WarnsOnceAtFourFifths) {
  int warnings = 0;
  double said = 0;
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 10, .warn = [&](double spent, double) {
                  ++warnings;
                  said = spent;
                }});
  SpendHold a, b, c;
  ASSERT_EQ(cap.Take(799, &a), Answer::kTaken);
  EXPECT_EQ(warnings, 0);
  ASSERT_EQ(cap.Take(1, &b), Answer::kTaken);
  EXPECT_EQ(warnings, 1);
  EXPECT_NEAR(said, 8, 1e-9);
  ASSERT_EQ(cap.Take(100, &c), Answer::kTaken);
  EXPECT_EQ(warnings, 1);
}

TEST(SpendCapTest, NotesAreAheadOfWhatLeavesAndFew) {
  std::vector<double> notes;
  SpendAccount account{.note = [&](double usd) {
    notes.push_back(usd);
    return absl::OkStatus();
  }};
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 1000});
  cap.ChargeTo(&account);
  int batch = 0;
  for (int i = 0; i < 1000; ++i) {
    SpendHold hold;
    ASSERT_EQ(cap.Take(100, &hold), Answer::kTaken);
    hold.Leave();
    ASSERT_GE(account.noted_usd, cap.spent_usd() - 1e-9) << "a kill now would forget money";
    // Not much more than what was spent is lost to a kill.
    ASSERT_LE(account.noted_usd, cap.spent_usd() + std::max(9.0, cap.spent_usd() / 31)) << i;
    cap.AwaitCharge(&batch, 0, std::move(hold));
    cap.Charge(&batch, 0, 100);
  }
  EXPECT_LE(notes.size(), 130u);
  EXPECT_LE(notes.back(), 1000 + 1e-9);
  EXPECT_NEAR(account.used_usd, 1000, 1e-6);
}

TEST(SpendCapTest, ANoteThatFailsLetsNothingLeave) {
  SpendAccount account{.note = [](double) { return absl::ResourceExhaustedError("the disk is full"); }};
  SpendCap cap({.usd_per_token = kPrice});
  cap.ChargeTo(&account);
  SpendHold hold;
  EXPECT_EQ(cap.Take(1, &hold), Answer::kNever);
  EXPECT_THAT(cap.Reached(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk is full")));
  EXPECT_FALSE(IsSpendCapReached(cap.Reached()));
}

// Threads that send as they may, at a provider that charges 1.5 times the estimate: once the first replies have been
// read the next ones are estimated right, so the overrun is that of the first ones in the air.
TEST(SpendCapTest, TheOverrunIsAtMostTheErrorOfWhatWasInTheAir) {
  constexpr int kThreads = 8;
  constexpr int64_t kTokens = 1000;
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 3000});
  std::atomic<int64_t> charged{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        int batches[kThreads];
        for (SpendHold hold;;) {
          const Answer answer = cap.Take(kTokens, &hold);
          if (answer == Answer::kNever) return;
          if (answer != Answer::kTaken) {
            std::this_thread::yield();
            continue;
          }
          hold.Leave();
          charged += kTokens * 3 / 2;
          cap.AwaitCharge(&batches[t], 0, std::move(hold));
          cap.Charge(&batches[t], 0, kTokens * 3 / 2);
        }
      });
    }
  }
  EXPECT_NEAR(cap.spent_usd(), static_cast<double>(charged) * kPrice, 1e-6);
  EXPECT_LE(cap.spent_usd(), 3000 + kThreads * kTokens * kPrice / 2);
  EXPECT_GE(cap.spent_usd(), 3000 - 2 * kTokens * kPrice) << "money was left for another request";
}

TEST(SpendCapTest, AReplyThatNobodyReadsIsChargedToItsAccount) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 3000});
  SpendAccount account{.note = [](double) { return absl::OkStatus(); }};
  cap.ChargeTo(&account);
  SpendHold hold;
  ASSERT_EQ(cap.Take(100, &hold), Answer::kTaken);
  hold.Leave();
  const int batch = 0;
  cap.AwaitCharge(&batch, 0, std::move(hold));
  EXPECT_DOUBLE_EQ(cap.spent_usd(account), 100 * kPrice);
  cap.Charge(&batch, 0, 50);
  EXPECT_DOUBLE_EQ(cap.spent_usd(account), 50 * kPrice);
}

TEST(SpendCapTest, OthersLeaveAPartOfASharedCap) {
  SpendCap cap({.usd_per_token = kPrice, .cap_usd = 10});
  cap.Allow(5, /*more=*/true);
  SpendHold first, second, third;
  ASSERT_EQ(cap.Take(400, &first), Answer::kTaken);
  EXPECT_EQ(cap.Take(300, &second), Answer::kAskLater) << "there may be more";
  EXPECT_DOUBLE_EQ(cap.wanted_usd(), 7);
  EXPECT_THAT(cap.Reached(), IsOk());
  cap.Allow(7, /*more=*/true);
  ASSERT_EQ(cap.Take(300, &second), Answer::kTaken);
  EXPECT_DOUBLE_EQ(cap.wanted_usd(), 7);
  cap.Allow(7, /*more=*/false);
  EXPECT_EQ(cap.Take(100, &third), Answer::kNever);
  EXPECT_TRUE(IsSpendCapReached(cap.Reached()));
  EXPECT_THAT(std::string(cap.Reached().message()),
              testing::HasSubstr("others who share it have left $7.00 of it to this job"));
}

TEST(SpendCapTest, MoneyIsNeverRoundedToNothing) {
  EXPECT_EQ(DollarsText(12.345), "$12.35");
  EXPECT_EQ(DollarsText(0.05), "$0.0500");
  EXPECT_EQ(DollarsText(0.0012), "$0.0012");
  EXPECT_EQ(DollarsText(0.000036), "$0.000036");
  EXPECT_EQ(DollarsText(0), "$0.0000");
}

}  // namespace
}  // namespace reembed
