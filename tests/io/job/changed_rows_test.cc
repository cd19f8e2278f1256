// SPDX-License-Identifier: Apache-2.0
// What the ledger knows of rows whose text has changed, and of what targets are owed.

#include "gmock/gmock.h"
#include "io/job/owed_table.h"
#include "tests/fakes/temp_folder.h"
#include "tests/io/job/job_fixture.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ChangedRowsTest : public JobTest {
 protected:
  void SetUp() override {
    ASSERT_THAT(Open(), IsOk());
    KeepRows({{int64_t{1}, "a"}, {int64_t{2}, "b"}, {int64_t{3}, "c"}});
    for (const auto& [sink, position] : {std::pair("table", 3), std::pair("file", 2)}) {
      ASSERT_THAT(store_->Position(sink), IsOk());
      store_->SavePosition(sink, position);
    }
    ASSERT_THAT(Open(), IsOk());
  }

  LedgerRow RowAt(int64_t ordinal) {
    auto cursor = store_->Scan(ordinal);
    EXPECT_THAT(cursor, IsOk());
    LedgerRow row = **(*cursor)->Next();
    row.key = ordinal + 1;  // the cursor goes
    return row;
  }

  std::vector<int64_t> Owed(const std::string& sink) {
    auto owed = store_->Owed(sink);
    EXPECT_THAT(owed, IsOk());
    return *std::move(owed);
  }
};

TEST_F(ChangedRowsTest, AChangedRowHasASlotOfItsOwnAndIsOwedToWhoHasIt) {
  store_->Change(RowAt(2), HashText("edited"));
  store_->Change(RowAt(0), HashText("b"));
  const auto seen = ReadAll(store_->Scan(0));
  EXPECT_EQ(seen[0], (Seen{0, "1", 1, SlotState::kKept}));
  EXPECT_EQ(seen[2], (Seen{2, "3", 3, SlotState::kFree}));
  EXPECT_THAT(Owed("table"), ElementsAre(0, 2));
  EXPECT_THAT(Owed("file"), ElementsAre(0)) << "it has not had the other";
  // All of it outlives the run.
  ASSERT_THAT(Open(), IsOk());
  EXPECT_THAT(Owed("table"), ElementsAre(0, 2));
  EXPECT_EQ(ReadAll(store_->Scan(2))[0], (Seen{2, "3", 3, SlotState::kFree}));
  EXPECT_EQ(store_->Stats()->rows_pending, 1);
}

// Texts that repeat, in no order, over more than a page of rows: the slots of neighbours lie close together or far
// apart.
TEST(RowScanTest, EveryRowHasItsKeyAndTheHashOfItsText) {
  const TempFolder folder;
  const JobIdentity identity{
      .source = "s", .selection = "all rows", .recipe = "r", .model = "m", .normalization = "unit", .dim = kDim};
  std::mt19937_64 random(7);
  std::vector<TextHash> expected;
  // Numbers and texts of all lengths, side by side.
  const auto key_of = [](int64_t row) {
    return row % 2 == 0 ? Key(row) : Key(absl::StrCat(row, std::string(static_cast<size_t>(row % 90), 'k')));
  };
  {
    auto store = JobStore::Open(folder / "job", identity);
    ASSERT_THAT(store, IsOk());
    for (int64_t row = 0; row < 30'000; ++row) {
      expected.push_back(
          HashText(absl::StrCat(row % 3 == 0 ? random() % 20'000 : 20'000 + static_cast<uint64_t>(row))));
      ASSERT_EQ((*store)->Enrol(ViewOf(key_of(row)), expected.back()).ordinal, row);
    }
    for (const int64_t from : {0, 4095, 29'999}) {
      auto cursor = (*store)->Scan(from);
      ASSERT_THAT(cursor, IsOk());
      for (int64_t row = from; row < 30'000; ++row) {
        const auto next = (*cursor)->Next();
        ASSERT_TRUE(next.ok() && next->has_value()) << next.status();
        ASSERT_EQ((*next)->ordinal, row);
        ASSERT_EQ(Own((*next)->key), key_of(row));
        ASSERT_EQ((*next)->hash, expected[row]) << "of the running job, row " << row;
      }
      EXPECT_FALSE((*cursor)->Next()->has_value());
    }
    ASSERT_THAT((*store)->Close(), IsOk());
  }
  auto reader = JobReader::Open(folder / "job");
  ASSERT_THAT(reader, IsOk());
  auto cursor = (*reader)->Scan(0);
  ASSERT_THAT(cursor, IsOk());
  for (int64_t row = 0; row < 30'000; ++row) {
    const LedgerRow read = **(*cursor)->Next();
    ASSERT_EQ(read.hash, expected[row]) << "read, row " << row;
    ASSERT_EQ(Own(read.key), key_of(row));
  }
}

TEST_F(ChangedRowsTest, ASinkThatIsCompleteIsOwedNothing) {
  store_->Change(RowAt(0), HashText("edited"));
  store_->Settle("table");
  EXPECT_THAT(Owed("table"), IsEmpty());
  EXPECT_THAT(Owed("file"), ElementsAre(0));
}

TEST_F(ChangedRowsTest, ASinkThatBeginsAgainSaysHowManyRowsItHad) {
  store_->Change(RowAt(0), HashText("edited"));
  ASSERT_THAT(store_->BeginAgain("file"), IsOk());
  EXPECT_EQ(OutdatedRows(*store_->Position("file")), 2);
  EXPECT_EQ(store_->Position("file")->position, 0);
  EXPECT_THAT(Owed("file"), IsEmpty()) << "it gets all rows";
  // As long as it is not complete, also when more changes, and after a kill.
  store_->SavePosition("file", 3);
  store_->Change(RowAt(1), HashText("edited, too"));
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(OutdatedRows(*store_->Position("file")), 2);
  EXPECT_THAT(Owed("file"), IsEmpty());
  store_->SavePosition("file", 3);
  store_->Settle("file");
  EXPECT_EQ(OutdatedRows(*store_->Position("file")), std::nullopt);
  EXPECT_EQ(store_->Position("file")->position, 3);
}

TEST_F(ChangedRowsTest, ARejectedRowThatHasAnotherTextIsTakenUp) {
  store_->Reject(int64_t{1}, 0, absl::InvalidArgumentError("too long"));
  store_->Refuse("table", {{RefusedRow{0, absl::NotFoundError("gone")}}});
  ASSERT_THAT(store_->Sync(), IsOk());
  store_->Change(RowAt(0), HashText("edited"));
  EXPECT_EQ(ReadAll(store_->Scan(0))[0].state, SlotState::kFree);
  EXPECT_THAT(*store_->ListRejects(10), IsEmpty());
  // Nothing is owed of a row that is rejected; when it is taken up again, it is.
  store_->Reject(int64_t{1}, 0, absl::InvalidArgumentError("empty"));
  EXPECT_THAT(Owed("table"), IsEmpty());
  store_->Settle("table");
  store_->Change(RowAt(0), HashText("better"));
  EXPECT_THAT(Owed("table"), ElementsAre(0));
}

TEST_F(ChangedRowsTest, WhatATargetHasLostIsOwedToItAlone) {
  store_->Owe("table", 1);
  EXPECT_THAT(Owed("table"), ElementsAre(1));
  EXPECT_THAT(Owed("file"), IsEmpty());
  EXPECT_EQ(ReadAll(store_->Scan(1))[0].state, SlotState::kKept);
}

TEST_F(ChangedRowsTest, WhetherARunIsForAllRowsIsNoPartOfTheIdentity) {
  store_.reset();
  const std::string other = root_ + "/other";
  JobIdentity identity = Identity();
  identity.selection = "rows without a vector where x > 1";
  ASSERT_THAT(JobStore::Open(other, identity), IsOk());
  identity.selection = "all rows where x > 1";
  {
    auto wider = JobStore::Open(other, identity);
    ASSERT_THAT(wider, IsOk());
    EXPECT_EQ((*wider)->identity()->selection, "rows without a vector where x > 1");
    ASSERT_THAT((*wider)->WidenSelection(""), IsOk());
    EXPECT_EQ((*wider)->identity()->selection, "all rows where x > 1");
  }
  identity.selection = "rows without a vector where x > 1";
  {
    auto again = JobStore::Open(other, identity);
    ASSERT_THAT(again, IsOk());
    EXPECT_EQ((*again)->identity()->selection, "all rows where x > 1") << "the widest stays";
  }
  identity.selection = "all rows where x > 2";
  EXPECT_THAT(JobStore::Open(other, identity),
              HasError(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("selection")));
}

// As a program before wrote it.
TEST_F(ChangedRowsTest, ALedgerWithoutTheTableIsReadAndGoesOn) {
  store_.reset();
  {
    auto ledger = LedgerConnection::Open(dir_ + "/ledger.db", LedgerAccess::kReadWrite);
    ASSERT_THAT(ledger, IsOk());
    ASSERT_THAT((*ledger)->Execute("DROP TABLE owed"), IsOk());
    EXPECT_THAT(*ReadOwed(ledger->get(), "table"), IsEmpty());
    EXPECT_EQ(*ReadOutdatedRows(ledger->get(), "table"), -1);
    EXPECT_EQ(*IsRowOwed(ledger->get(), "table", 0), false);
  }
  EXPECT_THAT(JobReader::Open(dir_), IsOk());
  ASSERT_THAT(Open(), IsOk());
  store_->Change(RowAt(0), HashText("edited"));
  EXPECT_THAT(Owed("table"), ElementsAre(0));
}

}  // namespace
}  // namespace reembed
