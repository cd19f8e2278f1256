// SPDX-License-Identifier: Apache-2.0
#include "io/job/canary_file.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 3;

std::vector<float> Numbers() {
  std::vector<float> numbers(CanaryTexts().size() * kDim);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 0.1f * static_cast<float>(i);
  return numbers;
}

TEST(CanaryFileTest, KeepsVectorsAndReplacesThem) {
  const TempFolder folder;
  ASSERT_THAT(ReadCanary(folder.path(), kDim), IsOk());
  EXPECT_THAT(*ReadCanary(folder.path(), kDim), IsEmpty());
  ASSERT_THAT(WriteCanary(folder.path(), std::vector<float>(CanaryTexts().size() * kDim, 1)), IsOk());
  ASSERT_THAT(WriteCanary(folder.path(), Numbers()), IsOk());
  ASSERT_THAT(ReadCanary(folder.path(), kDim), IsOk());
  EXPECT_EQ(*ReadCanary(folder.path(), kDim), Numbers());
  EXPECT_FALSE(std::filesystem::exists(folder / "canary.f32.partial"));
}

TEST(CanaryFileTest, AnotherWidthOrADamagedFileIsAnError) {
  const TempFolder folder;
  ASSERT_THAT(WriteCanary(folder.path(), Numbers()), IsOk());
  EXPECT_THAT(ReadCanary(folder.path(), kDim + 1),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("canary.f32: expected 96 bytes")));
  EXPECT_THAT(ReadCanary(folder.path(), kDim - 1),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("got more")));
  std::filesystem::resize_file(folder / "canary.f32", 10);
  EXPECT_THAT(ReadCanary(folder.path(), kDim), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("got 10")));
}

TEST(CanaryFileTest, VectorsOfOtherTextsAreNotUsed) {
  const TempFolder folder;
  ASSERT_THAT(WriteCanary(folder.path(), Numbers()), IsOk());
  std::fstream file(folder / "canary.f32", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('?');
  file.close();
  ASSERT_THAT(ReadCanary(folder.path(), kDim), IsOk());
  EXPECT_THAT(*ReadCanary(folder.path(), kDim), IsEmpty());
}

}  // namespace
}  // namespace reembed
