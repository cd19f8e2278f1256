// SPDX-License-Identifier: Apache-2.0
#include "engine/text/long_text.h"

#include <cmath>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/batch.h"
#include "engine/number/json_text.h"
#include "engine/pipeline.h"
#include "engine/setting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/byte_meter.h"
#include "tests/fakes/memory_parts.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kDim = 8;
constexpr int64_t kLimit = 20;
const ByteMeter kMeter;

TextLimit LimitOf(LongText policy) { return {.policy = policy, .max_tokens = kLimit, .meter = &kMeter}; }

std::string WithoutSpace(absl::string_view text) {
  std::string rest;
  for (const char c : text) {
    if (!absl::ascii_isspace(c)) rest.push_back(c);
  }
  return rest;
}

TEST(LongTextTest, NothingIsTooLongWhereNothingIsCertain) {
  EXPECT_FALSE(IsTooLong({.max_tokens = 1}, "two words"));
  EXPECT_FALSE(IsTooLong({.max_tokens = 0, .meter = &kMeter}, "two words"));
  EXPECT_FALSE(IsTooLong({.max_tokens = 9, .meter = &kMeter}, "two words"));
  EXPECT_TRUE(IsTooLong({.max_tokens = 8, .meter = &kMeter}, "two words"));
}

TEST(LongTextTest, PartsEndAtWhiteSpaceWhereThereIsSome) {
  EXPECT_THAT(*FitText(LimitOf(LongText::kSplit), "one two three four five six", 9),
              ElementsAre("one two three four", " five six"));
  EXPECT_THAT(*FitText(LimitOf(LongText::kSplit), "abcdefghijklmnopqrstuvwxyz", 9),
              ElementsAre("abcdefghijklmnopqrst", "uvwxyz"));
  EXPECT_THAT(*FitText(LimitOf(LongText::kTruncate), "one two three four five six", 9),
              ElementsAre("one two three four f"));
}

TEST(LongTextTest, TheReasonNamesTokensLimitAndWayOut) {
  EXPECT_THAT(FitText(LimitOf(LongText::kReject), "one two three four five six", 9),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("27 tokens"), HasSubstr("limit of 20"), HasSubstr(kLongTextAdvice))));
  EXPECT_THAT(FitText(LimitOf(LongText::kSplit), std::string(100, 'a'), 4),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("more than 4 parts")));
}

TEST(LongTextTest, PartsHoldEveryWordAndNoneIsTooLong) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const std::vector<std::string> letters = {"a", "b", " ", "\n", "\u00E9", "\u4E00", "\U0001F600", "  ", "word"};
  for (int round = 0; round < 3000; ++round) {
    std::string text = "x";
    for (uint64_t n = random() % 120; n > 0; --n) text += letters[random() % letters.size()];
    if (!IsTooLong(LimitOf(LongText::kSplit), text)) continue;
    const auto parts = FitText(LimitOf(LongText::kSplit), text, 1000);
    ASSERT_THAT(parts, IsOk());
    std::string together;
    for (const absl::string_view part : *parts) {
      ASSERT_LE(part.size(), static_cast<size_t>(kLimit));
      ASSERT_TRUE(IsValidUtf8(part));
      ASSERT_NE(WithoutSpace(part), "");
      together += WithoutSpace(part);
    }
    ASSERT_EQ(together, WithoutSpace(text));
    const auto cut = FitText(LimitOf(LongText::kTruncate), text, 1);
    ASSERT_THAT(cut, IsOk());
    ASSERT_EQ(cut->size(), 1u);
    ASSERT_TRUE(absl::StartsWith(text, cut->front()));
    ASSERT_TRUE(IsValidUtf8(cut->front()));
    ASSERT_GT(cut->front().size(), static_cast<size_t>(kLimit) - 4);
  }
}

std::vector<float> MeanOfParts(const std::string& text) {
  const auto parts = FitText(LimitOf(LongText::kSplit), text, 1000);
  std::vector<double> sum(kDim);
  for (const absl::string_view part : *parts) {
    const std::vector<float> vector = TextVector(part, kDim);
    for (int i = 0; i < kDim; ++i) sum[i] += static_cast<double>(part.size()) * vector[i];
  }
  double squares = 0;
  for (const double value : sum) squares += value * value;
  std::vector<float> mean;
  for (const double value : sum) mean.push_back(static_cast<float>(value / std::sqrt(squares)));
  return mean;
}

TEST(BatchTest, PartsBecomeOneTextAndTheOthersKeepTheirVectors) {
  Batch batch({.max_texts = 8, .max_rows = 8, .max_text_bytes = 1000}, kDim);
  const std::vector<std::string> texts = {"bb", "a", "dddd", "ccc", "ee"};
  for (int i = 0; i < 3; ++i) batch.AddRowWithText(i, int64_t{i}, i, texts[i], static_cast<int64_t>(texts[i].size()));
  batch.AddRowWithParts(3, int64_t{3}, 3, {{"part one", 8}, {" two", 4}});
  for (int i = 3; i < 5; ++i) {
    batch.AddRowWithText(i + 1, int64_t{i + 1}, i + 1, texts[i], static_cast<int64_t>(texts[i].size()));
  }
  for (size_t i = 0; i < batch.texts().size(); ++i) {
    TextVector(batch.texts()[i].text, batch.vectors().subspan(i * kDim, kDim));
  }
  batch.MergeParts();
  ASSERT_EQ(batch.texts().size(), 6u);
  for (size_t i = 0; i < batch.texts().size(); ++i) {
    EXPECT_EQ(batch.texts()[i].slot, static_cast<int64_t>(i));
    EXPECT_EQ(batch.rows()[i].text, static_cast<int>(i));
    if (i == 3) continue;
    const auto vector = batch.vectors().subspan(i * kDim, kDim);
    EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()), TextVector(batch.texts()[i].text, kDim));
  }
  EXPECT_EQ(batch.texts()[3].text, "part one two");
  EXPECT_EQ(batch.texts()[3].tokens, 12);
  const float wanted = 8 * TextVector("part one", kDim)[0] + 4 * TextVector(" two", kDim)[0];
  EXPECT_EQ(std::signbit(batch.vectors()[3 * kDim]), std::signbit(wanted));
}

TEST(BatchTest, ARefusedPartRefusesTheText) {
  Batch batch({.max_texts = 8, .max_rows = 8, .max_text_bytes = 1000}, kDim);
  batch.AddRowWithParts(0, int64_t{0}, 0, {{"one", 1}, {"two", 1}, {"three", 1}});
  batch.texts()[1].reject = absl::InvalidArgumentError("no");
  batch.MergeParts();
  ASSERT_EQ(batch.texts().size(), 1u);
  EXPECT_EQ(batch.texts()[0].reject.message(), "part 2 of 3: no");
}

// A run over texts of which some are too long, by each policy; and one that dies on the way.
class LongTextRun : public ::testing::TestWithParam<LongText> {
 protected:
  LongTextRun() : ledger_(kDim), sink_(RowOrder::kAscending) {
    std::mt19937_64 random(7);
    for (int i = 0; i < 400; ++i) {
      std::string text = absl::StrCat("row ", i);
      for (uint64_t words = random() % 9; words > 0; --words) absl::StrAppend(&text, " word", random() % 100);
      rows_.push_back({.key = int64_t{i + 1}, .text = text});
    }
    for (int i = 1; i < 400; i += 10) rows_[i].text = rows_[i - 1].text;  // rows may share long texts
    options_.batch = {.max_texts = 10, .max_rows = 20, .max_tokens = 100, .max_text_bytes = 4096};
    options_.batches_in_flight = 3;
    options_.text_limit = LimitOf(GetParam());
  }

  absl::Status Run(FakeClient* client) {
    MemorySource source(rows_);
    const TokenCounter bytes = [](absl::string_view text) { return static_cast<int64_t>(text.size()); };
    const std::vector<NamedSink> sinks = {{"sink", &sink_}};
    const absl::Status status = RunPipeline(options_,
                                            {.source = &source,
                                             .client = client,
                                             .ledger = &ledger_,
                                             .count_tokens = &bytes,
                                             .sinks = sinks,
                                             .counters = &counters_},
                                            {});
    ledger_.EndRun();
    return status;
  }

  void ExpectEveryRowAccountedFor() {
    int64_t long_rows = 0;
    const std::map<std::string, std::string> rejects = ledger_.rejects();
    for (const MemoryRow& row : rows_) {
      const std::string key = KeyText(ViewOf(row.key));
      const bool is_long = row.text->size() > kLimit;
      long_rows += is_long;
      if (is_long && GetParam() == LongText::kReject) {
        EXPECT_EQ(sink_.vectors().count(key), 0u);
        EXPECT_EQ(rejects.count(key), 1u);
        continue;
      }
      ASSERT_EQ(sink_.vectors().count(key), 1u) << key;
      const std::vector<float>& stored = sink_.vectors().at(key);
      if (is_long && GetParam() == LongText::kSplit) {
        const std::vector<float> mean = MeanOfParts(*row.text);
        for (int i = 0; i < kDim; ++i) EXPECT_NEAR(stored[i], mean[i], 1e-6);
      } else {
        EXPECT_EQ(stored, TextVector(row.text->substr(0, kLimit), kDim)) << *row.text;
      }
    }
    ASSERT_GT(long_rows, 100);
    EXPECT_EQ(sink_.vectors().size() + rejects.size(), rows_.size());
    EXPECT_EQ(counters_.rows_truncated, GetParam() == LongText::kTruncate ? long_rows : 0);
    EXPECT_EQ(counters_.rows_split, GetParam() == LongText::kSplit ? long_rows : 0);
    EXPECT_EQ(counters_.rows_rejected, GetParam() == LongText::kReject ? long_rows : 0);
  }

  std::vector<MemoryRow> rows_;
  PipelineOptions options_;
  MemoryLedger ledger_;
  MemorySink sink_;
  RunCounters counters_;
};

TEST_P(LongTextRun, EveryRowHasItsVectorOrItsReason) {
  FakeClient client(kDim, 1);
  ASSERT_THAT(Run(&client), IsOk());
  ExpectEveryRowAccountedFor();
  for (const auto& [text, times] : client.bought()) {
    EXPECT_LE(text.size(), static_cast<size_t>(kLimit)) << "a text above the limit was sent";
  }
}

TEST_P(LongTextRun, ARunThatFailedGoesOnWithTheSameTexts) {
  FakeClient first(kDim, 1);
  first.FailRequest(4, FakeClient::Fault::kUnavailable);
  EXPECT_THAT(Run(&first), HasError(absl::StatusCode::kUnavailable, HasSubstr("")));
  FakeClient second(kDim, 2);
  ASSERT_THAT(Run(&second), IsOk());
  ExpectEveryRowAccountedFor();
}

TEST_P(LongTextRun, ABadReplyIsAskedForAgainPartByPart) {
  FakeClient client(kDim, 1);
  for (const int64_t number : {0, 7}) client.FailRequest(number, FakeClient::Fault::kBadReply);
  ASSERT_THAT(Run(&client), IsOk());
  ExpectEveryRowAccountedFor();
}

INSTANTIATE_TEST_SUITE_P(Policies, LongTextRun,
                         ::testing::Values(LongText::kReject, LongText::kTruncate, LongText::kSplit));

}  // namespace
}  // namespace reembed
