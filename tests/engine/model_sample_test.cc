// SPDX-License-Identifier: Apache-2.0
#include "engine/model_sample.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using Kind = SampleVerdict::Kind;

std::vector<float> Signs(std::vector<float> vector, float negative) {
  for (float& number : vector) number = number > 0 ? 1 : negative;
  return vector;
}

TEST(ModelSampleTest, SixOfEightDecide) {
  const double same = 1, stale = 0.1;
  EXPECT_EQ(JudgeSample({same, same, same, same, same, same, same, same}).kind, Kind::kSame);
  const SampleVerdict two_stale = JudgeSample({same, stale, same, same, 0.7, same, same, same});
  EXPECT_EQ(two_stale.kind, Kind::kSame);
  EXPECT_EQ(two_stale.same, 6);
  EXPECT_EQ(two_stale.lowest, 0.1);
  EXPECT_EQ(two_stale.highest, 0.7);
  EXPECT_EQ(JudgeSample({same, stale, same, stale, stale, same, same, same}).kind, Kind::kUnclear);
}

TEST(ModelSampleTest, TheEdges) {
  EXPECT_EQ(JudgeSample({0.98, 0.98, 0.98}).kind, Kind::kSame);
  EXPECT_EQ(JudgeSample({0.9799, 0.9799, 0.9799}).kind, Kind::kUnclear);
  EXPECT_EQ(JudgeSample({0.5999, -1, 0}).kind, Kind::kAnother);
  EXPECT_EQ(JudgeSample({0.6, -1, 0}).kind, Kind::kUnclear);
  EXPECT_EQ(JudgeSample({-1, 0, 0, 0, 0, 0, 0, 1}).kind, Kind::kUnclear) << "one of ours among others";
  EXPECT_EQ(JudgeSample({0, -0.5, -0.25}).highest, 0);
  EXPECT_EQ(JudgeSample({0, 0.5, 0.25}).lowest, 0);
}

TEST(ModelSampleTest, OfFewerRowsAsLargeAShare) {
  EXPECT_EQ(JudgeSample({}).kind, Kind::kTooFew);
  EXPECT_EQ(JudgeSample({1, 1}).kind, Kind::kTooFew);
  EXPECT_EQ(JudgeSample({0, 0}).kind, Kind::kTooFew);
  EXPECT_EQ(JudgeSample({1, 1, 0.1}).kind, Kind::kUnclear);
  EXPECT_EQ(JudgeSample({1, 1, 1, 0.1}).kind, Kind::kSame);
  EXPECT_EQ(JudgeSample({1, 1, 1, 0.1, 0.1}).kind, Kind::kUnclear);
  EXPECT_EQ(JudgeSample({1, 1, 1, 1, 1, 0.1}).kind, Kind::kSame);
  EXPECT_EQ(JudgeSample({1, 1, 1, 1, 1, 0.1, 0.1}).kind, Kind::kUnclear);
}

TEST(ModelSampleTest, TheCosineKnowsNoLength) {
  const std::vector<float> vector = TextVector("a text", 64);
  std::vector<float> longer = vector;
  for (float& number : longer) number *= 3;
  EXPECT_NEAR(SampleCosine(vector, longer), 1, 1e-6);
  EXPECT_LT(SampleCosine(vector, TextVector("another", 64)), kSampleAnother);
}

TEST(ModelSampleTest, SignsAreComparedByTheirShare) {
  for (const float negative : {0.0f, -1.0f}) {
    const std::vector<float> vector = Signs(TextVector("a text", 1024), negative);
    EXPECT_EQ(SampleCosine(vector, vector), 1);
    EXPECT_LT(std::abs(SampleCosine(vector, Signs(TextVector("another", 1024), negative))), 0.3);
    // Three in a hundred are flipped by a model's last bits: still the same. A quarter is an angle of 45 degrees.
    std::vector<float> other = vector;
    for (size_t i = 0; i < 1024; i += 32) other[i] = other[i] == 1 ? negative : 1;
    EXPECT_GE(SampleCosine(vector, other), kSampleSame);
    other = vector;
    for (size_t i = 0; i < 1024; i += 4) other[i] = other[i] == 1 ? negative : 1;
    EXPECT_NEAR(SampleCosine(vector, other), std::sqrt(0.5), 1e-9);
  }
}

TEST(ModelSampleTest, WhatSaysNothingIsNoSample) {
  const std::vector<float> zeros(4, 0.0f);
  const std::vector<float> infinite = {1, std::numeric_limits<float>::infinity()};
  const std::vector<float> nan = {std::nanf(""), 1};
  const std::vector<float> good = {0, -1e-30f};
  EXPECT_FALSE(CanBeSampled({}));
  EXPECT_FALSE(CanBeSampled(zeros));
  EXPECT_FALSE(CanBeSampled(infinite));
  EXPECT_FALSE(CanBeSampled(nan));
  EXPECT_TRUE(CanBeSampled(good));
}

}  // namespace
}  // namespace reembed
