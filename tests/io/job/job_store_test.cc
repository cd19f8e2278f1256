// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "io/job/job_reader.h"
#include "io/job/reject_retry.h"
#include "tests/io/job/job_fixture.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class JobStoreTest : public JobTest {
 protected:
  std::vector<SlotState> States() {
    std::vector<SlotState> states;
    for (const auto& row : ReadAll(store_->Scan(0))) states.push_back(row.state);
    return states;
  }

  // The rows that have no vector yet, taken up again, each with the text it has now.
  std::unique_ptr<Flight> ResumeAll(const std::vector<TestRow>& texts) {
    auto flight = std::make_unique<Flight>();
    auto cursor = store_->Scan(0);
    EXPECT_THAT(cursor, IsOk());
    for (auto row = (*cursor)->Next(); row.ok() && row->has_value(); row = (*cursor)->Next()) {
      if ((*row)->state == SlotState::kKept) continue;
      const TestRow& now = texts[(*row)->ordinal];
      Add(store_->Resume(**row, HashText(now.text)), now, flight.get());
    }
    return flight;
  }
};

TEST_F(JobStoreTest, NumbersRowsFromZero) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Enrol(int64_t{7}, HashText("a")).ordinal, 0);
  EXPECT_EQ(store_->Enrol("key", HashText("b")).ordinal, 1);
  EXPECT_EQ(store_->rows(), 2);
  EXPECT_EQ(store_->run(), 1);
}

TEST_F(JobStoreTest, OnlyItsOwnerMayEnterTheDirectory) {
  ASSERT_THAT(Open(), IsOk());
  struct stat info;
  ASSERT_EQ(stat(dir_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(JobStoreTest, GivesARowItsVectorWhenItIsKept) {
  ASSERT_THAT(Open(), IsOk());
  const auto flight = Enrol({{int64_t{1}, "a"}, {"two", "b"}});
  EXPECT_THAT(flight->VectorOfRow(0), IsEmpty());
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), IsOk());
  EXPECT_EQ(flight->VectorOfRow(0), VectorOf("a"));
  EXPECT_EQ(flight->VectorOfRow(1), VectorOf("b"));
}

TEST_F(JobStoreTest, RemembersRowsAcrossRuns) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{-5}, "a"}, {"42", "b"}, {std::string("a\0b", 3), "a"}});
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->run(), 2);
  EXPECT_FALSE(store_->recovery().unclean_end);
  EXPECT_THAT(ReadAll(store_->Scan(0)),
              ElementsAre(Seen{0, "-5", 0, SlotState::kKept}, Seen{1, "42", 1, SlotState::kKept},
                          Seen{2, std::string("a\0b", 3), 0, SlotState::kKept}));
}

// One statement of the ledger inserts several rows, and texts; a rest is smaller.
TEST_F(JobStoreTest, RemembersAsManyRowsAsCameAtOnce) {
  ASSERT_THAT(Open(), IsOk());
  std::vector<Seen> expected;
  for (const int rows : {1, 2, 31, 32, 33, 64, 1}) {
    std::vector<TestRow> at_once;
    for (int i = 0; i < rows; ++i) {
      const auto ordinal = static_cast<int64_t>(expected.size());
      const std::string name = absl::StrCat("row ", ordinal);
      at_once.push_back({ordinal % 3 == 0 ? Key(ordinal) : Key(name), absl::StrCat("text ", ordinal)});
      expected.push_back({ordinal, ordinal % 3 == 0 ? absl::StrCat(ordinal) : name, ordinal, SlotState::kKept});
    }
    KeepRows(at_once);
  }
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->recovery().texts_without_vector, 0);
  EXPECT_EQ(ReadAll(store_->Scan(0)), expected);
  EXPECT_FALSE(Enrol({{int64_t{1000}, "text 7"}})->batch.texts().size()) << "its hash was kept, too";
}

TEST_F(JobStoreTest, KeysKeepTheirKind) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{42}, "a"}, {"42", "b"}});
  ASSERT_THAT(Open(), IsOk());
  auto cursor = store_->Scan(0);
  ASSERT_THAT(cursor, IsOk());
  EXPECT_EQ(Own((**(*cursor)->Next()).key), Key(int64_t{42}));
  EXPECT_EQ(Own((**(*cursor)->Next()).key), Key("42"));
}

TEST_F(JobStoreTest, ScanShowsWhatWasSaidJustBefore) {
  ASSERT_THAT(Open(), IsOk());
  const auto flight = Enrol({{int64_t{1}, "a"}, {int64_t{2}, "b"}});
  auto cursor = store_->Scan(1);
  Enrol({{int64_t{3}, "c"}});
  EXPECT_THAT(ReadAll(std::move(cursor)), ElementsAre(Seen{1, "2", 1, SlotState::kClaimed}));
}

TEST_F(JobStoreTest, ScanPagesThroughManyRows) {
  ASSERT_THAT(Open(), IsOk());
  for (int64_t i = 0; i < 10'000; ++i) store_->Enrol(i, HashText(absl::StrCat(i)));
  const auto rows = ReadAll(store_->Scan(3));
  ASSERT_THAT(rows, SizeIs(9'997));
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i], (Seen{static_cast<int64_t>(i + 3), absl::StrCat(i + 3), static_cast<int64_t>(i + 3),
                             SlotState::kClaimed}));
  }
}

TEST_F(JobStoreTest, BuysATextOnceWithinABatch) {
  ASSERT_THAT(Open(), IsOk());
  const auto flight = KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "a"}});
  EXPECT_THAT(flight->batch.texts(), SizeIs(2));
  EXPECT_EQ(flight->VectorOfRow(2), VectorOf("a"));
}

TEST_F(JobStoreTest, LoadsAVectorThatAnEarlierRunBought) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "c"}});
  ASSERT_THAT(Open(), IsOk());
  const auto flight = KeepRows({{int64_t{4}, "c"}, {int64_t{5}, "a"}, {int64_t{6}, "b"}, {int64_t{7}, "new"}});
  EXPECT_THAT(flight->batch.texts(), SizeIs(1));
  EXPECT_EQ(flight->VectorOfRow(0), VectorOf("c"));
  EXPECT_EQ(flight->VectorOfRow(1), VectorOf("a"));
  EXPECT_EQ(flight->VectorOfRow(2), VectorOf("b"));
  EXPECT_EQ(flight->VectorOfRow(3), VectorOf("new"));
}

TEST_F(JobStoreTest, ABatchWaitsForTheBatchThatBuysItsText) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}});
  const auto sharer = Enrol({{int64_t{2}, "b"}, {int64_t{3}, "a"}});
  Send(sharer.get());
  ASSERT_THAT(store_->Sync(), IsOk());
  EXPECT_THAT(sharer->VectorOfRow(1), IsEmpty());
  // What it bought itself is the job's already.
  EXPECT_THAT(States(), ElementsAre(SlotState::kClaimed, SlotState::kKept, SlotState::kClaimed));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), IsOk());
  EXPECT_THAT(sharer->Answer(), IsOk());
  EXPECT_EQ(sharer->VectorOfRow(0), VectorOf("b"));
  EXPECT_EQ(sharer->VectorOfRow(1), VectorOf("a"));
}

TEST_F(JobStoreTest, AFailedBatchKeepsNothingAndFailsThoseWhoWait) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}});
  const auto sharer = Enrol({{int64_t{2}, "b"}, {int64_t{3}, "a"}});
  Send(sharer.get());
  buyer->batch.Fail(absl::DeadlineExceededError("too slow"));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), HasError(absl::StatusCode::kDeadlineExceeded, "too slow"));
  EXPECT_THAT(sharer->Answer(), HasError(absl::StatusCode::kUnavailable, HasSubstr("row 3")));
  EXPECT_THAT(buyer->VectorOfRow(0), IsEmpty());
  EXPECT_THAT(sharer->VectorOfRow(1), IsEmpty());
  EXPECT_THAT(States(), ElementsAre(SlotState::kFree, SlotState::kKept, SlotState::kFree));
}

// What is answered is paid for, whatever becomes of the rest.
TEST_F(JobStoreTest, AFailedBatchKeepsTheVectorsThatItHas) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "c"}, {int64_t{4}, "d"}});
  const auto sharer = Enrol({{int64_t{5}, "c"}}), other = Enrol({{int64_t{6}, "b"}});
  Send(sharer.get());
  Send(other.get());
  buyer->batch.texts()[0].answered = buyer->batch.texts()[2].answered = buyer->batch.texts()[3].answered = true;
  buyer->batch.texts()[3].reject = absl::DataLossError("its vector is zero or not finite");
  buyer->batch.Fail(absl::CancelledError("told to stop"));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), HasError(absl::StatusCode::kCancelled, "told to stop"));
  EXPECT_THAT(buyer->VectorOfRow(0), IsEmpty());
  EXPECT_THAT(sharer->Answer(), IsOk());
  EXPECT_EQ(sharer->VectorOfRow(0), VectorOf("c"));
  EXPECT_THAT(other->Answer(), HasError(absl::StatusCode::kUnavailable, HasSubstr("row 6")));
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kFree, SlotState::kKept, SlotState::kFree,
                                    SlotState::kKept, SlotState::kFree));
  ASSERT_THAT(Open(), IsOk());
  const auto later = KeepRows({{int64_t{7}, "a"}, {int64_t{8}, "b"}});
  EXPECT_THAT(later->batch.texts(), SizeIs(1));
  EXPECT_EQ(later->VectorOfRow(0), VectorOf("a"));
}

TEST_F(JobStoreTest, ABatchThatIsNotTrustedKeepsNothing) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}});
  buyer->batch.texts()[0].answered = true;
  buyer->batch.Distrust(absl::FailedPreconditionError("another model"));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), HasError(absl::StatusCode::kFailedPrecondition, "another model"));
  EXPECT_THAT(States(), ElementsAre(SlotState::kFree));
}

TEST_F(JobStoreTest, ABatchThatComesAfterTheFailureFailsToo) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}});
  const auto sharer = Enrol({{int64_t{2}, "a"}});
  buyer->batch.Fail(absl::UnavailableError("gone"));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), HasError(absl::StatusCode::kUnavailable, "gone"));
  Send(sharer.get());
  EXPECT_THAT(sharer->Answer(), HasError(absl::StatusCode::kUnavailable, HasSubstr("row 2")));
}

TEST_F(JobStoreTest, ATextWhoseBatchFailedIsBoughtAgain) {
  ASSERT_THAT(Open(), IsOk());
  const auto failed = Enrol({{int64_t{1}, "a"}});
  failed->batch.Fail(absl::UnavailableError("gone"));
  Send(failed.get());
  EXPECT_FALSE(failed->Answer().ok());
  const auto again = KeepRows({{int64_t{2}, "a"}});
  EXPECT_THAT(again->batch.texts(), SizeIs(1));
  EXPECT_EQ(again->batch.rows()[0].slot, failed->batch.rows()[0].slot);
}

TEST_F(JobStoreTest, ResumedRowsAreBoughtAndKept) {
  const std::vector<TestRow> rows = {{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "a"}};
  ASSERT_THAT(Open(), IsOk());
  Enrol(rows);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->recovery().texts_without_vector, 2);
  const auto flight = ResumeAll(rows);
  EXPECT_THAT(flight->batch.texts(), SizeIs(2));
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), IsOk());
  EXPECT_EQ(flight->VectorOfRow(2), VectorOf("a"));
  EXPECT_EQ(store_->rows(), 3);
}

TEST_F(JobStoreTest, AResumedRowTakesTheTextItHasNow) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{1}, "a"}});
  Enrol({{int64_t{2}, "old"}, {int64_t{3}, "old too"}});
  ASSERT_THAT(Open(), IsOk());
  const auto flight = ResumeAll({{int64_t{1}, "a"}, {int64_t{2}, "a"}, {int64_t{3}, "new"}});
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), IsOk());
  EXPECT_EQ(flight->VectorOfRow(0), VectorOf("a"));
  EXPECT_EQ(flight->VectorOfRow(1), VectorOf("new"));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(ReadAll(store_->Scan(0)),
              ElementsAre(Seen{0, "1", 0, SlotState::kKept}, Seen{1, "2", 0, SlotState::kKept},
                          Seen{2, "3", 3, SlotState::kKept}));
}

TEST_F(JobStoreTest, ARejectedTextRejectsAllItsRows) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "bad"}, {int64_t{2}, "good"}, {int64_t{3}, "bad"}});
  const auto sharer = Enrol({{int64_t{4}, "bad"}});
  Send(sharer.get());
  buyer->batch.texts()[0].reject = absl::InvalidArgumentError("too long");
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), IsOk());
  EXPECT_THAT(sharer->Answer(), IsOk());
  for (const absl::Status& reject : {buyer->batch.rows()[0].reject, buyer->batch.rows()[2].reject,
                                     sharer->batch.rows()[0].reject, store_->Enrol("5", HashText("bad")).reject}) {
    EXPECT_THAT(reject, HasError(absl::StatusCode::kInvalidArgument, "too long"));
  }
  EXPECT_THAT(buyer->VectorOfRow(0), IsEmpty());
  EXPECT_EQ(buyer->VectorOfRow(1), VectorOf("good"));
  const auto rejects = store_->ListRejects(10);
  ASSERT_THAT(rejects, IsOk());
  ASSERT_THAT(*rejects, SizeIs(4));
  EXPECT_EQ((*rejects)[3].key, Key("5"));
  EXPECT_THAT((*rejects)[3].reason, HasError(absl::StatusCode::kInvalidArgument, "too long"));
}

TEST_F(JobStoreTest, ARejectedTextStaysRejectedInTheNextRun) {
  ASSERT_THAT(Open(), IsOk());
  const auto flight = Enrol({{int64_t{1}, "bad"}});
  flight->batch.texts()[0].reject = absl::InvalidArgumentError("too long");
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), IsOk());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(States(), ElementsAre(SlotState::kRejected));
  const Enrolment second = store_->Enrol(int64_t{2}, HashText("bad"));
  EXPECT_FALSE(second.buy);
  EXPECT_THAT(second.reject, HasError(absl::StatusCode::kInvalidArgument, "too long"));
}

TEST_F(JobStoreTest, ARowWhoseBatchFailedIsRejectedWithItsTextInTheNextRun) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "bad"}});
  const auto sharer = Enrol({{int64_t{2}, "bad"}});
  sharer->batch.Fail(absl::UnavailableError("another text of it got no answer"));
  Send(sharer.get());
  buyer->batch.texts()[0].reject = absl::InvalidArgumentError("too long");
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), IsOk());
  EXPECT_FALSE(sharer->Answer().ok());
  ASSERT_THAT(Open(), IsOk());
  const auto rejects = store_->ListRejects(10);
  ASSERT_THAT(rejects, IsOk());
  ASSERT_THAT(*rejects, SizeIs(2));
  EXPECT_EQ((*rejects)[1].key, Key(int64_t{2}));
  EXPECT_THAT((*rejects)[1].reason, HasError(absl::StatusCode::kInvalidArgument, "too long"));
}

TEST_F(JobStoreTest, RowsWithoutATextAreRejectedButNumbered) {
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Reject("null", std::nullopt, absl::InvalidArgumentError("no text")), 0);
  const Enrolment row = store_->Enrol("gone", HashText("a"));
  EXPECT_EQ(store_->Reject("gone", row.ordinal, absl::NotFoundError("no such row")), 1);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->rows(), 2);
  EXPECT_THAT(ReadAll(store_->Scan(0)),
              ElementsAre(Seen{0, "null", -1, SlotState::kRejected}, Seen{1, "gone", 0, SlotState::kRejected}));
}

TEST_F(JobStoreTest, ARejectedRowCanBeTakenUpAgain) {
  ASSERT_THAT(Open(), IsOk());
  store_->Reject(int64_t{1}, std::nullopt, absl::InvalidArgumentError("no text"));
  const auto flight = ResumeAll({{int64_t{1}, "now it has one"}});
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), IsOk());
  EXPECT_EQ(flight->VectorOfRow(0), VectorOf("now it has one"));
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept));
}

TEST_F(JobStoreTest, PositionsCountOnlyWhatTheSinkHas) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}, {int64_t{2}, "c"}, {int64_t{3}, "d"}});
  store_->Reject(int64_t{4}, std::nullopt, absl::InvalidArgumentError("no text"));
  store_->Reject(int64_t{5}, std::nullopt, absl::InvalidArgumentError("no text"));
  const RefusedRow refused[] = {{.ordinal = 1, .reason = absl::NotFoundError("gone")}};
  store_->Refuse("sink a", refused);
  store_->SavePosition("sink a", 5);
  store_->SavePosition("sink b", 5);
  ASSERT_THAT(store_->Position("sink a"), IsOk());
  EXPECT_EQ(store_->Position("sink a")->position, 5);
  EXPECT_EQ(store_->Position("sink a")->stored_rows, 3);
  EXPECT_EQ(store_->Position("sink b")->stored_rows, 4);
  EXPECT_EQ(store_->Position("new")->position, 0);
  EXPECT_EQ(store_->Position("new")->stored_rows, 0);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Position("sink a")->stored_rows, 3);
}

TEST_F(JobStoreTest, StatsAndReceiptsTellWhatTheLedgerHolds) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "a"}, {int64_t{3}, "b"}});
  const auto open = Enrol({{int64_t{4}, "c"}});
  store_->Reject(int64_t{5}, std::nullopt, absl::InvalidArgumentError("no text"));
  store_->SavePosition("sink", 2);
  EXPECT_THAT(store_->RecordReceipt({.run = 1, .outcome = "running", .requests = 1}), IsOk());
  EXPECT_THAT(store_->RecordReceipt({.run = 1, .outcome = "done", .requests = 7, .cost_usd = 0.25}), IsOk());
  const auto stats = store_->Stats();
  ASSERT_THAT(stats, IsOk());
  EXPECT_EQ(stats->rows, 5);
  EXPECT_EQ(stats->texts, 3);
  EXPECT_EQ(stats->kept_texts, 2);
  EXPECT_EQ(stats->rejected_rows, 1);
  EXPECT_EQ(stats->rows_pending, 1);
  EXPECT_THAT(stats->sinks, ElementsAre(std::pair<std::string, int64_t>("sink", 2)));
  ASSERT_THAT(stats->receipts, SizeIs(1));
  EXPECT_EQ(stats->receipts[0].outcome, "done");
  EXPECT_EQ(stats->receipts[0].requests, 7);
  EXPECT_EQ(stats->receipts[0].cost_usd, 0.25);
}

// What a kill leaves of the directory, as it is now.
class KilledJobTest : public JobTest {
 protected:
  void Kill() {
    ASSERT_THAT(store_->Sync(), IsOk());
    const std::string copy = root_ + "/killed";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(dir_, copy, std::filesystem::copy_options::recursive);
    store_.reset();
    std::filesystem::remove_all(dir_);
    std::filesystem::rename(copy, dir_);
  }
  int64_t Rebought() { return store_->Stats()->texts_possibly_rebought; }
  void KeepTexts(int from, int to) {
    std::vector<TestRow> rows;
    for (int i = from; i < to; ++i) {
      rows.push_back({int64_t{i}, absl::StrCat("text ", i)});
      if (rows.size() < 50 && i + 1 < to) continue;
      KeepRows(rows);
      rows.clear();
    }
  }
};

TEST_F(KilledJobTest, OneKillCostsNoMoreThanWhatWasInFlightAndHasBeenBoughtSince) {
  ASSERT_THAT(Open({.texts_in_flight = 768}), IsOk());
  KeepTexts(0, 70);
  Kill();
  ASSERT_THAT(Open({.texts_in_flight = 768}), IsOk());
  EXPECT_EQ(Rebought(), 0) << "nothing was bought since";
  KeepTexts(70, 100);
  EXPECT_EQ(Rebought(), 30);
  KeepTexts(100, 157);
  EXPECT_EQ(Rebought(), 87);
  ASSERT_THAT(store_->NoteAllRead(), IsOk());
  EXPECT_EQ(Rebought(), 87);
  // What comes later was not in flight then.
  ASSERT_THAT(Open({.texts_in_flight = 768}), IsOk());
  KeepTexts(157, 400);
  EXPECT_EQ(Rebought(), 87);
}

TEST_F(KilledJobTest, OfSeveralKillsEachMayHaveLostAllThatWasNotKept) {
  ASSERT_THAT(Open({.texts_in_flight = 20}), IsOk());
  KeepTexts(0, 10);
  Kill();
  ASSERT_THAT(Open({.texts_in_flight = 20}), IsOk());
  Kill();
  ASSERT_THAT(Open({.texts_in_flight = 20}), IsOk());
  EXPECT_EQ(Rebought(), 40) << "the second run may have lost again what the first had lost";
  KeepTexts(10, 12);
  EXPECT_EQ(Rebought(), 40);
  KeepTexts(12, 16);
  ASSERT_THAT(store_->NoteAllRead(), IsOk());
  EXPECT_EQ(Rebought(), 12) << "six texts lacked their vector at each kill";
}

TEST_F(KilledJobTest, ABoundBelowWhatIsLeftStays) {
  ASSERT_THAT(Open({.texts_in_flight = 5}), IsOk());
  Kill();
  ASSERT_THAT(Open({.texts_in_flight = 5}), IsOk());
  KeepTexts(0, 50);
  ASSERT_THAT(store_->NoteAllRead(), IsOk());
  EXPECT_EQ(Rebought(), 5);
}

TEST_F(KilledJobTest, MoneyThatWasNotedIsKnownAfterAKill) {
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(store_->NoteSpending(0.5), IsOk());
  Kill();
  ASSERT_THAT(Open(), IsOk());
  EXPECT_NEAR(store_->Stats()->unreceipted_usd, 0.5, 1e-8);
  // A run that ends well has a receipt, and what it does not cover.
  ASSERT_THAT(store_->NoteSpending(0.3), IsOk());
  ASSERT_THAT(store_->RecordReceipt({.run = store_->run(), .outcome = "done", .cost_usd = 0.2}), IsOk());
  EXPECT_NEAR(store_->Stats()->unreceipted_usd, 0.6, 1e-8);
  ASSERT_THAT(store_->NoteSpending(0.2), IsOk());
  EXPECT_NEAR(store_->Stats()->unreceipted_usd, 0.5, 1e-8);
  ASSERT_THAT(Open(), IsOk());
  EXPECT_NEAR(store_->Stats()->unreceipted_usd, 0.5, 1e-8);
}

TEST_F(JobStoreTest, ABatchThatWasNotEnrolledIsRefused) {
  ASSERT_THAT(Open(), IsOk());
  KeepRows({{int64_t{1}, "a"}});
  Flight forged;
  forged.batch.AddRowWithText(0, int64_t{1}, 0, "b", 1);
  Send(&forged);
  EXPECT_THAT(forged.Answer(), HasError(absl::StatusCode::kInternal, HasSubstr("slot 0")));
  EXPECT_EQ(KeepRows({{int64_t{2}, "a"}})->VectorOfRow(0), VectorOf("a"));
}

TEST_F(JobStoreTest, ClosingAnswersThoseWhoWait) {
  ASSERT_THAT(Open(), IsOk());
  const auto buyer = Enrol({{int64_t{1}, "a"}});
  const auto sharer = Enrol({{int64_t{2}, "a"}});
  Send(sharer.get());
  EXPECT_THAT(store_->Close(), IsOk());
  EXPECT_THAT(sharer->Answer(), HasError(absl::StatusCode::kUnavailable, HasSubstr("run again")));
  Send(buyer.get());
  EXPECT_THAT(buyer->Answer(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("closed")));
  EXPECT_FALSE(store_->Position("sink").ok());
}

TEST_F(JobStoreTest, WithoutVectorsEveryRowIsEmbeddedForItself) {
  ASSERT_THAT(Open({.keep_vectors = KeepVectors::kNever}), IsOk());
  ASSERT_THAT(store_->Position("sink"), IsOk());
  const auto flight = KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "a"}, {int64_t{3}, "b"}});
  EXPECT_THAT(flight->batch.texts(), SizeIs(3));
  EXPECT_EQ(flight->VectorOfRow(1), VectorOf("a"));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/vectors.f32"));
  store_->SavePosition("sink", 2);
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kKept, SlotState::kFree));
}

TEST_F(JobStoreTest, WithoutVectorsWhatAFailedBatchHasIsCounted) {
  ASSERT_THAT(Open({.keep_vectors = KeepVectors::kNever}), IsOk());
  const auto flight = Enrol({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "c"}});
  flight->batch.texts()[0].answered = flight->batch.texts()[1].answered = true;
  flight->batch.Fail(absl::CancelledError("told to stop"));
  Send(flight.get());
  EXPECT_FALSE(flight->Answer().ok());
  EXPECT_EQ(store_->Stats()->texts_possibly_rebought, 2);
}

TEST_F(JobStoreTest, WithoutVectorsTheSlowestSinkSaysWhatIsDone) {
  ASSERT_THAT(Open({.keep_vectors = KeepVectors::kNever}), IsOk());
  KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "c"}});
  store_->SavePosition("sink", 2);
  ASSERT_THAT(Open({.keep_vectors = KeepVectors::kNever}), IsOk());
  EXPECT_EQ(store_->Position("sink")->position, 2);
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kKept, SlotState::kFree));
  ASSERT_THAT(store_->Position("added later"), IsOk());
  EXPECT_THAT(States(), ElementsAre(SlotState::kFree, SlotState::kFree, SlotState::kFree));
}

// Rows are counted by their slots alone: texts are all decided, or some are free, in several places.
TEST_F(JobStoreTest, RowsToDoAreAsManyAsAWalkFinds) {
  const auto expect_pending = [this](int64_t expected) {
    EXPECT_EQ(store_->Stats()->rows_pending, expected);
    const auto job = JobReader::Open(dir_);
    ASSERT_THAT(job, IsOk());
    const std::vector<Seen> rows = ReadAll((*job)->Scan(0));
    EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [](const Seen& row) { return row.state == SlotState::kFree; }),
              expected);
  };
  for (const KeepVectors keep : {KeepVectors::kAlways, KeepVectors::kNever}) {
    const bool kept = keep == KeepVectors::kAlways;
    SCOPED_TRACE(kept ? "kept" : "not kept");
    dir_ = root_ + (kept ? "/kept" : "/never");
    ASSERT_THAT(Open({.keep_vectors = keep}), IsOk());
    KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "a"}});
    store_->Reject(int64_t{4}, std::nullopt, absl::InvalidArgumentError("no text"));
    KeepRows({{int64_t{5}, "c"}});
    store_->SavePosition("sink", 1);
    expect_pending(kept ? 0 : 3);
    store_->SavePosition("sink", 5);
    expect_pending(0);
    const auto refused = Enrol({{int64_t{6}, "d"}});
    refused->batch.texts()[0].reject = absl::InvalidArgumentError("too long");
    Send(refused.get());
    EXPECT_THAT(refused->Answer(), IsOk());
    expect_pending(0);
    store_.reset();
    ASSERT_THAT(TakeBackRejects(dir_), IsOk());
    ASSERT_THAT(Open({.keep_vectors = keep}), IsOk());
    expect_pending(kept ? 2 : 3);  // where nothing is kept sinks go back to the first that was rejected
    const auto open = Enrol({{int64_t{7}, "e"}});
    expect_pending(kept ? 3 : 4);
    KeepRows({{int64_t{8}, "f"}, {int64_t{9}, "a"}});
    store_->Reject(int64_t{10}, std::nullopt, absl::InvalidArgumentError("no text"));
    expect_pending(kept ? 3 : 6);
    const auto one_text = Enrol({{int64_t{11}, "g"}, {int64_t{12}, "g"}});
    expect_pending(kept ? 5 : 8);
  }
}

// Batches that share texts come to Persist() in any order, some failed, some with rejected texts: every one is
// answered, and every row has exactly its own vector or a reason.
TEST_F(JobStoreTest, SharedTextsAreResolvedInAnyOrder) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    dir_ = absl::StrCat(root_, "/job", seed);
    ASSERT_THAT(Open(), IsOk());
    std::vector<std::unique_ptr<Flight>> flights;
    std::vector<std::vector<std::string>> texts;
    for (int b = 0; b < 20; ++b) {
      std::vector<TestRow> rows;
      texts.emplace_back();
      for (uint64_t r = 0; r <= random() % 8; ++r) {
        texts.back().push_back(absl::StrCat("text ", random() % 40));
        rows.push_back({static_cast<int64_t>(random()), texts.back().back()});
      }
      flights.push_back(Enrol(rows));
      if (random() % 6 == 0) flights.back()->batch.Fail(absl::UnavailableError("gone"));
      for (BatchText& text : flights.back()->batch.texts()) {
        if (random() % 8 == 0) text.reject = absl::InvalidArgumentError(absl::StrCat("no ", text.text));
      }
    }
    std::vector<size_t> order(flights.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) Send(flights[i].get());
    for (size_t i = 0; i < flights.size(); ++i) {
      if (!flights[i]->Answer().ok()) continue;
      for (size_t r = 0; r < texts[i].size(); ++r) {
        const BatchRow& row = flights[i]->batch.rows()[r];
        if (row.reject.ok()) {
          ASSERT_EQ(flights[i]->VectorOfRow(r), VectorOf(texts[i][r]));
        } else {
          ASSERT_EQ(row.reject.message(), absl::StrCat("no ", texts[i][r]));
          ASSERT_EQ(row.vector, nullptr);
        }
      }
    }
  }
}

}  // namespace
}  // namespace reembed
