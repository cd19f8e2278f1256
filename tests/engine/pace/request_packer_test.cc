// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/request_packer.h"

#include <algorithm>
#include <cmath>
#include <iostream>
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
  int64_t largest = 0;
  for (size_t i = 1; i < requests.size(); ++i) largest = std::max(largest, requests[i].tokens);
  std::cout << requests.size() << " requests, largest " << static_cast<double>(largest) / mean << " of the mean\n";
  EXPECT_LT(static_cast<double>(largest), 1.22 * mean);
  EXPECT_LT(requests.size(), 200000 / 256 * 1.03);
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
