// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import_undo.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int kDim = 4;

class PostgresImportUndoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run("DROP TABLE IF EXISTS others, m, reembed_ids CASCADE");
    file_.Run(
        "CREATE TABLE notes (k TEXT PRIMARY KEY NOT NULL, title TEXT); WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL "
        "SELECT i + 1 FROM i WHERE i < 1400) INSERT INTO notes SELECT 'k' || i, 'title ' || i FROM i");
  }

  void MakeTable(const std::string& key = "serial PRIMARY KEY", const std::string& vector = "vector(4)") {
    server_.Run(absl::StrCat("CREATE TABLE m (id ", key, ", title text, stamp timestamptz DEFAULT now(), size float8 ",
                             "DEFAULT 0.1, v ", vector, ")"));
  }

  Location Target(const std::string& more = "") const {
    Location location = server_.At("table=m&vector=v&mode=insert&origin=test&fields=title" + more);
    location.parameters["set.title"] = "r->>'title'";
    return location;
  }

  static VectorRows Rows(int from, int to, int64_t shift = 0) {
    VectorRows rows(kDim);
    for (int i = from; i <= to; ++i) rows.Add(i + shift, absl::StrCat("k", i));
    return rows;
  }

  absl::Status Write(const Location& target, const VectorRows& rows, UndoLog* undo, size_t refusals = 0) {
    const Model model{.name = "new model", .dim = kDim};
    const auto sink =
        MakePostgresImportSink(target, model, file_.At("table=notes&text=title"), {.patience = absl::Seconds(10)});
    if (!sink.ok()) return sink.status();
    const absl::StatusOr<int64_t> from = PrepareAndOpen(sink->get(), {.model = model, .undo = undo}, {});
    if (!from.ok()) return from.status();
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    if (absl::Status status = (*sink)->Write({&batch, 1}, &refused); !status.ok()) return status;
    EXPECT_EQ(refused.size(), refusals);
    return CompleteAndPublish(sink->get(), {.undo = undo});
  }

  absl::StatusOr<RollbackReport> RollBack(const Location& target, const MemoryUndo& undo, int dim = kDim) {
    return RollBackPostgresImport(target, undo.Read(dim).get(), {.patience = absl::Seconds(10)});
  }

  static std::vector<std::string> Left(const RollbackReport& report) {
    std::vector<std::string> left;
    for (const RollbackReport::Row& row : report.left) {
      left.push_back(absl::StrCat(KeyText(ViewOf(row.key)), " ", row.reason));
    }
    return left;
  }

  std::string Dump() { return server_.Ask("SELECT m::text FROM m ORDER BY 1"); }

  PostgresServer& server_ = TestPostgres();
  SqliteFile file_;
};

TEST_F(PostgresImportUndoTest, RowsThatWereBroughtGoWithTheirIds) {
  for (const std::string key : {"serial PRIMARY KEY", "uuid PRIMARY KEY", "text PRIMARY KEY"}) {
    for (const std::string vector : {"vector(4)", "halfvec(4)", "jsonb", "bytea"}) {
      SCOPED_TRACE(absl::StrCat(key, " ", vector));
      server_.Run("DROP TABLE IF EXISTS m, reembed_ids");
      MakeTable(key, vector);
      server_.Run(absl::StrCat("INSERT INTO m (id, title) VALUES (", key[0] == 's' ? "DEFAULT" : "gen_random_uuid()",
                               ", 'of its own')"));
      const std::string before = Dump();
      MemoryUndo undo;
      // Twice, as after a crash.
      ASSERT_THAT(Write(Target(), Rows(1, 700), &undo), IsOk());
      ASSERT_THAT(Write(Target(), Rows(1, 1400), &undo), IsOk());
      EXPECT_EQ(server_.Ask("SELECT count(*) FROM m"), "1401");
      auto report = RollBack(Target(), undo);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->rows_restored, 1400);
      EXPECT_THAT(report->left, IsEmpty());
      EXPECT_THAT(report->notes, ElementsAre(HasSubstr("took away the table reembed_ids")));
      EXPECT_EQ(Dump(), before);
      EXPECT_EQ(server_.Ask("SELECT to_regclass('reembed_ids')"), "NULL");
      report = RollBack(Target(), undo);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(report->rows_unchanged, 1400);
      EXPECT_EQ(report->rows_restored, 0);
      EXPECT_EQ(Dump(), before);
    }
  }
}

TEST_F(PostgresImportUndoTest, WhatSomebodyChangedOrRefersToStaysAndIsReported) {
  MakeTable();
  server_.Run("CREATE TABLE others (m int REFERENCES m (id) ON DELETE CASCADE, note text)");
  MemoryUndo undo;
  ASSERT_THAT(Write(Target(), Rows(1, 10), &undo), IsOk());
  server_.Run(
      "UPDATE m SET title = 'mine now' WHERE title = 'title 2'; UPDATE m SET stamp = stamp + interval '1 us' WHERE "
      "title = 'title 3'; UPDATE m SET v = '[1,1,1,1]' WHERE title = 'title 4'; UPDATE m SET v = NULL WHERE title = "
      "'title 5'; DELETE FROM m WHERE title = 'title 6'; INSERT INTO others SELECT id, 'x' FROM m WHERE title = "
      "'title 7'; ALTER TABLE m ADD later text; UPDATE m SET later = 'y' WHERE title = 'title 8'");
  const std::string staying = "SELECT title, later, v FROM m ORDER BY id";
  const std::string others = server_.Ask("SELECT others::text FROM others");
  auto report = RollBack(Target(), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 3);
  EXPECT_EQ(report->rows_gone, 1);
  EXPECT_EQ(report->rows_left, 6);
  EXPECT_THAT(Left(*report),
              UnorderedElementsAre(AllOf(HasSubstr("k2 "), HasSubstr("changed it since")),
                                   AllOf(HasSubstr("k3 "), HasSubstr("changed it since")),
                                   AllOf(HasSubstr("k4 "), HasSubstr("not the one that the job wrote")),
                                   AllOf(HasSubstr("k5 "), HasSubstr("not the one that the job wrote")),
                                   AllOf(HasSubstr("k7 "), HasSubstr("rows of other tables refer to it")),
                                   AllOf(HasSubstr("k8 "), HasSubstr("changed it since"))));
  EXPECT_EQ(server_.Ask(staying),
            "mine now|NULL|[2,2.5,2,2.5]\ntitle 3|NULL|[3,3.5,3,3.5]\ntitle 4|NULL|[1,1,1,1]\n"
            "title 5|NULL|NULL\ntitle 7|NULL|[7,7.5,7,7.5]\ntitle 8|y|[8,8.5,8,8.5]");
  EXPECT_EQ(server_.Ask("SELECT others::text FROM others"), others);
  EXPECT_EQ(server_.Ask("SELECT string_agg(old_id, ' ' ORDER BY old_id) FROM reembed_ids"), "k2 k3 k4 k5 k7 k8")
      << "those that stay keep their ids, so that no run brings them twice";
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("reembed_ids stays"), HasSubstr("something in it"))));
  server_.Run("DROP TABLE others");
  report = RollBack(Target(), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 1);
  EXPECT_EQ(report->rows_unchanged, 4);
  EXPECT_EQ(report->rows_left, 5);
  // Nobody knows what was written: no row is removed then.
  server_.Run("DELETE FROM m");
  ASSERT_THAT(Write(Target(), Rows(11, 12), &undo), IsOk());
  report = RollBack(Target(), undo, 0);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_left, 2);
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM m"), "2");
}

TEST_F(PostgresImportUndoTest, VectorsOfAnEarlierJobComeBack) {
  MakeTable();
  MemoryUndo first, second;
  ASSERT_THAT(Write(Target(), Rows(1, 9), &first), IsOk());
  server_.Run("UPDATE m SET v = NULL WHERE title = 'title 3'; DELETE FROM m WHERE title = 'title 4'");
  const std::string before = Dump(), ids = server_.Ask("SELECT reembed_ids::text FROM reembed_ids ORDER BY 1");
  ASSERT_THAT(Write(Target(), Rows(1, 12, 100), &second, 1), IsOk());
  EXPECT_NE(Dump(), before);
  server_.Run("UPDATE m SET v = '[1,1,1,1]' WHERE title = 'title 5'");
  const VectorRows of_second = Rows(1, 12, 100);
  const auto report = RollBack(Target(), second);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 10) << "7 vectors, 3 rows";
  EXPECT_THAT(Left(*report), ElementsAre(HasSubstr("k5 its vector is not the one")));
  server_.Run("UPDATE m SET v = '[5,5.5,5,5.5]' WHERE title = 'title 5'");
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(server_.Ask("SELECT reembed_ids::text FROM reembed_ids ORDER BY 1"), ids);
  // The first job is as it was: what it brought goes.
  server_.Run("UPDATE m SET v = '[3,3.5,3,3.5]' WHERE title = 'title 3'");
  const auto all = RollBack(Target(), first);
  ASSERT_THAT(all, IsOk());
  EXPECT_EQ(all->rows_restored, 8);
  EXPECT_EQ(all->rows_gone, 1);
  EXPECT_EQ(Dump(), "");
}

// Written before there was a way back.
TEST_F(PostgresImportUndoTest, RowsOfWhichNothingIsKnownStay) {
  MakeTable();
  server_.Run(
      "CREATE TABLE reembed_ids (source text NOT NULL, old_id text COLLATE \"C\" NOT NULL, target text NOT NULL, "
      "new_id text NOT NULL, PRIMARY KEY (target, source, old_id))");
  MemoryUndo undo;
  ASSERT_THAT(Write(Target(), Rows(1, 2), &undo), IsOk());
  server_.Run("UPDATE reembed_ids SET row_hash = NULL WHERE old_id = 'k1'");
  const auto report = RollBack(Target(), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 1);
  EXPECT_THAT(Left(*report), ElementsAre(HasSubstr("k1 ")));
  EXPECT_THAT(report->notes, IsEmpty());
}

TEST_F(PostgresImportUndoTest, RowsThatTheServerKeepsAreLeft) {
  MakeTable();
  MemoryUndo undo;
  ASSERT_THAT(Write(Target(), Rows(1, 9), &undo), IsOk());
  server_.Run(
      "CREATE OR REPLACE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.title = 'title 3' THEN "
      "RAISE EXCEPTION 'row three is locked'; END IF; IF OLD.title = 'title 7' THEN RETURN NULL; END IF; RETURN OLD; "
      "END $$; CREATE TRIGGER guard BEFORE DELETE ON m FOR EACH ROW EXECUTE FUNCTION guard()");
  const auto report = RollBack(Target(), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 7);
  EXPECT_THAT(Left(*report), UnorderedElementsAre(AllOf(HasSubstr("k3 "), HasSubstr("row three is locked")),
                                                  AllOf(HasSubstr("k7 "), HasSubstr("a trigger keeps it"))));
  EXPECT_EQ(server_.Ask("SELECT string_agg(old_id, ' ' ORDER BY old_id) FROM reembed_ids"), "k3 k7");
}

TEST_F(PostgresImportUndoTest, NothingIsWrittenThatCannotBeKept) {
  MemoryUndo undo;
  undo.Fail(absl::ResourceExhaustedError("the disk is full"));
  MakeTable();
  EXPECT_THAT(Write(Target(), Rows(1, 9), &undo), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk")));
  EXPECT_EQ(server_.Ask("SELECT to_regclass('reembed_ids')"), "NULL");
  MemoryUndo whole;
  ASSERT_THAT(Write(Target(), Rows(1, 3), &whole), IsOk());
  const std::string before = Dump();
  EXPECT_THAT(Write(Target(), Rows(1, 9, 100), &undo),
              HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk")));
  EXPECT_EQ(Dump(), before);
}

TEST_F(PostgresImportUndoTest, WhatIsGoneAndWhatStaysIsSaid) {
  MakeTable();
  MemoryUndo undo;
  ASSERT_THAT(LogPostgresTablesDropped(std::vector<std::string>{"m", "others"}, &undo), IsOk());
  ASSERT_THAT(Write(Target("&index=hnsw"), Rows(1, 9), &undo), IsOk());
  auto report = RollBack(Target("&index=hnsw"), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("the job has dropped m, others"), HasSubstr("backup")),
                                         HasSubstr("index m_v_hnsw stays"), HasSubstr("took away")));
  server_.Run("DROP TABLE m");
  report = RollBack(Target(), undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 9);
}

}  // namespace
}  // namespace reembed
