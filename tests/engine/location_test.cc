// SPDX-License-Identifier: Apache-2.0
#include "engine/location.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LocationTest, ATokenIsASecretAndIsNotPrinted) {
  const auto location = ParseLocation("libsql:http://host?authToken=s3cret&table=notes");
  ASSERT_THAT(location, IsOk());
  EXPECT_EQ(location->secret, "s3cret");
  EXPECT_THAT(location->ToString(), Not(HasSubstr("s3cret")));
}

// The second would have been a parameter like any other: in messages, and in the job's files.
TEST(LocationTest, TwoTokensAreRefusedAndNeitherIsShown) {
  for (const char* const uri : {"libsql:http://host?authToken=f1rst&authToken=s3cond",
                                "libsql:http://host?authToken=&table=notes&authToken=s3cond"}) {
    const absl::Status refused = ParseLocation(uri).status();
    EXPECT_THAT(refused, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("authToken= is given twice")));
    EXPECT_THAT(refused.message(), Not(HasSubstr("f1rst")));
    EXPECT_THAT(refused.message(), Not(HasSubstr("s3cond")));
  }
}

TEST(LocationTest, NoTokenOfAnAddressThatIsRefusedIsShown) {
  const absl::Status refused = ParseLocation("libsql:?authToken=f1rst&authToken=s3cond").status();
  EXPECT_THAT(refused.message(), HasSubstr("authToken=***&authToken=***"));
}

}  // namespace
}  // namespace reembed
