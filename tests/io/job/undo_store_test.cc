// SPDX-License-Identifier: Apache-2.0
#include "io/job/undo_store.h"

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "io/job/job_rollback.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/io/job/job_fixture.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A row as a test writes it down.
struct Row {
  int64_t ordinal;
  Key key;
  std::optional<std::string> content;
};

absl::Status Log(UndoLog* log, const std::vector<Row>& rows, const absl::Status& at_the_end = absl::OkStatus()) {
  size_t next = 0;
  return log->Log([&]() -> absl::StatusOr<std::optional<OldRow>> {
    if (next == rows.size()) {
      if (!at_the_end.ok()) return at_the_end;
      return std::nullopt;
    }
    const Row& row = rows[next++];
    OldRow old{.ordinal = row.ordinal, .key = ViewOf(row.key)};
    if (row.content.has_value()) old.content = *row.content;
    return old;
  });
}

class UndoStoreTest : public JobTest {
 protected:
  void SetUp() override { ASSERT_THAT(Open(), IsOk()); }

  // Everything that is kept of the target, as text: key, content.
  std::vector<std::string> Kept(const std::string& target) {
    store_.reset();
    const auto rollback = JobRollback::Begin(dir_);
    EXPECT_THAT(rollback, IsOk());
    std::vector<std::string> rows;
    if (!rollback.ok()) return rows;
    for (const UndoTarget& kept : (*rollback)->targets()) {
      if (kept.name != target) continue;
      const auto reader = (*rollback)->Read(kept, &report_);
      EXPECT_THAT(reader, IsOk());
      for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) {
        rows.push_back(absl::StrCat(KeyJson((*row)->key), " ", (*row)->content.value_or("absent")));
      }
      EXPECT_FALSE((*reader)->Next()->has_value()) << "after the end it began again";
      EXPECT_EQ(static_cast<int64_t>(rows.size()), kept.rows);
    }
    return rows;
  }

  void Execute(const std::string& file, const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((dir_ + "/" + file).c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  RollbackReport report_;  // of what was read
};

TEST_F(UndoStoreTest, TheFirstContentOfAKeyStays) {
  UndoStore undo(dir_);
  const auto log = undo.LogOf("a");
  ASSERT_THAT(Log(log.get(), {{0, int64_t{7}, "first"}, {1, "7", "text key"}, {2, "gone", std::nullopt}}), IsOk());
  ASSERT_THAT(Log(log.get(), {{0, int64_t{7}, "second"}, {2, "gone", "came later"}, {3, int64_t{8}, ""}}), IsOk());
  EXPECT_THAT(Kept("a"), ElementsAre("7 first", "\"7\" text key", "\"gone\" absent", "8 "));
}

TEST_F(UndoStoreTest, TargetsAreApartAndTheNewestComesFirst) {
  UndoStore undo(dir_);
  const auto a = undo.LogOf("a"), b = undo.LogOf("b");
  ASSERT_THAT(Log(a.get(), {{0, int64_t{1}, "of a"}}), IsOk());
  ASSERT_THAT(Log(b.get(), {{0, int64_t{1}, "of b"}}), IsOk());
  EXPECT_THAT(Kept("a"), ElementsAre("1 of a"));
  EXPECT_THAT(Kept("b"), ElementsAre("1 of b"));
  const auto rollback = JobRollback::Begin(dir_);
  ASSERT_THAT(rollback, IsOk());
  ASSERT_EQ((*rollback)->targets().size(), 2u);
  EXPECT_EQ((*rollback)->targets()[0].name, "b");
}

TEST_F(UndoStoreTest, SeveralSinksKeepAtATime) {
  UndoStore undo(dir_);
  constexpr int kSinks = 4, kCalls = 50;
  {
    std::vector<std::jthread> sinks;
    for (int sink = 0; sink < kSinks; ++sink) {
      sinks.emplace_back([&undo, sink] {
        const auto log = undo.LogOf(absl::StrCat(sink));
        for (int64_t call = 0; call < kCalls; ++call) {
          EXPECT_THAT(Log(log.get(), {{call, call, absl::StrCat(sink)}}), IsOk());
        }
      });
    }
  }
  for (int sink = 0; sink < kSinks; ++sink) EXPECT_EQ(Kept(absl::StrCat(sink)).size(), size_t{kCalls});
}

TEST_F(UndoStoreTest, WhatTheSinkCannotReadIsNotKept) {
  UndoStore undo(dir_);
  const auto log = undo.LogOf("a");
  ASSERT_THAT(Log(log.get(), {{0, int64_t{1}, "kept"}}), IsOk());
  EXPECT_THAT(Log(log.get(), {{1, int64_t{2}, "not kept"}}, absl::UnavailableError("the table is away")),
              HasError(absl::StatusCode::kUnavailable, "the table is away"));
  EXPECT_THAT(Kept("a"), ElementsAre("1 kept"));
}

TEST_F(UndoStoreTest, AFullDiskIsToldBeforeAnythingIsOverwritten) {
  UndoStore undo(dir_);
  const auto log = undo.LogOf("a");
  ASSERT_THAT(Log(log.get(), {{0, int64_t{1}, "kept"}}), IsOk());
  {
    const FileSizeLimit limit(1'000'000);
    EXPECT_THAT(
        Log(log.get(), {{1, int64_t{2}, std::string(2'000'000, 'x')}}),
        HasError(absl::StatusCode::kResourceExhausted, AllOf(HasSubstr("undo.db"), HasSubstr("not in the undo log"))));
  }
  EXPECT_THAT(Log(log.get(), {{2, int64_t{3}, "room again"}}), IsOk());
  EXPECT_THAT(Kept("a"), ElementsAre("1 kept", "3 room again"));
}

TEST_F(UndoStoreTest, WhatWasKeptSurvivesAKill) {
  store_.reset();
  const pid_t child = fork();
  if (child == 0) {
    UndoStore undo(dir_);
    const auto log = undo.LogOf("a");
    if (Log(log.get(), {{0, int64_t{1}, "before"}}).ok()) raise(SIGKILL);
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_THAT(Kept("a"), ElementsAre("1 before"));
}

TEST_F(UndoStoreTest, NotesStay) {
  UndoStore undo(dir_);
  const auto log = undo.LogOf("a");
  ASSERT_THAT(log->LogNote("column", "added"), IsOk());
  ASSERT_THAT(log->LogNote("column", "something else"), IsOk());
  store_.reset();
  const auto rollback = JobRollback::Begin(dir_);
  ASSERT_THAT(rollback, IsOk());
  const auto reader = (*rollback)->Read((*rollback)->targets()[0], &report_);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(*(*reader)->FindNote("column"), "added");
  EXPECT_EQ(*(*reader)->FindNote("column"), "added");
  EXPECT_EQ(*(*reader)->FindNote("other"), std::nullopt);
}

TEST_F(UndoStoreTest, ARollbackKnowsTheVectorsOfTheJob) {
  KeepRows({{int64_t{10}, "a"}, {int64_t{11}, "b"}});
  {
    UndoStore undo(dir_);
    ASSERT_THAT(Log(undo.LogOf("a").get(), {{1, int64_t{11}, "old"}}), IsOk());
  }
  store_.reset();
  const auto rollback = JobRollback::Begin(dir_);
  ASSERT_THAT(rollback, IsOk());
  const auto reader = (*rollback)->Read((*rollback)->targets()[0], &report_);
  ASSERT_THAT(reader, IsOk());
  const auto vector = (*reader)->WrittenVector(1);
  ASSERT_THAT(vector, IsOk());
  ASSERT_TRUE(vector->has_value());
  EXPECT_EQ(std::vector<float>((*vector)->begin(), (*vector)->end()), VectorOf("b"));
}

TEST_F(UndoStoreTest, AfterARollbackTheNextRunBeginsAgain) {
  KeepRows({{int64_t{10}, "a"}, {int64_t{11}, "b"}});
  for (const char* const sink : {"rolled", "file"}) {
    ASSERT_THAT(store_->Position(sink), IsOk());
    store_->SavePosition(sink, 2);
  }
  store_->Refuse("rolled", {{RefusedRow{0, absl::NotFoundError("gone")}}});
  ASSERT_THAT(store_->Sync(), IsOk());
  {
    UndoStore undo(dir_);
    ASSERT_THAT(Log(undo.LogOf("rolled").get(), {{0, int64_t{10}, "old"}}), IsOk());
  }
  EXPECT_THAT(JobRollback::Begin(dir_), HasError(absl::StatusCode::kAborted, HasSubstr("in use")));
  store_.reset();
  {
    const auto rollback = JobRollback::Begin(dir_);
    ASSERT_THAT(rollback, IsOk());
    EXPECT_THAT(Open(), HasError(absl::StatusCode::kAborted, HasSubstr("in use")));
    ASSERT_THAT((*rollback)->Finish(absl::FromUnixSeconds(1'000'000)), IsOk());
  }
  ASSERT_THAT(Open(), IsOk());
  EXPECT_EQ(store_->Stats()->rolled_back, absl::FromUnixSeconds(1'000'000));
  EXPECT_THAT(*store_->ListRejects(10), IsEmpty());
  EXPECT_EQ(store_->Position("rolled")->position, 0);
  EXPECT_EQ(store_->Position("file")->position, 2);  // nothing of it was put back
  EXPECT_GT(UndoBytes(dir_), 0);
  ASSERT_THAT(store_->ForgetRollback(), IsOk());
  EXPECT_EQ(store_->Stats()->rolled_back, std::nullopt);
  EXPECT_EQ(UndoBytes(dir_), 0);
  EXPECT_EQ(KeepRows({{int64_t{12}, "b"}})->VectorOfRow(0), VectorOf("b")) << "its vectors are still there";
}

// Whatever is damaged of a row that was kept, it is passed over and named; the others are read.
TEST_F(UndoStoreTest, ADamagedRowIsNamedAndNotPutBack) {
  KeepRows({{int64_t{0}, "a"}, {int64_t{1}, "b"}, {std::string("k"), "c"}});
  {
    UndoStore undo(dir_);
    const auto log = undo.LogOf("a");
    ASSERT_THAT(Log(log.get(), {{0, int64_t{0}, "old"}, {1, int64_t{1}, std::nullopt}, {2, std::string("k"), "x"}}),
                IsOk());
    ASSERT_THAT(log->LogNote("column", "v"), IsOk());
  }
  store_.reset();
  EXPECT_EQ(CheckUndo(dir_)->rows, 3);
  EXPECT_EQ(CheckUndo(dir_)->damaged, 0);
  std::filesystem::copy_file(dir_ + "/undo.db", dir_ + "/sound");
  for (const std::string sql :
       {"UPDATE old_rows SET content = x'6f6c65' WHERE ordinal = 0",
        "UPDATE old_rows SET content = x'00' WHERE ordinal = 1", "UPDATE old_rows SET ordinal = 5 WHERE ordinal = 0",
        "UPDATE old_rows SET key = 7 WHERE ordinal = 1", "UPDATE old_rows SET key = '1' WHERE ordinal = 1",
        "UPDATE old_rows SET key = 'l' WHERE ordinal = 2", "UPDATE old_rows SET content = NULL WHERE ordinal = 2",
        "UPDATE old_rows SET sum = sum + 1 WHERE ordinal = 2"}) {
    SCOPED_TRACE(sql);
    std::filesystem::copy_file(dir_ + "/sound", dir_ + "/undo.db", std::filesystem::copy_options::overwrite_existing);
    Execute("undo.db", sql);
    const auto check = CheckUndo(dir_);
    ASSERT_THAT(check, IsOk());
    EXPECT_EQ(check->damaged, 1);
    EXPECT_THAT(check->shown, ElementsAre(AllOf(HasSubstr("undo.db: a: what was kept of row "), HasSubstr("damaged"))));
    const auto rollback = JobRollback::Begin(dir_);
    ASSERT_THAT(rollback, IsOk());
    report_ = {};
    const auto reader = (*rollback)->Read((*rollback)->targets()[0], &report_);
    ASSERT_THAT(reader, IsOk());
    int sound = 0;
    for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) ++sound;
    EXPECT_EQ(sound, 2);
    EXPECT_EQ(report_.rows_left, 1);
    EXPECT_THAT(*(*reader)->FindNote("column"), testing::Optional(std::string("v")));
  }
  std::filesystem::copy_file(dir_ + "/sound", dir_ + "/undo.db", std::filesystem::copy_options::overwrite_existing);
  Execute("undo.db", "UPDATE notes SET value = 'w'");
  EXPECT_EQ(CheckUndo(dir_)->damaged, 1);
  const auto rollback = JobRollback::Begin(dir_);
  ASSERT_THAT(rollback, IsOk());
  const auto reader = (*rollback)->Read((*rollback)->targets()[0], &report_);
  EXPECT_THAT((*reader)->FindNote("column"), HasError(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
}

// Of a row whose written vector is damaged nobody knows whether somebody has changed it since.
TEST_F(UndoStoreTest, ARowWhoseWrittenVectorIsDamagedIsLeft) {
  KeepRows({{int64_t{10}, "a"}, {int64_t{11}, "b"}});
  {
    UndoStore undo(dir_);
    ASSERT_THAT(Log(undo.LogOf("a").get(), {{0, int64_t{10}, "old"}, {1, int64_t{11}, "old"}}), IsOk());
  }
  store_.reset();
  std::fstream file(dir_ + "/vectors.f32", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(kDim * sizeof(float) + 3);
  file.put('\x7e');
  file.close();
  const auto rollback = JobRollback::Begin(dir_);
  ASSERT_THAT(rollback, IsOk());
  const auto reader = (*rollback)->Read((*rollback)->targets()[0], &report_);
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->ordinal, 0);
  EXPECT_FALSE((*reader)->Next()->has_value());
  ASSERT_EQ(report_.left.size(), 1u);
  EXPECT_EQ(report_.left[0].key, Key(int64_t{11}));
}

// What an older version has kept has no sums, and is read and added to as before.
TEST_F(UndoStoreTest, AnOlderFileGoesOnAsItIs) {
  {
    UndoStore undo(dir_);
    ASSERT_THAT(Log(undo.LogOf("a").get(), {{0, int64_t{1}, "old"}}), IsOk());
  }
  Execute("undo.db",
          "ALTER TABLE old_rows DROP COLUMN sum; ALTER TABLE notes DROP COLUMN sum; PRAGMA user_version = 1");
  {
    UndoStore undo(dir_);
    const auto log = undo.LogOf("a");
    ASSERT_THAT(Log(log.get(), {{1, int64_t{2}, "older"}}), IsOk());
    ASSERT_THAT(log->LogNote("n", "v"), IsOk());
  }
  EXPECT_THAT(Kept("a"), ElementsAre("1 old", "2 older"));
  EXPECT_EQ(CheckUndo(dir_)->damaged, 0);
}

TEST_F(UndoStoreTest, WithoutAnythingKeptThereIsNothingToPutBack) {
  store_.reset();
  EXPECT_THAT(JobRollback::Begin(dir_), HasError(absl::StatusCode::kNotFound, HasSubstr("nothing to roll back")));
  EXPECT_THAT(JobRollback::Begin(root_ + "/other"), HasError(absl::StatusCode::kNotFound, HasSubstr("no job")));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/other"));
}

}  // namespace
}  // namespace reembed
