// SPDX-License-Identifier: Apache-2.0
#include "engine/row_reader.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/pace/learned_caps.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_parts.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr size_t kNoLimit = size_t{1} << 20;

TEST(CheckTextTest, WhiteSpaceAloneIsNoText) {
  for (const char* const text : {" ", "\n", " \t\r\n\v\f ", "\xc2\xa0", "\xe3\x80\x80", " \xe2\x80\x83\n\xe2\x80\xa8",
                                 "\xc2\x85\xe1\x9a\x80\xe2\x80\x80\xe2\x80\x8a\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\x9f"}) {
    EXPECT_THAT(CheckText(text, kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("white space")))
        << text;
  }
  // Not white space by Unicode: the joiner, the mark of byte order, the blank of Braille, controls.
  for (const char* const text : {"x", " x ", "\xe3\x80\x80.", "\xe2\x80\x8b", "\xef\xbb\xbf", "\xe2\xa0\x80", "\x01",
                                 "\xe2\x80\x8d", "\xc2\xa1"}) {
    EXPECT_THAT(CheckText(text, kNoLimit), IsOk()) << text;
  }
}

TEST(CheckTextTest, EveryReasonIsSaid) {
  EXPECT_THAT(CheckText(std::nullopt, kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("NULL")));
  EXPECT_THAT(CheckText("", kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(CheckText("\xff", kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
  EXPECT_THAT(CheckText(" \xe2\x80", kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
  EXPECT_THAT(CheckText("long", 3), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("limit of 3")));
}

TEST(CheckRowTest, TheSourcesOwnWordsGoFirst) {
  EXPECT_THAT(CheckRow({.key = int64_t{1}, .problem = "line 7 is broken"}, kNoLimit),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("line 7 is broken")));
  EXPECT_THAT(CheckRow({.key = int64_t{1}}, kNoLimit), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("NULL")));
  EXPECT_THAT(CheckRow({.key = int64_t{1}, .text = "x"}, kNoLimit), IsOk());
}

TEST(RowReaderTest, ABatchIsARequestThatTheApiTakes) {
  std::vector<MemoryRow> rows;
  for (int i = 0; i < 100; ++i) rows.push_back({.key = int64_t{i}, .text = absl::StrCat("text ", i)});
  MemorySource source(rows);
  MemoryLedger ledger(4);
  const TokenCounter count = [](absl::string_view) { return int64_t{10}; };
  const BatchLimits limits{.max_texts = 32, .max_rows = 64};
  const auto learned = std::make_shared<LearnedCaps>();
  RowReader reader(&source, &ledger, &count, limits, {.learned = {learned}});
  Batch batch(limits, 4);
  const auto fill = [&] {
    batch.Clear();
    EXPECT_THAT(reader.Fill(&batch), IsOk());
    return static_cast<int>(batch.texts().size());
  };
  EXPECT_EQ(fill(), 32);
  // As its client does.
  learned->Refused(batch.texts(), {.measure = Measure::kTexts, .limit = 12});
  EXPECT_EQ(fill(), 12);
  learned->Refused(batch.texts(), {.measure = Measure::kTokens, .limit = 75, .requested = 120});
  EXPECT_EQ(fill(), 7);
  EXPECT_EQ(fill(), 7);
  learned->Refused(batch.texts(), {.measure = Measure::kBytes});
  EXPECT_EQ(fill(), 4) << "half of the bytes of seven";
}

}  // namespace
}  // namespace reembed
