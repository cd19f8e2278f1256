// SPDX-License-Identifier: Apache-2.0
#include "tools/presets.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<SystemPreset> Parse(const std::string& number) {
  return ParseSystemPreset(
      absl::StrCat("name = \"p\"\n[model]\ndimensions = ", number,
                   "\n[[stream]]\nname = \"s\"\ntable = \"t\"\nkey = \"id\"\n", "text = \"x\"\nvector = \"v\"\n"),
      "p.toml");
}

TEST(PresetsTest, ANumberThatIsNoCountIsRefusedWithItsLine) {
  for (const char* const number : {"-4", "4294967300", "2147483648"}) {
    EXPECT_THAT(Parse(number), HasError(absl::StatusCode::kInvalidArgument,
                                        AllOf(HasSubstr("p.toml: line 3: `dimensions`"), HasSubstr(number))));
  }
  const absl::StatusOr<SystemPreset> good = Parse("2147483647");
  ASSERT_THAT(good, IsOk());
  EXPECT_EQ(good->dim, 2147483647);
}

}  // namespace
}  // namespace reembed
