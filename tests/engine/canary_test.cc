// SPDX-License-Identifier: Apache-2.0
#include "engine/canary.h"

#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 16;
const std::vector<std::string> kNames = {"http://one/v1", "http://two/v1"};

Moment At(double seconds) { return absl::Seconds(500) + absl::Seconds(seconds); }

// What a model gives for all canary texts.
std::vector<float> Vectors(const std::string& model) {
  std::vector<float> all;
  for (const absl::string_view text : CanaryTexts()) {
    const std::vector<float> vector = TextVector(model + std::string(text), kDim);
    all.insert(all.end(), vector.begin(), vector.end());
  }
  return all;
}

std::vector<float> Row(const std::vector<float>& vectors, int row) {
  return {vectors.begin() + row * kDim, vectors.begin() + (row + 1) * kDim};
}

TEST(CanaryTest, CosineSimilarityIsThatOfTheAngle) {
  const std::vector<float> a = {1, 0, 0}, b = {0, 2, 0}, c = {-3, 0, 0}, d = {1, 1, 0}, zero = {0, 0, 0};
  EXPECT_DOUBLE_EQ(CosineSimilarity(a, a), 1);
  EXPECT_DOUBLE_EQ(CosineSimilarity(a, b), 0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(a, c), -1);
  EXPECT_NEAR(CosineSimilarity(a, d), 0.70710678, 1e-7);
  EXPECT_EQ(CosineSimilarity(a, zero), 0);
  const std::vector<float> large = {std::numeric_limits<float>::max(), 0, 0};
  EXPECT_DOUBLE_EQ(CosineSimilarity(a, large), 1);
}

TEST(CanaryTest, LowestCosineLeavesOutZeroRows) {
  const std::vector<float> a = {1, 0, 1, 0, 0, 0}, b = {1, 0, 1, 1, 5, 5};
  EXPECT_NEAR(*LowestCosine(a, b, 2), 0.70710678, 1e-7);
  const std::vector<float> zero = {0, 0};
  EXPECT_EQ(LowestCosine(zero, zero, 2), std::nullopt);
}

TEST(CanaryTest, LastBitsDoNotMatterAndAnotherModelDoes) {
  CanaryWatch watch(2, kDim, absl::Minutes(10), {});
  watch.SetReference(Vectors("m"), 0);
  watch.Begin(0, At(0));
  watch.Begin(1, At(0));
  EXPECT_THAT(watch.Judge(0, 0, Vectors("m"), kNames), IsOk());
  std::vector<float> nearly = Vectors("m");
  for (float& value : nearly) value *= 1.0001f;
  nearly[3] += 0.01f;
  EXPECT_THAT(watch.Judge(1, 0, nearly, kNames), IsOk());
  EXPECT_EQ(watch.passed(), 2);
}

TEST(CanaryTest, EndpointsOfTwoModelsAreNamedBoth) {
  CanaryWatch watch(2, kDim, absl::Minutes(10), {});
  watch.SetReference(Vectors("m"), 0);
  watch.Begin(1, At(0));
  EXPECT_THAT(watch.Judge(1, 0, Vectors("other"), kNames),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("http://two/v1 and http://one/v1"), HasSubstr("0.999"), HasSubstr("got -0."))));
}

TEST(CanaryTest, AnEarlierRunIsCompared) {
  CanaryWatch watch(1, kDim, absl::Minutes(10), Vectors("m"));
  watch.Begin(0, At(0));
  EXPECT_THAT(watch.Judge(0, 0, Vectors("new"), kNames),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("this job began with"), HasSubstr("remove the folder of this job"))));
}

TEST(CanaryTest, ComesDueByTheClockOnceAtATime) {
  CanaryWatch watch(1, kDim, absl::Minutes(10), Vectors("m"));
  EXPECT_FALSE(watch.TakeDue(0, At(10000))) << "the first check is the caller's";
  watch.Begin(0, At(0));
  ASSERT_THAT(watch.Judge(0, 0, Vectors("m"), kNames), IsOk());
  EXPECT_FALSE(watch.TakeDue(0, At(599)));
  EXPECT_TRUE(watch.TakeDue(0, At(600)));
  EXPECT_FALSE(watch.TakeDue(0, At(5000))) << "one is under way";
  watch.Abandon(0);
  EXPECT_FALSE(watch.TakeDue(0, At(1199)));
  EXPECT_TRUE(watch.TakeDue(0, At(1200)));
}

TEST(CanaryTest, ALastCheckIsForWhatCameLongAfterTheOneBefore) {
  CanaryWatch watch(1, kDim, absl::Minutes(10), Vectors("m"));
  EXPECT_FALSE(watch.TakeLast(0, At(0))) << "nothing has been sent";
  watch.Begin(0, At(0));
  ASSERT_THAT(watch.Judge(0, 0, Vectors("m"), kNames), IsOk());
  EXPECT_FALSE(watch.TakeLast(0, At(100))) << "nothing has been received";
  watch.Received(0, {0, 1}, 1);
  EXPECT_FALSE(watch.TakeLast(0, At(59)));
  EXPECT_TRUE(watch.TakeLast(0, At(60)));
  EXPECT_FALSE(watch.TakeLast(0, At(60))) << "it is under way";
  CanaryWatch off(1, kDim, absl::InfiniteDuration(), Vectors("m"));
  off.Begin(0, At(0));
  ASSERT_THAT(off.Judge(0, 0, Vectors("m"), kNames), IsOk());
  off.Received(0, {0, 1}, 1);
  EXPECT_FALSE(off.TakeLast(0, At(1e6)));
}

// Doubtful is what came after the last good check was sent: the model may have been changed right behind it.
TEST(CanaryTest, ASwapNamesWhatCameSinceTheLastGoodCheckWasSent) {
  CanaryWatch watch(2, kDim, absl::Minutes(10), Vectors("m"));
  watch.Begin(0, At(0));
  ASSERT_THAT(watch.Judge(0, 0, Vectors("m"), kNames), IsOk());
  watch.Received(0, {0, 100}, 90);
  watch.Received(1, {100, 200}, 100);
  ASSERT_TRUE(watch.TakeDue(0, At(600)));
  watch.Received(0, {300, 400}, 80);  // while the check is in the air
  const int text = watch.NextText();
  ASSERT_THAT(watch.Judge(0, text, Row(Vectors("m"), text), kNames), IsOk());
  watch.Received(0, {500, 600}, 70);
  watch.Received(0, {200, 300}, 60);
  ASSERT_TRUE(watch.TakeDue(0, At(1200)));
  const int next = watch.NextText();
  EXPECT_NE(next, text);
  EXPECT_THAT(watch.Judge(0, next, Row(Vectors("swapped"), next), kNames),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("http://one/v1"), HasSubstr("210 vectors"), HasSubstr("201. and the 600."),
                             HasSubstr("nothing more was bought"))));
}

TEST(CanaryTest, TextsThatAreRefusedSayNothing) {
  std::vector<float> without_first = Vectors("m");
  std::fill_n(without_first.begin(), kDim, 0.0f);
  CanaryWatch watch(1, kDim, absl::Minutes(10), without_first);
  watch.Begin(0, At(0));
  EXPECT_THAT(watch.Judge(0, 0, Vectors("m"), kNames), IsOk());
  watch.Begin(0, At(1));
  EXPECT_THAT(watch.Judge(0, 0, Row(Vectors("other"), 0), kNames), IsOk());
  EXPECT_EQ(watch.passed(), 1);
}

TEST(CanaryTest, TheTextsNeverChange) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a: jobs hold vectors of these very texts
  for (const absl::string_view text : CanaryTexts()) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  EXPECT_EQ(hash, 11721610616451194200u);
}

}  // namespace
}  // namespace reembed
