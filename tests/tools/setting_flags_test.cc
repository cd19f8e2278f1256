// SPDX-License-Identifier: Apache-2.0
#include "tools/setting_flags.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

TEST(SettingFlagsTest, EverySettingHasFlagsThatTheCommandKnows) {
  const TempFolder folder;
  const ProcessResult known = RunClean(REEMBED_BINARY, folder.path(), {"completion", "bash"});
  ASSERT_EQ(known.exit_code, 0) << known.err;
  for (int i = 0; i < kSettings; ++i) {
    const std::string flags = FlagsOf(static_cast<Setting>(i));
    int found = 0;
    for (const absl::string_view word : absl::StrSplit(flags, absl::ByAnyChar(" ;`"), absl::SkipEmpty())) {
      if (!absl::StartsWith(word, "--")) continue;
      EXPECT_THAT(known.out, HasSubstr(std::string(word)));
      ++found;
    }
    EXPECT_GT(found, 0) << "setting " << i;
  }
}

TEST(SettingFlagsTest, TheFlagStandsBehindTheWords) {
  const absl::Status error = absl::NotFoundError("x: name another");
  EXPECT_EQ(MessageWithFlag(error), "x: name another");
  EXPECT_EQ(MessageWithFlag(WithSetting(error, Setting::kJob)), "x: name another (--job)");
}

}  // namespace
}  // namespace reembed
