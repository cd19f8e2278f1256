// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_source.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/key_shares.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kPoints = 2500;

std::string Hex(int n) { return absl::StrCat("00000000-0000-4000-8000-", absl::Hex(n, absl::kZeroPad12)); }

// Integers, then UUIDs; every seventh point has no text, every fourth no vector `v`.
class QdrantSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Do("PUT", "/collections/notes", R"({"vectors":{"v":{"size":2,"distance":"Dot"}}})");
    std::string body = R"({"points":[)";
    for (int i = 0; i < kPoints; ++i) {
      const std::string id = i < kPoints / 2 ? absl::StrCat(i) : absl::StrCat("\"", Hex(i), "\"");
      absl::StrAppend(&body, i == 0 ? "" : ",", R"({"id":)", id, R"(,"vector":{)", i % 4 == 0 ? "" : R"("v":[1,2])",
                      R"(},"payload":{"kind":)", i % 2, R"(,"meta":{"body":)",
                      i % 7 == 0 ? "null" : absl::StrCat("\"text \\u00e9 \\\"", i, "\\\"\""), "}}}");
    }
    server_.Do("PUT", "/collections/notes/points?wait=true", body + "]}");
  }

  Location At(const std::string& rest) const {
    return *ParseLocation(absl::StrCat("qdrant:", server_.url(), "/", rest));
  }

  static std::string KeyOf(int i) { return i < kPoints / 2 ? absl::StrCat(i) : Hex(i); }

  QdrantServer server_;
};

TEST_F(QdrantSourceTest, GivesAllPointsInTheOrderOfTheirIds) {
  auto source = OpenQdrantSource(At("notes?text=meta.body"), {}, {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(*(*source)->CountRows(), kPoints);
  for (int i = 0; i < kPoints; ++i) {
    const auto row = (*source)->Next();
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
    EXPECT_EQ(KeyText((*row)->key), KeyOf(i));
    if (i % 7 == 0) {
      EXPECT_FALSE((*row)->text.has_value());
    } else {
      EXPECT_EQ((*row)->text, absl::StrCat("text \u00e9 \"", i, "\""));
    }
  }
  EXPECT_FALSE((*source)->Next()->has_value());
  ASSERT_THAT((*source)->SeekAfter(int64_t{1248}), IsOk());
  EXPECT_EQ(KeyText((**(*source)->Next()).key), "1249");
  EXPECT_EQ(KeyText((**(*source)->Next()).key), Hex(1250));
  server_.Do("POST", "/collections/notes/points/delete?wait=true", R"({"points":[100]})");
  ASSERT_THAT((*source)->SeekAfter(int64_t{100}), IsOk());
  EXPECT_EQ(KeyText((**(*source)->Next()).key), "101");
  EXPECT_FALSE((*source)->Find(int64_t{100})->has_value());
  EXPECT_EQ(*(**(*source)->Find(Hex(2000))).text, "text \u00e9 \"2000\"");
}

TEST_F(QdrantSourceTest, AFieldThatIsNoStringSaysWhatItIs) {
  server_.Do("PUT", "/collections/notes/points?wait=true",
             R"({"points":[{"id":1,"vector":{},"payload":{"meta":{"body":7}}},)"
             R"({"id":2,"vector":{},"payload":{"meta":{"body":["x"]}}},{"id":3,"vector":{},"payload":{}}]})");
  auto source = OpenQdrantSource(At("notes?text=meta.body"), {}, {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((**(*source)->Find(int64_t{0})).problem, "") << "null";
  EXPECT_EQ((**(*source)->Find(int64_t{1})).problem, "expected `meta.body` to be a string, got a number");
  EXPECT_EQ((**(*source)->Find(int64_t{2})).problem, "expected `meta.body` to be a string, got a list");
  EXPECT_EQ((**(*source)->Find(int64_t{3})).problem, "");
  EXPECT_EQ((**(*source)->Find(int64_t{4})).problem, "");
}

TEST_F(QdrantSourceTest, SelectsByFilterAndByMissingVector) {
  auto source =
      OpenQdrantSource(At(R"(notes?text=meta.body&vector=v&filter={"must":[{"key":"kind","match":{"value":0}}]})"),
                       {.rows = Selection::Rows::kWithoutVector, .dim = 2}, {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(*(*source)->CountRows(), kPoints / 4);
  const auto survey = SurveyQdrant(At("notes?text=meta.body&vector=v"),
                                   {.dim = 2, .where = R"({"must":[{"key":"kind","match":{"value":0}}]})"}, {});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_selected, kPoints / 2);
  EXPECT_EQ(survey->rows_with_vector, kPoints / 4);
  EXPECT_EQ(survey->rows_null, kPoints / 4);
}

TEST_F(QdrantSourceTest, SharesThatMeetAreTheWhole) {
  const Location at = At("notes?text=meta.body&vector=v");
  for (const Selection::Rows rows : {Selection::Rows::kAll, Selection::Rows::kWithoutVector}) {
    const auto selection = [&](const KeyRange& range) {
      return Selection{
          .rows = rows, .dim = 2, .where = R"({"must":[{"key":"kind","match":{"value":0}}]})", .range = range};
    };
    ExpectSharesAreTheWhole(
        {int64_t{7}, int64_t{400}, Hex(kPoints / 2 + 9)},
        [&](const KeyRange& range) { return OpenQdrantSource(at, selection(range), {}); },
        [&](const KeyRange& range) { return SurveyQdrant(at, selection(range), {}); });
  }
  EXPECT_THAT(OpenQdrantSource(at, {.range = {.before = std::string("x")}}, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("x is no id of a point")));
}

TEST_F(QdrantSourceTest, NamesWhatIsWrong) {
  EXPECT_THAT(OpenQdrantSource(At("notes?text=meta.body"), {.resume_from = "1"}, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no order of yours")));
  EXPECT_THAT(OpenQdrantSource(At("note?text=meta.body"), {}, {}),
              HasError(absl::StatusCode::kNotFound, HasSubstr("`notes`")));
  EXPECT_THAT(OpenQdrantSource(At("notes?text=kid"), {}, {}),
              HasError(absl::StatusCode::kNotFound, HasSubstr("text=kind")));
  EXPECT_THAT(
      OpenQdrantSource(At(R"(notes?text=kind&filter={"must":[{"is_emty":{"key":"a"}}]})"), {}, {}),
      HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("is_emty"), HasSubstr("Qdrant's own JSON"))));
}

TEST_F(QdrantSourceTest, SurvivesARestartOfTheServer) {
  auto source = OpenQdrantSource(At("notes?text=meta.body"), {}, {});
  ASSERT_THAT(source, IsOk());
  for (int i = 0; i < kPoints; ++i) {
    if (i % 1000 == 500) {
      server_.Stop();
      server_.Start();
    }
    const auto row = (*source)->Next();
    ASSERT_THAT(row, IsOk());
    ASSERT_EQ(KeyText((*row)->key), KeyOf(i));
  }
}

}  // namespace
}  // namespace reembed
