// SPDX-License-Identifier: Apache-2.0
// Damage of what was kept is found before anybody gets it, and costs the slot alone.

#include "io/job/kept_vectors.h"

#include <sqlite3.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/io/job/job_fixture.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSlotBytes = kDim * sizeof(float);

class KeptVectorsTest : public JobTest {
 protected:
  // Three batches: slots 0 to 3, 4 to 5, 6.
  void MakeJob() {
    ASSERT_THAT(Open(), IsOk());
    KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}, {int64_t{2}, "c"}, {int64_t{3}, "d"}});
    KeepRows({{int64_t{4}, "e"}, {int64_t{5}, "f"}});
    KeepRows({{int64_t{6}, "g"}});
    store_.reset();
  }

  void Execute(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((dir_ + "/ledger.db").c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  // Makes of the ledger what the version before would have made.
  void MakeFormat1() {
    const auto file = VectorFile::Open(dir_ + "/vectors.f32", kDim, VectorFile::Access::kReadOnly);
    for (const auto& [begin, end] : {SlotRange{0, 4}, SlotRange{4, 6}, SlotRange{6, 7}}) {
      Execute(absl::StrCat("UPDATE kept SET checksum = ", static_cast<int64_t>(*(*file)->ChecksumOf(begin, end)),
                           " WHERE slot_begin = ", begin));
    }
    Execute("ALTER TABLE kept DROP COLUMN sums; PRAGMA user_version = 1");
  }

  void FlipBit(int64_t offset, int bit = 4) const {
    std::fstream file(dir_ + "/vectors.f32", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const char byte = static_cast<char>(file.get() ^ (1 << bit));
    file.seekp(offset);
    file.put(byte);
  }

  std::vector<SlotRange> Damage() const {
    const auto reader = JobReader::Open(dir_);
    EXPECT_THAT(reader, IsOk());
    const auto check = (*reader)->CheckVectors();
    EXPECT_THAT(check, IsOk());
    return check->damaged;
  }

  std::vector<SlotState> States() {
    std::vector<SlotState> states;
    for (const Seen& row : ReadAll(store_->Scan(0))) states.push_back(row.state);
    return states;
  }
};

TEST_F(KeptVectorsTest, EveryFlippedBitIsFoundInItsSlot) {
  MakeJob();
  EXPECT_THAT(Damage(), IsEmpty());
  for (int64_t offset = 0; offset < 7 * kSlotBytes; offset += 5) {
    const int bit = static_cast<int>(offset % 8);
    FlipBit(offset, bit);
    const int64_t slot = offset / kSlotBytes;
    EXPECT_THAT(Damage(), ElementsAre(SlotRange{slot, slot + 1})) << offset;
    const auto reader = JobReader::Open(dir_);
    for (int64_t other = 0; other < 7; ++other) {
      std::vector<float> vector(kDim);
      const absl::Status read = (*reader)->ReadVector(other, absl::MakeSpan(vector));
      if (other == slot) {
        EXPECT_THAT(read, HasError(absl::StatusCode::kDataLoss, HasSubstr(absl::StrCat("slot ", slot, " is damaged"))));
      } else {
        EXPECT_THAT(read, IsOk());
      }
    }
    FlipBit(offset, bit);
  }
  EXPECT_THAT(Damage(), IsEmpty());
}

// Two vectors of one width that changed places are sound bytes in the wrong slots.
TEST_F(KeptVectorsTest, VectorsThatChangedPlacesAreFound) {
  MakeJob();
  std::fstream file(dir_ + "/vectors.f32", std::ios::in | std::ios::out | std::ios::binary);
  std::string a(kSlotBytes, 0), b(kSlotBytes, 0);
  file.seekg(1 * kSlotBytes);
  file.read(a.data(), kSlotBytes);
  file.seekg(4 * kSlotBytes);
  file.read(b.data(), kSlotBytes);
  file.seekp(1 * kSlotBytes);
  file.write(b.data(), kSlotBytes);
  file.seekp(4 * kSlotBytes);
  file.write(a.data(), kSlotBytes);
  file.close();
  EXPECT_THAT(Damage(), ElementsAre(SlotRange{1, 2}, SlotRange{4, 5}));
}

// What the ledger says of a run is as good as the run.
TEST_F(KeptVectorsTest, DamageOfTheLedgersOwnRangesIsFound) {
  MakeJob();
  std::filesystem::copy_file(dir_ + "/ledger.db", root_ + "/sound");
  for (const auto& [sql, lost] :
       {std::pair("UPDATE kept SET slot_end = 5 WHERE slot_begin = 4", SlotRange{4, 5}),
        std::pair("UPDATE kept SET slot_begin = 5 WHERE slot_begin = 4", SlotRange{5, 6}),
        std::pair("UPDATE kept SET sums = x'0000000000000000' WHERE slot_begin = 4", SlotRange{4, 6}),
        std::pair("UPDATE kept SET sums = x'' WHERE slot_begin = 4", SlotRange{4, 6}),
        std::pair("UPDATE kept SET checksum = checksum + 1 WHERE slot_begin = 4", SlotRange{4, 6}),
        std::pair("UPDATE kept SET epoch = epoch + 1 WHERE slot_begin = 4", SlotRange{4, 6})}) {
    SCOPED_TRACE(sql);
    std::filesystem::copy_file(root_ + "/sound", dir_ + "/ledger.db",
                               std::filesystem::copy_options::overwrite_existing);
    Execute(sql);
    EXPECT_THAT(Damage(), ElementsAre(lost));
    ASSERT_THAT(Open({.check = JobOptions::Check::kEverything}), IsOk());
    EXPECT_EQ(store_->recovery().damaged_texts, lost.size());
    store_.reset();
    EXPECT_THAT(Damage(), IsEmpty());
  }
}

// One slot is bought again, whatever lies around it in its run, and the sinks that have it are owed the new vector.
TEST_F(KeptVectorsTest, ADamagedSlotIsBoughtAgainAlone) {
  MakeJob();
  ASSERT_THAT(Open(), IsOk());
  for (const char* const sink : {"has it", "has not"}) {
    ASSERT_THAT(store_->Position(sink), IsOk());
    store_->SavePosition(sink, sink == std::string("has it") ? 7 : 1);
  }
  store_.reset();
  FlipBit(1 * kSlotBytes + 2);
  FlipBit(6 * kSlotBytes);
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(store_->DropDamaged(1), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 2);
  EXPECT_THAT(States(), ElementsAre(SlotState::kKept, SlotState::kFree, SlotState::kKept, SlotState::kKept,
                                    SlotState::kKept, SlotState::kKept, SlotState::kFree));
  EXPECT_THAT(*store_->Owed("has it"), ElementsAre(1, 6));
  EXPECT_THAT(*store_->Owed("has not"), IsEmpty());
  // The run dies here: the next one knows.
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(States()[1], SlotState::kFree);
  auto rows = store_->Scan(1);
  auto flight = std::make_unique<Flight>();
  const auto row = (*rows)->Next();
  Add(store_->Resume(**row, HashText("b")), {int64_t{1}, "b"}, flight.get());
  Send(flight.get());
  ASSERT_THAT(flight->Answer(), IsOk());
  EXPECT_EQ(flight->VectorOfRow(0), VectorOf("b"));
  EXPECT_EQ(KeepRows({{int64_t{8}, "b"}})->VectorOfRow(0), VectorOf("b"));
  EXPECT_EQ(KeepRows({{int64_t{9}, "c"}})->VectorOfRow(0), VectorOf("c"));
  store_.reset();
  EXPECT_THAT(Damage(), IsEmpty());
}

TEST_F(KeptVectorsTest, OnlyWhatWillBeServedIsLookedAt) {
  MakeJob();
  FlipBit(1 * kSlotBytes + 2);
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(store_->DropDamaged(4), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 0);
  ASSERT_THAT(store_->DropDamaged(1), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 1);
}

// A new row has the text of a slot that nobody has looked at: it does not get the damaged vector, and the next run buys
// it.
TEST_F(KeptVectorsTest, ANewRowDoesNotGetADamagedVector) {
  MakeJob();
  FlipBit(2 * kSlotBytes + 1);
  ASSERT_THAT(Open(), IsOk());
  std::unique_ptr<Flight> flight = Enrol({{int64_t{7}, "c"}});
  Send(flight.get());
  EXPECT_THAT(flight->Answer(),
              HasError(absl::StatusCode::kUnavailable, AllOf(HasSubstr("damaged"), HasSubstr("slot 2"))));
  EXPECT_EQ(flight->VectorOfRow(0), std::vector<float>());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(States()[2], SlotState::kFree);
  EXPECT_EQ(KeepRows({{int64_t{8}, "c"}})->VectorOfRow(0), VectorOf("c"));
}

// A job of the version before goes on in its format: a whole run of slots is lost with one of them.
TEST_F(KeptVectorsTest, InFormat1TheWholeRunIsBoughtAgain) {
  MakeJob();
  MakeFormat1();
  EXPECT_THAT(Damage(), IsEmpty());
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(KeepRows({{int64_t{7}, "h"}, {int64_t{8}, "c"}})->VectorOfRow(1), VectorOf("c"));
  store_.reset();
  EXPECT_THAT(Damage(), IsEmpty());
  FlipBit(2 * kSlotBytes + 1);
  EXPECT_THAT(Damage(), ElementsAre(SlotRange{0, 4}));
  ASSERT_THAT(Open(), IsOk());
  ASSERT_THAT(store_->DropDamaged(0), IsOk());
  EXPECT_EQ(store_->recovery().damaged_texts, 4);
  const std::vector<SlotState> states = States();
  EXPECT_EQ(std::count(states.begin(), states.end(), SlotState::kFree), 5) << "rows 0 to 3, and row 8 with c";
  EXPECT_EQ(KeepRows({{int64_t{9}, "a"}})->VectorOfRow(0), VectorOf("a"));
  store_.reset();
  FlipBit(4 * kSlotBytes + 1);
  ASSERT_THAT(Open(), IsOk());
  std::unique_ptr<Flight> flight = Enrol({{int64_t{10}, "f"}});
  Send(flight.get());
  EXPECT_THAT(flight->Answer(), HasError(absl::StatusCode::kUnavailable, HasSubstr("damaged")));
}

}  // namespace
}  // namespace reembed
