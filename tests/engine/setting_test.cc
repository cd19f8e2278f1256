// SPDX-License-Identifier: Apache-2.0
#include "engine/setting.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/contained.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

TEST(SettingTest, AnErrorCarriesItThroughOtherWords) {
  const absl::Status error = WithSetting(absl::FailedPreconditionError("use 3 dimensions"), Setting::kDimensions);
  EXPECT_THAT(error, HasError(absl::StatusCode::kFailedPrecondition, "use 3 dimensions"));
  EXPECT_EQ(SettingOf(error), Setting::kDimensions);
  EXPECT_EQ(SettingOf(OfTarget("t", error)), Setting::kDimensions);
  EXPECT_THAT(OfTarget("t", error), HasError(absl::StatusCode::kFailedPrecondition, "target t: use 3 dimensions"));
}

TEST(SettingTest, AReasonOfARejectIsKnownByItsWords) {
  const absl::Status stored = absl::InvalidArgumentError(absl::StrCat("the text has 9000 tokens; ", kLongTextAdvice));
  EXPECT_EQ(SettingOf(stored), Setting::kLongText);
  EXPECT_EQ(SettingOf(absl::InvalidArgumentError(absl::StrCat("x; ", kTruncateAdvice))), Setting::kTruncate);
}

TEST(SettingTest, TheFirstStays) {
  const absl::Status error = WithSetting(absl::NotFoundError("x"), Setting::kJob);
  EXPECT_EQ(SettingOf(WithSetting(error, Setting::kModel)), Setting::kJob);
}

TEST(SettingTest, OthersHaveNone) {
  EXPECT_EQ(SettingOf(absl::NotFoundError("x")), std::nullopt);
  EXPECT_THAT(WithSetting(absl::OkStatus(), Setting::kJob), IsOk());
  EXPECT_EQ(SettingOf(WithSetting(absl::OkStatus(), Setting::kJob)), std::nullopt);
  absl::Status unknown = absl::NotFoundError("x");
  unknown.SetPayload("reembed/setting", absl::Cord("1000000"));
  EXPECT_EQ(SettingOf(unknown), std::nullopt) << "of a newer library";
}

}  // namespace
}  // namespace reembed
