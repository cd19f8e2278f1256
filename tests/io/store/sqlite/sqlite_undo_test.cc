// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_undo.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Model kModel{.name = "new-model", .dim = 3};
constexpr char kTable[] = "table=m&vector=v&model_column=model&dim_column=n&updated_column=u";

class SqliteUndoTest : public ::testing::Test {
 protected:
  // Old cells of every type, also such as no system writes.
  void MakeTable() {
    file_.Run(
        "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v, model TEXT, n INTEGER, u TEXT, other BLOB);"
        "INSERT INTO m VALUES (1, 'a', x'0000803f0000004000004040', 'old-model', 3, '2020-01-01', x'01'),"
        " (2, 'b', NULL, NULL, NULL, NULL, NULL), (3, 'c', '', '', 0, '', ''), (4, 'd', '[]', 'm', NULL, 'x', 1.5),"
        " (5, 'e', 17, 'm', -9223372036854775808, 'x', 1), (6, 'f', 0.1, 'm', 9223372036854775807, 'x', 1),"
        " (7, 'g', CAST(x'610062' AS TEXT), CAST(x'ff' AS TEXT), 2.5, 'x', 1), (8, 'h', x'', 'm', 1, 'x', 1),"
        " (9, 'not of the job', x'01', 'm', 1, 'x', 1)");
  }

  std::string Dump() {
    return absl::StrCat(file_.Ask("SELECT sql FROM sqlite_schema ORDER BY name"), "\n",
                        file_.Ask("SELECT *, typeof(v), typeof(model), typeof(n), typeof(u) FROM m"));
  }

  // Keys 1 to 8 with ordinals one below.
  static VectorRows JobRows(int rows = 8) {
    VectorRows numbered(kModel.dim);
    for (int i = 0; i < rows; ++i) numbered.Add(i, int64_t{i + 1});
    return numbered;
  }

  absl::Status Write(const std::string& location, const VectorRows& rows) {
    auto sink = MakeSqliteSink(file_.At(location), kModel);
    if (!sink.ok()) return sink.status();
    if (absl::Status opened = PrepareAndOpen(sink->get(), {.model = kModel, .undo = &undo_}, {}).status(); !opened.ok())
      return opened;
    const Batch* batch = rows.batch();
    std::vector<RefusedRow> refused;
    return (*sink)->Write({&batch, 1}, &refused);
  }

  RollbackReport RollBack(const std::string& location = kTable, int known_dim = kModel.dim) {
    const auto reader = undo_.Read(known_dim);
    auto report = RollBackSqlite(file_.At(location), reader.get());
    EXPECT_THAT(report, IsOk());
    return report.ok() ? *std::move(report) : RollbackReport{};
  }

  SqliteFile file_;
  MemoryUndo undo_;
};

TEST_F(SqliteUndoTest, EveryCellIsAsItWas) {
  MakeTable();
  const std::string before = Dump();
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  EXPECT_EQ(file_.Ask("SELECT count(*) FROM m WHERE model = 'new-model' AND n = 3 AND length(v) = 12"), "8");
  const RollbackReport report = RollBack();
  EXPECT_EQ(report.rows_restored, 8);
  EXPECT_EQ(report.rows_left, 0);
  EXPECT_THAT(report.notes, IsEmpty());
  EXPECT_EQ(Dump(), before);
  const RollbackReport again = RollBack();
  EXPECT_EQ(again.rows_restored, 0);
  EXPECT_EQ(again.rows_unchanged, 8);
}

TEST_F(SqliteUndoTest, WhatIsServedAgainIsNotKeptAgain) {
  MakeTable();
  const std::string before = Dump();
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  EXPECT_EQ(undo_.rows(), 8u);
  RollBack();
  EXPECT_EQ(Dump(), before);
}

TEST_F(SqliteUndoTest, NothingIsOverwrittenThatIsNotKept) {
  MakeTable();
  const std::string before = Dump();
  undo_.Fail(absl::ResourceExhaustedError("no room for undo"));
  EXPECT_THAT(Write(kTable, JobRows()), HasError(absl::StatusCode::kResourceExhausted, "no room for undo"));
  EXPECT_EQ(Dump(), before);
}

TEST_F(SqliteUndoTest, RowsThatSomebodyChangedStay) {
  MakeTable();
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  file_.Run(
      "UPDATE m SET v = x'00000000000000000000803f' WHERE id = 2; UPDATE m SET v = NULL WHERE id = 1;"
      "UPDATE m SET c = 'edited', model = 'renamed' WHERE id = 3; DELETE FROM m WHERE id = 4");
  const RollbackReport report = RollBack();
  EXPECT_EQ(report.rows_restored, 5);
  EXPECT_EQ(report.rows_gone, 1);
  EXPECT_EQ(report.rows_left, 2);
  ASSERT_EQ(report.left.size(), 2u);
  EXPECT_EQ(report.left[0].key, Key(int64_t{1}));
  EXPECT_THAT(report.left[0].reason, HasSubstr("not the one that the job wrote"));
  EXPECT_EQ(file_.Ask("SELECT v FROM m WHERE id IN (1, 2)"), "NULL\nx'00000000000000000000803f'");
  EXPECT_EQ(file_.Ask("SELECT c, v, model FROM m WHERE id = 3"), "'edited'|''|''");
}

TEST_F(SqliteUndoTest, WithoutKeptVectorsRowsArePutBackAllTheSame) {
  MakeTable();
  const std::string before = Dump();
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  EXPECT_EQ(RollBack(kTable, 0).rows_restored, 8);
  EXPECT_EQ(Dump(), before);
}

TEST_F(SqliteUndoTest, ColumnsThatTheJobMadeAreTakenAway) {
  file_.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, n INTEGER); INSERT INTO m VALUES (1, 'a', 5), (2, 'b', 6)");
  const auto dump = [&] { return file_.Ask("SELECT sql FROM sqlite_schema") + file_.Ask("SELECT * FROM m"); };
  const std::string before = dump();
  ASSERT_THAT(Write(kTable, JobRows(2)), IsOk());
  const RollbackReport report = RollBack();
  EXPECT_EQ(report.rows_restored, 2);
  EXPECT_THAT(report.notes, Contains(HasSubstr("took away the column v")));
  EXPECT_EQ(dump(), before);
  const RollbackReport again = RollBack();
  EXPECT_EQ(again.rows_unchanged, 2);
  EXPECT_EQ(again.rows_left, 0);
}

TEST_F(SqliteUndoTest, AColumnInWhichThereIsSomethingStays) {
  file_.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO m VALUES (1, 'a'), (2, 'b'), (3, 'c')");
  ASSERT_THAT(Write("table=m&vector=v", JobRows(2)), IsOk());
  file_.Run("UPDATE m SET v = x'01' WHERE id = 3");
  EXPECT_THAT(RollBack("table=m&vector=v").notes, ElementsAre(HasSubstr("column v stays")));
  EXPECT_EQ(file_.Ask("SELECT v FROM m"), "NULL\nNULL\nx'01'");
}

TEST_F(SqliteUndoTest, AColumnThatSomebodyDroppedLeavesTheRows) {
  MakeTable();
  ASSERT_THAT(Write(kTable, JobRows()), IsOk());
  file_.Run("ALTER TABLE m DROP COLUMN n");
  const RollbackReport report = RollBack();
  EXPECT_EQ(report.rows_left, 8);
  EXPECT_THAT(report.left[0].reason, HasSubstr("column n is gone"));
}

TEST_F(SqliteUndoTest, RowsThatTheJobAddedGoIfTheyHoldWhatItWrote) {
  const std::string location = "table=out&key=id&vector=v&mode=upsert";
  file_.Run("CREATE TABLE out (id TEXT PRIMARY KEY, v BLOB, model TEXT); INSERT INTO out VALUES ('b', x'01', 'old')");
  VectorRows rows(kModel.dim);
  for (const char* const key : {"a", "b", "c", "d"}) rows.Add(static_cast<int64_t>(key[0]), std::string(key));
  ASSERT_THAT(Write(location, rows), IsOk());
  file_.Run("UPDATE out SET v = x'02' WHERE id = 'c'; DELETE FROM out WHERE id = 'd'");
  const RollbackReport report = RollBack(location);
  EXPECT_EQ(report.rows_restored, 2);
  EXPECT_EQ(report.rows_unchanged, 1);
  EXPECT_EQ(report.rows_left, 1);
  EXPECT_EQ(file_.Ask("SELECT * FROM out ORDER BY id"), "'b'|x'01'|'old'\n'c'|x'02'|'new-model'");
  // Nobody knows what was written: then nothing goes.
  EXPECT_EQ(RollBack(location, 0).rows_left, 1);
}

TEST_F(SqliteUndoTest, ATableThatTheJobMadeGoes) {
  const std::string location = "table=out&mode=upsert";
  file_.Run("CREATE TABLE other (x)");
  ASSERT_THAT(Write(location, JobRows(3)), IsOk());
  const RollbackReport report = RollBack(location);
  EXPECT_EQ(report.rows_restored, 3);
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("took away the table out")));
  EXPECT_EQ(file_.Ask("SELECT name FROM sqlite_schema"), "'other'");
  EXPECT_EQ(RollBack(location).rows_unchanged, 3);
}

TEST_F(SqliteUndoTest, ManyRowsWithKeysOfText) {
  constexpr int kRows = 1000;
  file_.Run(
      absl::StrCat("CREATE TABLE m (id TEXT PRIMARY KEY COLLATE NOCASE, v TEXT);"
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                   kRows,
                   ")"
                   " INSERT INTO m SELECT 'Key' || i, nullif('[' || i || '.0]', '[7.0]') FROM n"));
  const std::string before = file_.Ask("SELECT * FROM m");
  VectorRows rows(kModel.dim);
  // Some keys are gone by now, at the ends of pages too.
  for (int i = 0; i < kRows + 30; ++i) rows.Add(i, absl::StrCat(i % 300 == 255 ? "gone" : "key", i));
  const std::string location = "table=m&key=id&vector=v&encoding=json-python";
  ASSERT_THAT(Write(location, rows), IsOk());
  EXPECT_NE(file_.Ask("SELECT * FROM m"), before);
  EXPECT_EQ(RollBack(location).rows_restored, static_cast<int64_t>(undo_.rows()));
  EXPECT_EQ(file_.Ask("SELECT * FROM m"), before);
}

TEST_F(SqliteUndoTest, RowsWithoutAPrimaryKeyGoByRowid) {
  file_.Run("CREATE TABLE m (id TEXT, v BLOB); INSERT INTO m VALUES (NULL, x'01'), (NULL, x'02')");
  const std::string location = "table=m&key=rowid&vector=v";
  ASSERT_THAT(Write(location, JobRows(2)), IsOk());
  RollBack(location);
  EXPECT_EQ(file_.Ask("SELECT * FROM m"), "NULL|x'01'\nNULL|x'02'");
}

TEST_F(SqliteUndoTest, ARowThatATriggerRefusesIsLeft) {
  for (const char* const how : {"ABORT", "ROLLBACK"}) {
    SCOPED_TRACE(how);
    file_.Run("DROP TABLE IF EXISTS m");
    undo_ = MemoryUndo();
    MakeTable();
    ASSERT_THAT(Write(kTable, JobRows()), IsOk());
    file_.Run(absl::StrCat("CREATE TRIGGER t BEFORE UPDATE ON m WHEN new.id = 5 BEGIN SELECT RAISE(", how,
                           ", 'row 5 is closed'); END"));
    const RollbackReport report = RollBack();
    EXPECT_EQ(report.rows_restored, 7);
    ASSERT_EQ(report.left.size(), 1u);
    EXPECT_EQ(report.left[0].reason, "row 5 is closed");
    EXPECT_EQ(file_.Ask("SELECT v FROM m WHERE id IN (4, 6)"), "'[]'\n0.1");
  }
}

TEST(CellsTest, DamagedCellsAreAnError) {
  std::string content;
  AppendCell({.type = SqliteType::kText, .bytes = "text"}, &content);
  AppendCell({}, &content);
  ASSERT_THAT(ParseCells(content), IsOk());
  EXPECT_THAT(ParseCells(content.substr(0, content.size() - 2)), HasError(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(ParseCells("\x63"), HasError(absl::StatusCode::kDataLoss, _));
}

}  // namespace
}  // namespace reembed
