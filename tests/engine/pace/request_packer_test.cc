// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/request_packer.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

struct Request {
  int texts = 0;
  int64_t tokens = 0;
};

std::vector<Request> Pack(const BatchLimits& limits, const TokenEstimator* estimator,
                          const std::vector<int64_t>& texts) {
  RequestPacker packer(limits, estimator);
  std::vector<Request> requests(1);
  for (const int64_t tokens : texts) {
    const Request& last = requests.back();
    if (last.texts == limits.max_texts || !packer.Takes(last.texts, last.tokens, tokens)) {
      packer.Close(last.texts, last.tokens);
      requests.emplace_back();
    }
    ++requests.back().texts;
    requests.back().tokens += tokens;
  }
  return requests;
}

std::vector<int64_t> LogNormal(int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> lengths(std::log(150), 1);
  std::vector<int64_t> texts(count);
  for (int64_t& tokens : texts) tokens = std::clamp<int64_t>(static_cast<int64_t>(lengths(random)), 1, 8192);
  return texts;
}

TEST(RequestPackerTest, NoRequestPassesTheLimitOfTokens) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  const std::vector<int64_t> texts = LogNormal(20000, seed);
  const TokenEstimator guess;
  for (const int64_t max_tokens : {8192, 16384, 300000}) {
    for (const TokenEstimator* estimator : {static_cast<const TokenEstimator*>(nullptr), &guess}) {
      const std::vector<Request> requests = Pack({.max_texts = 64, .max_tokens = max_tokens}, estimator, texts);
      int64_t packed = 0;
      for (const Request& request : requests) {
        packed += request.texts;
        if (request.texts == 1) continue;
        EXPECT_LE(static_cast<double>(request.tokens),
                  static_cast<double>(max_tokens) * (estimator == nullptr ? 1.0 : 0.85));
      }
      EXPECT_EQ(packed, 20000);
    }
  }
}

TEST(RequestPackerTest, OneTextAboveTheLimitGoesAlone) {
  const std::vector<Request> requests = Pack({.max_texts = 8, .max_tokens = 100}, nullptr, {50, 500, 50, 50, 1});
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[1].tokens, 500);
  EXPECT_EQ(requests[2].tokens, 100);
}

TEST(RequestPackerTest, RequestsAreEvenAndHardlyMore) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  const std::vector<int64_t> texts = LogNormal(200000, seed);
  const std::vector<Request> requests = Pack({.max_texts = 256}, nullptr, texts);
  const double mean = static_cast<double>(std::accumulate(texts.begin(), texts.end(), int64_t{0})) /
                      static_cast<double>(requests.size());
  std::vector<double> sizes;  // of the mean
  for (size_t i = 1; i < requests.size(); ++i) sizes.push_back(static_cast<double>(requests[i].tokens) / mean);
  std::sort(sizes.begin(), sizes.end());
  // The largest has the longest texts by chance: how long they are differs from seed to seed.
  const double most = sizes[sizes.size() * 99 / 100];
  std::cout << requests.size() << " requests, 99 of 100 up to " << most << ", largest " << sizes.back()
            << " of the mean\n";
  EXPECT_LT(most, 1.17);
  EXPECT_LT(sizes.back(), 1.22 + 8192 / mean) << "more than one text too much";
  EXPECT_LT(requests.size(), 200000 / 256 * 1.03);
}

std::vector<BatchText> TextsOf(int count, int64_t tokens, absl::string_view text = "xxxx") {
  return std::vector<BatchText>(count, {.text = text, .tokens = tokens});
}

TEST(RequestPackerTest, WhatTheApiHasRefusedEndsTheNextRequestEarlier) {
  const auto texts = std::make_shared<LearnedCaps>(), tokens = std::make_shared<LearnedCaps>();
  RequestPacker packer({.max_texts = 256}, nullptr, 0, {texts, tokens});
  packer.Begin();
  EXPECT_TRUE(packer.Takes(200, 2000, 10));
  texts->Refused(TextsOf(200, 10), {.measure = Measure::kTexts, .limit = 96});
  EXPECT_TRUE(packer.Takes(200, 2000, 10)) << "not in the middle of a request";
  packer.Begin();
  EXPECT_TRUE(packer.Takes(95, 950, 10));
  EXPECT_FALSE(packer.Takes(96, 960, 10));
  EXPECT_FALSE(packer.Takes({.texts = 90, .tokens = 900}, {.texts = 7, .tokens = 70})) << "the parts of one text";
  // The least of all endpoints counts.
  tokens->Refused(TextsOf(90, 10), {.measure = Measure::kTokens, .limit = 500, .requested = 900});
  packer.Begin();
  EXPECT_EQ(tokens->caps().tokens, 475);
  EXPECT_TRUE(packer.Takes(47, 465, 10));
  EXPECT_FALSE(packer.Takes(47, 466, 10));
  // Whatever was learned, one text goes.
  EXPECT_TRUE(packer.Takes(0, 0, 100000));
}

TEST(RequestPackerTest, ALearnedNumberOfBytesCounts) {
  const auto learned = std::make_shared<LearnedCaps>();
  RequestPacker packer({.max_texts = 256}, nullptr, 0, {learned});
  learned->Refused(TextsOf(100, 1), {.measure = Measure::kBytes});
  packer.Begin();
  EXPECT_TRUE(packer.Takes({.texts = 3, .tokens = 3, .bytes = 150}, {.texts = 1, .tokens = 1, .bytes = 50}));
  EXPECT_FALSE(packer.Takes({.texts = 3, .tokens = 3, .bytes = 151}, {.texts = 1, .tokens = 1, .bytes = 50}));
}

std::vector<int> Counts(const std::vector<RequestSpan>& requests) {
  std::vector<int> counts;
  for (const RequestSpan& request : requests) counts.push_back(request.count);
  return counts;
}

TEST(CutIntoRequestsTest, ABatchIsOneRequestUnlessSomethingIsAgainstIt) {
  Batch batch({.max_texts = 16, .max_rows = 16, .max_tokens = 100, .max_text_bytes = 1000}, 4);
  for (int i = 0; i < 12; ++i) batch.AddRowWithText(i, int64_t{i}, i, "text", 5);
  LearnedCaps learned;
  EXPECT_EQ(Counts(CutIntoRequests(batch, 0, {}, learned)), std::vector<int>{12});
  EXPECT_EQ(Counts(CutIntoRequests(batch, 5, {}, learned)), (std::vector<int>{5, 5, 2}));
  // Half a second of the quota.
  EXPECT_EQ(Counts(CutIntoRequests(batch, 0, {.tokens_per_minute = 2400}, learned)), (std::vector<int>{4, 4, 4}));
  batch.texts()[3].reject = absl::InvalidArgumentError("refused");
  batch.texts()[4].answered = true;
  batch.texts()[7].trouble.most = 1;
  const std::vector<RequestSpan> cut = CutIntoRequests(batch, 0, {}, learned);
  EXPECT_EQ(Counts(cut), (std::vector<int>{3, 2, 1, 4}));
  EXPECT_EQ(cut[1].first, 5);
  learned.Refused(TextsOf(12, 5), {.measure = Measure::kTexts, .limit = 2});
  EXPECT_EQ(Counts(CutIntoRequests(batch, 0, {}, learned)), (std::vector<int>{2, 1, 2, 1, 2, 2}));
}

TEST(CutRefusedTest, TheRefusalSaysHowManyOrElseHalves) {
  LearnedCaps learned;
  EXPECT_EQ(CutRefused(TextsOf(9, 5), {}, &learned), (std::vector<int>{4, 5}));
  EXPECT_EQ(CutRefused(TextsOf(9, 5), {.measure = Measure::kTexts, .limit = 3}, &learned), (std::vector<int>{3, 3, 3}));
  EXPECT_EQ(learned.caps().texts, 3);
}

TEST(TokenEstimatorTest, LearnsWhatTextsCost) {
  TokenEstimator estimator;
  EXPECT_EQ(estimator.Estimate(4000), 1000);
  EXPECT_LT(estimator.PackedShare(), 0.86);
  for (int i = 0; i < 50; ++i) estimator.Learn(10, 10000, 7000);
  EXPECT_NEAR(static_cast<double>(estimator.Estimate(1000)), 700, 10);
  EXPECT_GT(estimator.PackedShare(), 0.9);
  // And forgets what the source no longer has.
  for (int i = 0; i < 200; ++i) estimator.Learn(10, 10000, 2500);
  EXPECT_NEAR(static_cast<double>(estimator.Estimate(1000)), 250, 20);
}

TEST(TokenEstimatorTest, StaysWithinWhatIsProven) {
  TokenEstimator estimator(5.0);
  EXPECT_EQ(estimator.Estimate(100), 100);
  EXPECT_EQ(estimator.Estimate(0), 1);
  EXPECT_EQ(TokenEstimator(0).Estimate(1000), 8);
}

TEST(TokenEstimatorTest, DoesNotBelieveWhatCannotBe) {
  TokenEstimator estimator;
  estimator.Learn(1, 100000, 0);
  estimator.Learn(1, 100000, -1);
  estimator.Learn(1, 100000, 100003);
  estimator.Learn(1, 0, 10);
  EXPECT_EQ(estimator.Estimate(4000), 1000);
}

TEST(TokenEstimatorTest, ManyMayLearnAndAskAtOnce) {
  TokenEstimator estimator;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&estimator] {
        for (int i = 0; i < 1000; ++i) {
          estimator.Learn(1, 1000, 500);
          EXPECT_GE(estimator.Estimate(1000), 250);
        }
      });
    }
  }
  EXPECT_EQ(estimator.Estimate(1000), 500);
}

}  // namespace
}  // namespace reembed
