// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/alibi.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

Moment At(double seconds) { return absl::Seconds(seconds); }

TEST(AlibiTest, ARefusalCountsWhenOthersWereTakenSinceTheFirst) {
  Alibi alibi;
  Trial trial;
  alibi.Leaves(&trial);
  alibi.Refused(&trial, At(1));
  EXPECT_EQ(trial.proofs, 0);
  alibi.Leaves(&trial);
  alibi.Refused(&trial, At(2));
  EXPECT_EQ(trial.proofs, 0) << "nobody else was taken";
  alibi.Taken(At(0.5));
  alibi.Leaves(&trial);
  alibi.Refused(&trial, At(3));
  EXPECT_EQ(trial.proofs, 0) << "the other one left before the trouble began";
  alibi.Taken(At(2.5));
  alibi.Refused(&trial, At(3.5));
  EXPECT_EQ(trial.proofs, 0) << "it had left before the other one was taken";
  alibi.Leaves(&trial);
  alibi.Refused(&trial, At(4));
  EXPECT_EQ(trial.proofs, 1);
}

TEST(AlibiTest, WhatBreaksIsProvenRoundByRound) {
  Alibi alibi;
  Trial trial;
  double now = 1;
  for (int round = 0; round <= Alibi::kProofsToReject; ++round) {
    alibi.Leaves(&trial);
    alibi.Broke(&trial, absl::StrCat("no. ", round, " broke"), At(now));
    EXPECT_EQ(trial.proofs, round) << "the first is none";
    alibi.Taken(At(now + 0.5));
    now += 1;
  }
  alibi.Leaves(&trial);
  alibi.Broke(&trial, "in another way", At(now));
  EXPECT_EQ(trial.proofs, 0);
  EXPECT_EQ(trial.failures, 1);
}

TEST(AlibiTest, NothingIsProvenWhileOthersBreakToo) {
  Alibi alibi;
  Trial trial;
  for (double now = 1; now < 20; now += 1) {
    alibi.Leaves(&trial);
    alibi.Broke(&trial, "broke", At(now));
    alibi.Taken(At(now + 0.3));
    Trial another;
    alibi.Leaves(&another);
    alibi.Broke(&another, "broke", At(now + 0.5));
  }
  EXPECT_EQ(trial.proofs, 0);
}

TEST(AlibiTest, ThoseThatKeepBreakingDoNotExcuseEachOther) {
  Alibi alibi;
  Trial one, two;
  for (double now = 1; now < 8; now += 1) {
    for (Trial* trial : {&one, &two}) {
      alibi.Leaves(trial);
      alibi.Broke(trial, "broke", At(now));
    }
    alibi.Taken(At(now + 0.5));
  }
  EXPECT_GE(one.proofs, Alibi::kProofsToReject);
  EXPECT_GE(two.proofs, Alibi::kProofsToReject);
}

// A service that fails half of all requests at random, asked for one text alone and one of our own in turn.
TEST(AlibiTest, ABrownOutRejectsHardlyAnybody) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  int rejected = 0;
  for (int run = 0; run < 10'000; ++run) {
    Alibi alibi;
    Trial trial;
    double now = 1;
    for (;; now += 1) {
      alibi.Leaves(&trial);
      if (random() % 2 != 0) break;  // taken
      alibi.Broke(&trial, "broke", At(now));
      if (trial.proofs >= Alibi::kProofsToReject) {
        ++rejected;
        break;
      }
      Trial control;
      if (random() % 2 != 0) {
        alibi.Taken(At(now + 0.5));
      } else {
        alibi.Broke(&control, "broke", At(now + 0.5));
      }
    }
  }
  EXPECT_LE(rejected, 10'000 / 80);
}

}  // namespace
}  // namespace reembed
