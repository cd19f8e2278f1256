// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_id.h"

#include <string>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr char kUuid[] = "936da01f-9abd-4d9d-80c7-02af85c822a8";

TEST(QdrantIdTest, TakesIntegersAndUuidsInAllForms) {
  EXPECT_EQ(ParseQdrantId(int64_t{42})->Json(), "42");
  EXPECT_EQ(ParseQdrantId(absl::string_view("18446744073709551615"))->Json(), "18446744073709551615");
  for (const absl::string_view form :
       {kUuid, "936DA01F9ABD4D9D80C702AF85C822A8", "{936da01f-9abd-4d9d-80c7-02af85c822a8}",
        "urn:uuid:936da01f-9abd-4d9d-80c7-02af85c822a8"}) {
    ASSERT_TRUE(ParseQdrantId(form).has_value()) << form;
    EXPECT_EQ(ParseQdrantId(form)->Json(), "\"" + std::string(kUuid) + "\"");
  }
  for (const absl::string_view bad :
       {"", "abc", "-1", "007", "18446744073709551616", "936da01f-9abd-4d9d-80c7-02af85c822a",
        "936da01f9-abd-4d9d-80c7-02af85c822a8", "g36da01f-9abd-4d9d-80c7-02af85c822a8"}) {
    EXPECT_FALSE(ParseQdrantId(bad).has_value()) << bad;
  }
  EXPECT_FALSE(ParseQdrantId(int64_t{-1}).has_value());
}

TEST(QdrantIdTest, KeysComeBackAsTheyWere) {
  EXPECT_EQ(ParseQdrantId(int64_t{7})->AsKey(), Key(int64_t{7}));
  EXPECT_EQ(ParseQdrantId(absl::string_view(kUuid))->AsKey(), Key(std::string(kUuid)));
  EXPECT_EQ(ParseQdrantId(absl::string_view("18446744073709551615"))->AsKey(),
            Key(std::string("18446744073709551615")));
}

TEST(QdrantIdTest, IntegersComeBeforeUuids) {
  EXPECT_LT(QdrantId{.number = 9}, QdrantId{.number = 10});
  EXPECT_LT(QdrantId{.number = UINT64_MAX}, *ParseQdrantId(absl::string_view("00000000-0000-0000-0000-000000000000")));
}

// Checked with Python: uuid.uuid5(uuid.UUID("6f1f4a0e-5d2b-5c7e-9a53-0d5f3c1b7e42"), name).
TEST(QdrantIdTest, HashedIdsAreVersion5) {
  EXPECT_EQ(HashedQdrantId(absl::string_view("note/1")).Json(), "\"e3705d3c-cc6e-5b99-9470-72c89416c57f\"");
  EXPECT_EQ(HashedQdrantId(absl::string_view("")).Json(), "\"956d3294-ce06-5a14-bda0-d1d75680fd3b\"");
  EXPECT_EQ(HashedQdrantId(int64_t{12}).Json(), "\"0c8db78e-bde4-54c6-97ac-91c5a247c0c2\"");
  EXPECT_EQ(HashedQdrantId(absl::string_view(std::string(200, 'x'))).Json(),
            "\"ad26afc6-036f-5ca7-a5c6-31f95f3ba7b1\"");
}

}  // namespace
}  // namespace reembed
