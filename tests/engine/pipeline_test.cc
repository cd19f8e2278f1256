// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/publish_targets.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_parts.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Pair;
using Fault = FakeClient::Fault;

constexpr int kDim = 8;

std::vector<MemoryRow> Rows(int count) {
  std::vector<MemoryRow> rows;
  for (int i = 0; i < count; ++i) rows.push_back({.key = int64_t{i + 1}, .text = absl::StrCat("text number ", i)});
  return rows;
}

// A run over memory parts; `Run()` again is a restart of the process.
class PipelineTest : public ::testing::Test {
 protected:
  PipelineTest() : ledger_(kDim), any_(RowOrder::kAny), ascending_(RowOrder::kAscending) {
    options_.batch = {.max_texts = 10, .max_rows = 20, .max_text_bytes = 4096};
    options_.batches_in_flight = 5;
    client_ = std::make_unique<FakeClient>(kDim, 1);
  }

  absl::Status Run(std::stop_token stop = {}) {
    const TokenCounter one_each = [](absl::string_view) { return 1; };
    const std::vector<NamedSink> sinks = {{"any", &any_}, {"ascending", &ascending_}};
    counters_ = std::make_unique<RunCounters>();
    const absl::Status status = RunPipeline(options_,
                                            {.source = source_.get(),
                                             .client = client_.get(),
                                             .ledger = &ledger_,
                                             .count_tokens = &one_each,
                                             .sinks = sinks,
                                             .counters = counters_.get()},
                                            stop);
    ledger_.EndRun();
    client_count_ += client_->texts_sent();
    for (const auto& [text, times] : client_->bought()) bought_[text] += times;
    return status;
  }

  void Restart(uint64_t seed = 2) {
    client_ = std::make_unique<FakeClient>(kDim, seed);
    source_->Rewind();
  }

  // Every row of the source has its own vector in this sink, but for `missing` of them.
  void ExpectComplete(const MemorySink& sink, size_t missing = 0) {
    EXPECT_EQ(sink.vectors().size() + missing, source_->rows().size());
    for (const MemoryRow& row : source_->rows()) {
      const auto found = sink.vectors().find(KeyText(ViewOf(row.key)));
      if (found == sink.vectors().end()) continue;
      ASSERT_TRUE(row.text.has_value());
      EXPECT_EQ(found->second, TextVector(*row.text, kDim)) << "row " << found->first << " has a foreign vector";
    }
  }

  void ExpectNothingBoughtTwice() {
    for (const auto& [text, times] : bought_) EXPECT_EQ(times, 1) << text;
  }

  PipelineOptions options_;
  std::unique_ptr<MemorySource> source_ = std::make_unique<MemorySource>(Rows(1000));
  std::unique_ptr<FakeClient> client_;
  MemoryLedger ledger_;
  MemorySink any_;
  MemorySink ascending_;
  std::unique_ptr<RunCounters> counters_;
  std::map<std::string, int> bought_;
  int64_t client_count_ = 0;
};

TEST_F(PipelineTest, GivesEveryRowItsOwnVectorInEverySink) {
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_);
  ExpectComplete(ascending_);
  EXPECT_TRUE(any_.finished());
  EXPECT_TRUE(ascending_.finished());
  EXPECT_EQ(counters_->rows_embedded, 1000);
  ExpectNothingBoughtTwice();
}

TEST_F(PipelineTest, NeverHasMoreRequestsInFlightThanBatches) {
  ASSERT_THAT(Run(), IsOk());
  EXPECT_THAT(client_->max_in_flight(), Le(5));
}

TEST_F(PipelineTest, OneBatchIsEnough) {
  options_.batches_in_flight = 1;
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, WorksWithoutSinks) {
  const TokenCounter one_each = [](absl::string_view) { return 1; };
  RunCounters counters;
  ASSERT_THAT(RunPipeline(options_,
                          {.source = source_.get(),
                           .client = client_.get(),
                           .ledger = &ledger_,
                           .count_tokens = &one_each,
                           .counters = &counters},
                          {}),
              IsOk());
  EXPECT_EQ(ledger_.kept_rows(), 1000);
}

TEST_F(PipelineTest, ASecondRunBuysNothing) {
  ASSERT_THAT(Run(), IsOk());
  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->stats().requests, 0);
  EXPECT_EQ(counters_->rows_read, 0);
}

TEST_F(PipelineTest, NewRowsAreAddedByTheNextRun) {
  ASSERT_THAT(Run(), IsOk());
  source_->rows().push_back({.key = int64_t{5000}, .text = "a late row"});
  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->texts_sent(), 1);
  ExpectComplete(any_);
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, RowsThatShareATextShareOneVector) {
  for (size_t i = 0; i < source_->rows().size(); ++i) {
    source_->rows()[i].text = absl::StrCat("text number ", (i * 7919) % 50);
  }
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->texts_sent(), 50);
  ExpectComplete(any_);
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, RowsWithoutUsableTextAreRejectedAndTheRestGoesOn) {
  source_->rows()[3].text = std::nullopt;
  source_->rows()[500].text = "";
  source_->rows()[501].text = "\xff\xfe";
  source_->rows()[999].text = std::string(5000, 'x');
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_, 4);
  ExpectComplete(ascending_, 4);
  EXPECT_EQ(counters_->rows_rejected, 4);
  const auto rejects = ledger_.rejects();
  EXPECT_THAT(rejects.at("4"), HasSubstr("NULL"));
  EXPECT_THAT(rejects.at("501"), HasSubstr("empty"));
  EXPECT_THAT(rejects.at("502"), HasSubstr("UTF-8"));
  EXPECT_THAT(rejects.at("1000"), HasSubstr("5000 bytes"));
}

TEST_F(PipelineTest, ATextThatTheProviderRefusesRejectsItsRowsOnly) {
  options_.batches_in_flight = 1;  // so that request 0 holds row 1
  client_->FailRequest(0, Fault::kTextRefused);
  source_->rows()[700].text = source_->rows()[0].text;
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_, 2);
  EXPECT_THAT(ledger_.rejects(),
              ElementsAre(Pair("1", "refused by the provider"), Pair("701", "refused by the provider")));
}

TEST_F(PipelineTest, AReplyThatCannotBeUsedIsAskedForAgain) {
  client_->FailRequest(7, Fault::kBadReply);
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, RepliesThatAreNeverUsableEndTheRunUnstored) {
  client_->FailRequest(7, Fault::kBadReplies);
  options_.max_bad_replies = 3;
  EXPECT_THAT(Run(), HasError(absl::StatusCode::kUnavailable, HasSubstr("asked 3 times")));
  EXPECT_LT(any_.vectors().size(), 1000u);
  ExpectComplete(any_, 1000 - any_.vectors().size());
}

// Whatever fails wherever: what the sinks have is right, and the next run completes it without buying a kept text
// again.
class PipelineFaultTest : public PipelineTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(PipelineFaultTest, NothingIsLostAndTheNextRunCompletes) {
  const std::string& fault = GetParam();
  if (fault == "request") client_->FailRequest(30, Fault::kUnavailable);
  if (fault == "key") client_->FailRequest(30, Fault::kStop);
  if (fault == "dropped") client_->FailRequest(30, Fault::kDropped);
  if (fault == "thrown") client_->FailRequest(30, Fault::kThrows);
  if (fault == "source") source_->FailAt(403);
  if (fault == "persist") ledger_.FailPersist(20);
  if (fault == "any sink") any_.FailWrite(10);
  if (fault == "ascending sink") ascending_.FailWrite(10);
  if (fault == "sink throws") any_.ThrowAtWrite(10);
  EXPECT_FALSE(Run().ok());
  EXPECT_FALSE(any_.finished());
  EXPECT_FALSE(ascending_.finished());
  const int64_t kept = ledger_.kept_rows();
  ExpectComplete(any_, 1000 - any_.vectors().size());

  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->texts_sent(), 1000 - kept);
  ExpectComplete(any_);
  ExpectComplete(ascending_);
  EXPECT_EQ(ledger_.kept_rows(), 1000);
}

INSTANTIATE_TEST_SUITE_P(Faults, PipelineFaultTest,
                         ::testing::Values("request", "key", "dropped", "thrown", "source", "persist", "any sink",
                                           "ascending sink", "sink throws"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), ' ', 'X');
                           return name;
                         });

TEST_F(PipelineTest, StopFinishesWhatIsInFlightAndTheNextRunGoesOn) {
  std::stop_source stop;
  client_->OnRequest([&](int64_t number) {
    if (number == 20) stop.request_stop();
  });
  EXPECT_THAT(Run(stop.get_token()), HasError(absl::StatusCode::kCancelled, HasSubstr("resumes")));
  // Everything that was paid for is kept and written.
  EXPECT_EQ(static_cast<int64_t>(any_.vectors().size()), client_->texts_sent());
  EXPECT_EQ(any_.vectors(), ascending_.vectors());
  Restart();
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_);
  ExpectNothingBoughtTwice();
}

// All is read and in the air when the stop comes: what follows is the long end of an index, and that is left.
TEST_F(PipelineTest, AStopBeforeTheTargetsAreFinishedLeavesThatToTheNextRun) {
  source_ = std::make_unique<MemorySource>(Rows(8));
  std::stop_source stop;
  client_->OnRequest([&](int64_t) { stop.request_stop(); });
  EXPECT_THAT(Run(stop.get_token()), HasError(absl::StatusCode::kCancelled, HasSubstr("resumes")));
  EXPECT_FALSE(any_.finished());
  EXPECT_FALSE(ascending_.finished());
  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->stats().requests, 0);
  EXPECT_TRUE(any_.finished());
  EXPECT_TRUE(ascending_.finished());
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, AnAnswerThatNeverComesEndsTheRun) {
  client_->FailRequest(12, Fault::kStalled);
  options_.stall_timeout = absl::Milliseconds(50);
  EXPECT_THAT(Run(), HasError(absl::StatusCode::kDeadlineExceeded, HasSubstr("gave up waiting")));
  Restart();
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_);
}

TEST_F(PipelineTest, ASinkThatLostEverythingIsServedAgainWithoutARequest) {
  ASSERT_THAT(Run(), IsOk());
  ascending_.ForgetEverything();
  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(client_->stats().requests, 0);
  ExpectComplete(ascending_);
  EXPECT_EQ(counters_->rows_replayed, 1000);
}

TEST_F(PipelineTest, ARefusedRowIsRecordedAndTheRestIsStored) {
  any_.RefuseKey("77");
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_, 1);
  ExpectComplete(ascending_);
  EXPECT_EQ(ledger_.rejects().count("77"), 1u);
}

TEST_F(PipelineTest, ARowWhoseTextChangedBetweenRunsGetsTheNewVector) {
  client_->FailRequest(30, Fault::kUnavailable);
  EXPECT_FALSE(Run().ok());
  for (MemoryRow& row : source_->rows()) {
    if (any_.vectors().count(KeyText(ViewOf(row.key))) == 0) row.text = absl::StrCat(*row.text, ", changed");
  }
  Restart();
  ASSERT_THAT(Run(), IsOk());
  ExpectComplete(any_);
}

TEST_F(PipelineTest, ARowThatIsGoneFromTheSourceIsRejected) {
  client_->FailRequest(30, Fault::kUnavailable);
  EXPECT_FALSE(Run().ok());
  auto& rows = source_->rows();
  const auto missing = std::find_if(rows.begin(), rows.end(), [&](const MemoryRow& row) {
    return any_.vectors().count(KeyText(ViewOf(row.key))) == 0;
  });
  rows.erase(missing);
  Restart();
  ASSERT_THAT(Run(), IsOk());
  EXPECT_EQ(ledger_.rejected_rows(), 1);
  ExpectComplete(ascending_);
}

TEST_F(PipelineTest, UnitLengthIsGivenWhenAsked) {
  options_.normalization = Normalization::kUnitL2;
  ASSERT_THAT(Run(), IsOk());
  for (const auto& [key, vector] : any_.vectors()) {
    double norm = 0;
    for (const float x : vector) norm += double{x} * x;
    EXPECT_NEAR(norm, 1, 1e-6) << key;
  }
}

// Three runs fill one place after each other, as the shards of a job do at the same time.
TEST_F(PipelineTest, WhatIsOnceAJobIsDoneByWhoeverItIsFor) {
  source_ = std::make_unique<MemorySource>(Rows(30));
  options_.publishes = false;
  EXPECT_THAT(Run(), IsOk());
  EXPECT_EQ(any_.prepared(), 1);
  EXPECT_FALSE(any_.begun());
  EXPECT_TRUE(any_.completed());
  EXPECT_EQ(any_.published(), 0);
  Restart();
  options_.prepares = false;
  EXPECT_THAT(Run(), IsOk());
  EXPECT_EQ(any_.prepared(), 1);
  EXPECT_EQ(any_.published(), 0);
  const std::vector<NamedSink> sinks = {{"any", &any_}, {"ascending", &ascending_}};
  RunCounters counters;
  EXPECT_THAT(PublishTargets(sinks, client_->model(), &counters, {}), IsOk());
  EXPECT_EQ(any_.published(), 1);
  EXPECT_EQ(ascending_.published(), 1);
  ExpectComplete(any_);
  ExpectNothingBoughtTwice();
}

TEST_F(PipelineTest, ATargetThatIsMadeAnewIsServedFromTheFirstRow) {
  source_ = std::make_unique<MemorySource>(Rows(30));
  EXPECT_THAT(Run(), IsOk());
  any_.LoseTable();
  Restart();
  EXPECT_THAT(Run(), IsOk());
  EXPECT_TRUE(any_.begun());
  ExpectComplete(any_);
  ExpectNothingBoughtTwice();
}

// As after a kill between the two steps.
TEST_F(PipelineTest, ARunThatCouldNotPublishGoesOnThere) {
  source_ = std::make_unique<MemorySource>(Rows(30));
  any_.FailPublish();
  EXPECT_THAT(Run(), HasError(absl::StatusCode::kUnavailable, "target any: the alias cannot be moved now"));
  EXPECT_EQ(any_.published(), 0);
  EXPECT_EQ(ascending_.published(), 1) << "one target does not hold up the other";
  const int64_t writes = any_.writes();
  Restart();
  EXPECT_THAT(Run(), IsOk());
  EXPECT_EQ(any_.published(), 1);
  EXPECT_EQ(any_.writes(), writes);
  EXPECT_EQ(client_->texts_sent(), 0);
}

TEST_F(PipelineTest, NothingIsPublishedAfterTheStopOrBeforeAllIsThere) {
  source_ = std::make_unique<MemorySource>(Rows(30));
  ascending_.FailWrite(0);
  EXPECT_THAT(Run(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_EQ(any_.published() + ascending_.published(), 0);
  std::stop_source stop;
  stop.request_stop();
  const std::vector<NamedSink> sinks = {{"any", &any_}};
  RunCounters counters;
  EXPECT_THAT(PublishTargets(sinks, client_->model(), &counters, stop.get_token()),
              HasError(absl::StatusCode::kCancelled, HasSubstr("the same command resumes")));
  EXPECT_EQ(any_.published(), 0);
}

TEST_F(PipelineTest, RandomFaultsOverManyRunsEndComplete) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    MemoryLedger ledger(kDim);
    MemorySink any(RowOrder::kAny);
    MemorySink ascending(RowOrder::kAscending);
    std::vector<MemoryRow> rows = Rows(300);
    for (MemoryRow& row : rows) {
      if (random() % 5 == 0) row.text = absl::StrCat("shared ", random() % 20);
    }
    MemorySource source(rows);
    const TokenCounter one_each = [](absl::string_view) { return 1; };
    const std::vector<NamedSink> sinks = {{"any", &any}, {"ascending", &ascending}};
    absl::Status status = absl::UnknownError("not run");
    for (int run = 0; run < 60 && !status.ok(); ++run) {
      FakeClient client(kDim, random());
      source.Rewind();
      const Fault faults[] = {Fault::kUnavailable, Fault::kBadReply, Fault::kDropped, Fault::kThrows};
      if (run < 20) client.FailRequest(random() % 12, faults[random() % 4]);
      if (run < 20 && random() % 4 == 0) any.FailWrite(any.writes() + random() % 5);
      if (run < 20 && random() % 7 == 0) ascending.ForgetEverything();
      PipelineOptions options = options_;
      options.batches_in_flight = 1 + static_cast<int>(random() % 6);
      RunCounters counters;
      status = RunPipeline(options,
                           {.source = &source,
                            .client = &client,
                            .ledger = &ledger,
                            .count_tokens = &one_each,
                            .sinks = sinks,
                            .counters = &counters},
                           {});
      ledger.EndRun();
    }
    ASSERT_THAT(status, IsOk());
    source_ = std::make_unique<MemorySource>(rows);
    ExpectComplete(any);
    ExpectComplete(ascending);
  }
}

TEST(BatchesInFlightTest, ThereAreMoreOfThemWhereVectorsAreSmall) {
  const BatchLimits limits{.max_texts = 256, .max_rows = 512};
  EXPECT_EQ(BatchesInFlight(16, limits, 64), 64);
  EXPECT_EQ(BatchesInFlight(16, limits, 1536), 24);
  EXPECT_EQ(BatchesInFlight(1, limits, 3072), 5);
  EXPECT_EQ(BatchesInFlight(8, limits, 1536), 16);
}

}  // namespace
}  // namespace reembed
