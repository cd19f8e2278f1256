// SPDX-License-Identifier: Apache-2.0
#include "engine/text/long_text_client.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/pipeline.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_parts.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 8;
constexpr size_t kLimitBytes = 200;
constexpr int kRows = 300;

struct Way {
  LongText policy;
  bool names_figures;
  int64_t max_tokens;  // known beforehand; a token is a byte for the provider, and four for our estimate
};

// A pipeline over texts of which some are too long for the provider, which alone knows.
class LongTextClientRun : public ::testing::TestWithParam<Way> {
 protected:
  LongTextClientRun() : ledger_(kDim), sink_(RowOrder::kAscending) {
    for (int i = 0; i < kRows; ++i) {
      const int words = i % 7 == 3 ? 40 + i : i % 15;
      std::string text = absl::StrCat("row", i, ".");
      for (int w = 0; w < words; ++w) absl::StrAppend(&text, w % 11 == 10 ? "\n " : " ", "row", i, ".", w);
      rows_.push_back({.key = int64_t{i + 1}, .text = text});
    }
    // Rows that share a long text, of the same batch and of another.
    rows_[11].text = rows_[10].text;
    rows_[111].text = rows_[10].text;
    for (const MemoryRow& row : rows_) long_rows_ += row.text->size() > kLimitBytes;
    options_.batch = {.max_texts = 10, .max_rows = 20, .max_tokens = 1000, .max_text_bytes = 16384};
    options_.batches_in_flight = 3;
  }

  absl::Status Run(FakeClient* client) {
    client->RefuseAbove(kLimitBytes, GetParam().names_figures);
    LongTextClient cutting(client, {.policy = GetParam().policy, .max_tokens = GetParam().max_tokens});
    MemorySource source(rows_);
    const TokenCounter estimate = [](absl::string_view text) { return static_cast<int64_t>(text.size() + 3) / 4; };
    const std::vector<NamedSink> sinks = {{"sink", &sink_}};
    const absl::Status status = RunPipeline(options_,
                                            {.source = &source,
                                             .client = &cutting,
                                             .ledger = &ledger_,
                                             .count_tokens = &estimate,
                                             .sinks = sinks,
                                             .counters = &counters_},
                                            {});
    ledger_.EndRun();
    return status;
  }

  // The pieces of a text that were taken, in their order.
  static std::vector<std::string> PiecesOf(const std::string& text, const FakeClient& client) {
    std::vector<std::pair<size_t, std::string>> found;
    for (const auto& [piece, times] : client.bought()) {
      if (const size_t at = text.find(piece); at != std::string::npos) found.emplace_back(at, piece);
    }
    std::sort(found.begin(), found.end());
    std::vector<std::string> pieces;
    for (auto& [at, piece] : found) pieces.push_back(std::move(piece));
    return pieces;
  }

  static std::string WithoutSpace(std::string text) {
    std::erase_if(text, [](char c) { return absl::ascii_isspace(c); });
    return text;
  }

  static std::vector<float> Mean(const std::vector<std::string>& pieces) {
    std::vector<double> sum(kDim);
    for (const std::string& piece : pieces) {
      const std::vector<float> vector = TextVector(piece, kDim);
      for (int i = 0; i < kDim; ++i) sum[i] += static_cast<double>(piece.size()) * vector[i];
    }
    double squares = 0;
    for (const double value : sum) squares += value * value;
    std::vector<float> mean;
    for (const double value : sum) mean.push_back(static_cast<float>(value / std::sqrt(squares)));
    return mean;
  }

  std::vector<MemoryRow> rows_;
  int64_t long_rows_ = 0;
  PipelineOptions options_;
  MemoryLedger ledger_;
  MemorySink sink_;
  RunCounters counters_;
};

TEST_P(LongTextClientRun, EveryRowHasTheVectorOfWhatWasTakenOfItsText) {
  FakeClient client(kDim, 1);
  ASSERT_THAT(Run(&client), IsOk());
  EXPECT_EQ(sink_.vectors().size(), rows_.size());
  const bool splits = GetParam().policy == LongText::kSplit;
  for (const MemoryRow& row : rows_) {
    const std::vector<float>& stored = sink_.vectors().at(KeyText(ViewOf(row.key)));
    if (row.text->size() <= kLimitBytes) {
      EXPECT_EQ(stored, TextVector(*row.text, kDim)) << *row.text;
      continue;
    }
    const std::vector<std::string> pieces = PiecesOf(*row.text, client);
    ASSERT_GE(pieces.size(), splits ? 2u : 1u) << *row.text;
    EXPECT_EQ(row.text->find(pieces.front()), 0u);
    if (splits) {
      std::string together;
      for (const std::string& piece : pieces) together += piece;
      EXPECT_EQ(WithoutSpace(together), WithoutSpace(*row.text));
      const std::vector<float> mean = Mean(pieces);
      for (int i = 0; i < kDim; ++i) EXPECT_NEAR(stored[i], mean[i], 1e-6) << *row.text;
    } else {
      ASSERT_EQ(pieces.size(), 1u);
      EXPECT_EQ(stored, TextVector(pieces.front(), kDim));
      EXPECT_GE(pieces.front().size(), kLimitBytes * (GetParam().names_figures ? 8 : 3) / 10)
          << "more was cut off than need be";
    }
  }
  EXPECT_EQ(counters_.rows_truncated, splits ? 0 : long_rows_);
  EXPECT_EQ(counters_.rows_split, splits ? long_rows_ : 0);
  EXPECT_EQ(counters_.rows_rejected, 0);
}

TEST_P(LongTextClientRun, ARunThatFailedGoesOn) {
  FakeClient first(kDim, 1);
  first.FailRequest(7, FakeClient::Fault::kUnavailable);
  EXPECT_THAT(Run(&first), HasError(absl::StatusCode::kUnavailable, HasSubstr("try later")));
  FakeClient second(kDim, 2);
  ASSERT_THAT(Run(&second), IsOk());
  EXPECT_EQ(sink_.vectors().size(), rows_.size());
  // Of a row that shares its text with one of the first run nobody knows any more.
  EXPECT_LE(counters_.rows_truncated + counters_.rows_split, long_rows_);
  EXPECT_GE(counters_.rows_truncated + counters_.rows_split, long_rows_ - 2);
}

TEST_P(LongTextClientRun, BadRepliesToABatchOrAPieceAreAskedForAgain) {
  FakeClient client(kDim, 1);
  for (int64_t number = 0; number < 60; number += 3) client.FailRequest(number, FakeClient::Fault::kBadReply);
  options_.max_bad_replies = 30;
  ASSERT_THAT(Run(&client), IsOk());
  EXPECT_EQ(sink_.vectors().size(), rows_.size());
  EXPECT_EQ(counters_.rows_truncated + counters_.rows_split, long_rows_);
}

TEST_P(LongTextClientRun, TheLimitIsLearnedSoThatFewTriesAreNeeded) {
  FakeClient client(kDim, 1);
  ASSERT_THAT(Run(&client), IsOk());
  const int64_t batches = static_cast<int64_t>(rows_.size()) / 10;
  // A long text alone and a piece or two of it; what is certain from the figures has no first try.
  EXPECT_LE(client.stats().requests, batches + 4 * long_rows_);
}

INSTANTIATE_TEST_SUITE_P(Ways, LongTextClientRun,
                         ::testing::Values(Way{LongText::kTruncate, true, 0}, Way{LongText::kTruncate, false, 0},
                                           Way{LongText::kTruncate, false, 50}, Way{LongText::kTruncate, false, 500},
                                           Way{LongText::kTruncate, true, 200}, Way{LongText::kSplit, true, 0},
                                           Way{LongText::kSplit, false, 0}, Way{LongText::kSplit, true, 50},
                                           Way{LongText::kSplit, false, 50}));

class LongTextClientTest : public ::testing::Test {
 protected:
  absl::Status SendAndDecode(EmbeddingClient* client, Batch* batch) {
    std::promise<absl::Status> promise;
    client->Send(batch, Done([&promise](absl::Status status) { promise.set_value(std::move(status)); }));
    if (absl::Status sent = promise.get_future().get(); !sent.ok()) return sent;
    return client->Decode(batch);
  }
};

TEST_F(LongTextClientTest, WhatStaysRefusedIsRejectedInTheProvidersWords) {
  FakeClient provider(kDim, 1);
  provider.RefuseAbove(3, false);
  LongTextClient client(&provider, {});
  Batch batch({}, kDim);
  batch.AddRowWithText(0, int64_t{0}, 0, "abc", 1);
  batch.AddRowWithText(1, int64_t{1}, 1, std::string(400, 'x'), 100);
  ASSERT_THAT(SendAndDecode(&client, &batch), IsOk());
  EXPECT_THAT(batch.texts()[0].reject, IsOk());
  EXPECT_THAT(std::string(batch.texts()[1].reject.message()),
              AllOf(HasSubstr("exceeds the context length"), HasSubstr("so it was still when cut to")));
}

TEST_F(LongTextClientTest, TooManyPartsAreRefused) {
  FakeClient provider(kDim, 1);
  provider.RefuseAbove(50, true);
  LongTextClient client(&provider, {.policy = LongText::kSplit});
  Batch batch({}, kDim);
  batch.AddRowWithText(0, int64_t{0}, 0, std::string(50 * 300, 'x'), 5000);
  ASSERT_THAT(SendAndDecode(&client, &batch), IsOk());
  EXPECT_THAT(std::string(batch.texts()[0].reject.message()), HasSubstr("more than 256 parts"));
  EXPECT_EQ(provider.stats().requests, 1);
}

// What certainly is too long never goes whole, and takes no short text's request with it.
TEST_F(LongTextClientTest, ACertainlyLongTextIsCutBeforeItIsSent) {
  FakeClient provider(kDim, 1);
  LongTextClient client(&provider, {.max_tokens = 100});
  Batch batch({}, kDim);
  std::string words = "w";
  for (int i = 0; i < 200; ++i) words += " w";
  batch.AddRowWithText(0, int64_t{0}, 0, "short", 1);
  batch.AddRowWithText(1, int64_t{1}, 1, words, 201);
  ASSERT_THAT(SendAndDecode(&client, &batch), IsOk());
  EXPECT_EQ(batch.texts()[1].embedded, Embedded::kTruncated);
  EXPECT_EQ(provider.bought().count(words), 0u);
  EXPECT_EQ(provider.stats().requests, 2);
}

// A text that only seems too long is embedded whole if the provider takes it.
TEST_F(LongTextClientTest, ADoubtfulTextThatIsTakenStaysWhole) {
  FakeClient provider(kDim, 1);
  LongTextClient client(&provider, {.max_tokens = 100});
  Batch batch({}, kDim);
  const std::string text(600, 'x');
  batch.AddRowWithText(0, int64_t{0}, 0, text, 150);
  ASSERT_THAT(SendAndDecode(&client, &batch), IsOk());
  EXPECT_EQ(batch.texts()[0].embedded, Embedded::kWhole);
  EXPECT_EQ(std::vector<float>(batch.vectors().begin(), batch.vectors().end()), TextVector(text, kDim));
}

}  // namespace
}  // namespace reembed
