// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_undo.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_sink.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 4;

class PostgresUndoTest : public ::testing::Test {
 protected:
  void SetUp() override { server_.Run("DROP VIEW IF EXISTS w; DROP TABLE IF EXISTS others, m, made CASCADE"); }

  // Keys 1 to 9 in `m`, of which every third has no vector.
  void Fill(const std::string& type, const std::string& value, const std::string& more = "") {
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (id int PRIMARY KEY, c text, v ", type,
                             ", model varchar(20), stamp int NOT NULL DEFAULT 0", more,
                             "); INSERT INTO m (id, c, v, model) SELECT i, 'text ' || i, CASE WHEN i % 3 > 0 THEN ",
                             value, " END, CASE WHEN i % 2 = 0 THEN 'old model' END FROM generate_series(1, 9) i"));
  }

  std::string Dump(const std::string& table = "m") {
    return server_.Ask(absl::StrCat("SELECT t::text FROM ", table, " t ORDER BY 1"));
  }

  VectorRows Rows(int from, int to, int dim = kDim) const {
    VectorRows rows(dim);
    for (int i = from; i <= to; ++i) rows.Add(i, int64_t{i});
    return rows;
  }

  absl::Status Write(const std::string& parameters, const VectorRows& rows, UndoLog* undo, size_t refusals = 0,
                     bool finishes = true) {
    const Model model{.name = "new model", .dim = rows.batch()->dim()};
    const auto sink = MakePostgresSink(server_.At(parameters), model, {.patience = absl::Seconds(10)});
    if (!sink.ok()) return sink.status();
    const absl::StatusOr<int64_t> from = PrepareAndOpen(sink->get(), {.model = model, .undo = undo}, {});
    if (!from.ok()) return from.status();
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    if (absl::Status status = (*sink)->Write({&batch, 1}, &refused); !status.ok()) return status;
    EXPECT_EQ(refused.size(), refusals);
    return finishes ? CompleteAndPublish(sink->get(), {.undo = undo}) : absl::OkStatus();
  }

  absl::StatusOr<RollbackReport> RollBack(const std::string& parameters, const MemoryUndo& undo, int dim = kDim) {
    return RollBackPostgres(server_.At(parameters), undo.Read(dim).get(), {.patience = absl::Seconds(10)});
  }

  PostgresServer& server_ = TestPostgres();
};

TEST_F(PostgresUndoTest, EveryKindOfColumnComesBackByteForByte) {
  struct Case {
    std::string type, value, parameters;
  };
  for (const Case& c :
       {Case{"vector(4)", "('[' || i || ',-0,1e-40,0.1]')::vector", ""}, Case{"vector", "'[1,2,3]'::vector", ""},
        Case{"halfvec(4)", "'[0.1,-0,6e-8,65504]'::halfvec", ""}, Case{"bit(4)", "'1010'::bit(4)", ""},
        Case{"bytea", "'\\x0102'::bytea || int4send(i)", ""}, Case{"bytea", "'[0.5,1,2,3]'::bytea", "&type=json"},
        Case{"text", "repeat(' [1.50, 2, 3e0,4] \u20ac', i)", ""},
        Case{"varchar(30)", "CASE i WHEN 1 THEN '' WHEN 2 THEN 'no JSON' ELSE '[1]' END", ""},
        Case{"json", "'[1.00, 2,{\"a\":  1}]'::json", ""}, Case{"jsonb", "'[1.00, 2,{\"a\":  1},-0]'::jsonb", ""}}) {
    SCOPED_TRACE(c.type + c.parameters);
    Fill(c.type, c.value);
    const std::string before = Dump();
    const std::string at = "table=m&vector=v&model_column=model" + c.parameters;
    MemoryUndo undo;
    // Twice, as after a crash: what is kept stays. One row is not there.
    ASSERT_THAT(Write(at, Rows(1, 10), &undo, 1), IsOk());
    ASSERT_THAT(Write(at, Rows(1, 10), &undo, 1), IsOk());
    EXPECT_NE(Dump(), before);
    EXPECT_EQ(undo.rows(), 9u);
    auto report = RollBack(at, undo);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(Dump(), before);
    EXPECT_EQ(report->rows_restored, 9);
    EXPECT_THAT(report->left, IsEmpty());
    EXPECT_THAT(report->notes, IsEmpty());
    report = RollBack(at, undo);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->rows_unchanged, 9);
    EXPECT_EQ(report->rows_restored, 0);
  }
}

TEST_F(PostgresUndoTest, KeysAndModelsOfEveryKind) {
  for (const std::string key : {"text", "uuid", "char(40)", "smallint"}) {
    for (const std::string model : {"text", "char(12)", "varchar(12)"}) {
      SCOPED_TRACE(absl::StrCat(key, " ", model));
      const std::string value = key == "smallint" ? "i" : "md5(i::text)::uuid";
      server_.Run(absl::StrCat("DROP TABLE IF EXISTS m; CREATE TABLE m (\"the key\" ", key,
                               " PRIMARY KEY, \"v \"\"x\" vector(4), \"m \"\"y\" ", model, "); INSERT INTO m SELECT ",
                               value, ", ('[' || i || ',0,0,1]')::vector, 'old ' || i FROM ",
                               "generate_series(1, 700) i"));
      const std::string before = Dump();
      const std::string at = "table=m&vector=v \"x&model_column=m \"y";
      VectorRows rows(kDim);
      for (int i = 1; i <= 700; ++i) {
        if (key == "smallint") {
          rows.Add(i, int64_t{i});
        } else {
          rows.Add(i, server_.Ask(absl::StrCat("SELECT md5('", i, "')::uuid")));
        }
      }
      MemoryUndo undo;
      ASSERT_THAT(Write(at, rows, &undo), IsOk());
      EXPECT_NE(Dump(), before);
      const auto report = RollBack(at, undo);
      ASSERT_THAT(report, IsOk());
      EXPECT_EQ(Dump(), before);
      EXPECT_EQ(report->rows_restored, 700);
    }
  }
}

TEST_F(PostgresUndoTest, WhatSomebodyChangedSinceStaysAndIsReported) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  const std::string before = Dump();
  const std::string at = "table=m&vector=v&model_column=model&mode=upsert";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 14), &undo), IsOk());
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM m"), "14");
  server_.Run(
      "UPDATE m SET v = '[9,9,9,9]' WHERE id IN (4, 13); DELETE FROM m WHERE id = 5;"
      "UPDATE m SET c = 'mine now' WHERE id = 14; UPDATE m SET c = 'other text' WHERE id = 6");
  auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 10) << "7 put back, 3 removed";
  EXPECT_EQ(report->rows_gone, 1);
  EXPECT_EQ(report->rows_left, 3);
  std::vector<std::string> left;
  for (const RollbackReport::Row& row : report->left) {
    left.push_back(absl::StrCat(KeyText(ViewOf(row.key)), " ", row.reason));
  }
  EXPECT_THAT(left, ::testing::UnorderedElementsAre("4 its vector is not the one that the job wrote",
                                                    "13 its vector is not the one that the job wrote",
                                                    AllOf(HasSubstr("14 "), HasSubstr("filled other columns"))));
  EXPECT_EQ(server_.Ask("SELECT id, c, v, model FROM m WHERE id IN (4, 6, 13, 14) ORDER BY id"),
            "4|text 4|[9,9,9,9]|new model\n6|other text|NULL|old model\n13|NULL|[9,9,9,9]|new model\n"
            "14|mine now|[14,14.5,14,14.5]|new model");
  // Nobody knows what was written: no row is removed then.
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  ASSERT_THAT(Write(at, Rows(1, 14), &undo), IsOk());
  report = RollBack(at, undo, 0);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_left, 5);
  report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(Dump(), before);
}

TEST_F(PostgresUndoTest, ColumnsThatWereAddedGoUnlessSomethingIsInThem) {
  server_.Run("CREATE TABLE m (id int PRIMARY KEY, c text); INSERT INTO m SELECT i, 'x' FROM generate_series(1, 9) i");
  const std::string before = Dump();
  const std::string at = "table=m&vector=v&model_column=model";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
  server_.Run("INSERT INTO m VALUES (10, 'y', '[1,2,3,4]')");
  auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("column v stays"), HasSubstr("something in it")),
                                         HasSubstr("took away the column model")));
  server_.Run("DELETE FROM m WHERE id = 10; CREATE VIEW w AS SELECT v FROM m");
  report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("column v stays"), HasSubstr("depend"))));
  server_.Run("DROP VIEW w");
  report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr("took away the column v")));
  EXPECT_EQ(Dump(), before);
  report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 9);
  EXPECT_EQ(Dump(), before);
}

TEST_F(PostgresUndoTest, ATableThatWasMadeStays) {
  const std::string at = "table=made&mode=upsert";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 5), &undo), IsOk());
  ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
  const auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes, ElementsAre(AllOf(HasSubstr("made stays"), HasSubstr("DROP TABLE \"public\".\"made\""))));
  EXPECT_EQ(server_.Ask("SELECT count(*) FROM made"), "9");
}

TEST_F(PostgresUndoTest, NamesThatWereSwappedAreSwappedBack) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  server_.Run("CREATE VIEW w AS SELECT id, v FROM m; CREATE INDEX m_old ON m USING hnsw (v vector_cosine_ops)");
  const std::string before = server_.Ask("SELECT id, c, v, model, stamp FROM m ORDER BY id");
  const std::string at = "table=m&vector=v&model_column=model&new_column=v8&index=hnsw";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 9, 8), &undo), IsOk());
  // The next run has a row more, which it writes into the column that has the name by now.
  server_.Run("INSERT INTO m (id, c) VALUES (10, 'later')");
  ASSERT_THAT(Write(at, Rows(10, 10, 8), &undo), IsOk());
  EXPECT_EQ(server_.Ask("SELECT vector_dims(v), v_old, model FROM m WHERE id = 1"), "8|[1,2,3,4]|new model");
  auto report = RollBack(at, undo, 8);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->notes,
              ElementsAre(HasSubstr("v is the old one again"), AllOf(HasSubstr("v8 stays"), HasSubstr("DROP COLUMN"))));
  EXPECT_EQ(report->rows_restored, 10);
  EXPECT_EQ(server_.Ask("SELECT id, c, v, model, stamp FROM m WHERE id < 10 ORDER BY id"), before);
  EXPECT_EQ(server_.Ask("SELECT v, v8, model FROM m WHERE id = 10"), "NULL|NULL|NULL");
  EXPECT_EQ(server_.Ask("SELECT pg_get_indexdef('m_old'::regclass)"),
            "CREATE INDEX m_old ON public.m USING hnsw (v vector_cosine_ops)");
  EXPECT_EQ(server_.Ask("SELECT v FROM w WHERE id = 1"), "[1,2,3,4]");
  report = RollBack(at, undo, 8);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_unchanged, 10);
  // And the next run swaps again.
  ASSERT_THAT(Write(at, Rows(1, 10, 8), &undo), IsOk());
  EXPECT_EQ(server_.Ask("SELECT vector_dims(v), v_old FROM m WHERE id = 1"), "8|[1,2,3,4]");
  server_.Run("ALTER TABLE m DROP COLUMN v_old CASCADE");
  EXPECT_THAT(RollBack(at, undo, 8),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("v_old"), HasSubstr("gone"))));
  EXPECT_EQ(server_.Ask("SELECT vector_dims(v) FROM m WHERE id = 1"), "8");
}

// A rollback that does `what` when it comes to the row `at`, which fails it, if that is no OK.
class Interrupted final : public UndoReader {
 public:
  Interrupted(std::unique_ptr<UndoReader> reader, int at, std::function<absl::Status()> what)
      : reader_(std::move(reader)), at_(at), what_(std::move(what)) {}
  absl::StatusOr<std::optional<OldRow>> Next() override {
    if (at_-- == 0) {
      if (absl::Status done = what_(); !done.ok()) return done;
    }
    return reader_->Next();
  }
  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) override {
    return reader_->FindNote(name);
  }
  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    return reader_->WrittenVector(ordinal);
  }

 private:
  const std::unique_ptr<UndoReader> reader_;
  int at_;
  const std::function<absl::Status()> what_;
};

TEST_F(PostgresUndoTest, ASwitchIsUndoneWhereverRunAndRollbackWereKilled) {
  for (const bool finishes : {false, true}) {
    SCOPED_TRACE(finishes);
    Fill("vector(4)", "'[1,2,3,4]'::vector");
    const std::string before = server_.Ask("SELECT id, c, v, model, stamp FROM m ORDER BY id");
    const std::string at = "table=m&vector=v&model_column=model&new_column=v8";
    MemoryUndo undo;
    ASSERT_THAT(Write(at, Rows(1, finishes ? 9 : 5, 8), &undo, 0, finishes), IsOk());
    EXPECT_EQ(server_.Ask("SELECT count(*) FROM information_schema.columns WHERE table_name = 'm' AND column_name = "
                          "'v_old'"),
              finishes ? "1" : "0");
    // Killed behind the switch, before the first row is put back.
    Interrupted killed(undo.Read(8), 0, [] { return absl::AbortedError("killed"); });
    EXPECT_THAT(RollBackPostgres(server_.At(at), &killed), HasError(absl::StatusCode::kAborted, HasSubstr("killed")));
    EXPECT_EQ(server_.Ask("SELECT v FROM m WHERE id = 1"), "[1,2,3,4]");
    const auto report = RollBack(at, undo, 8);
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->rows_restored, finishes ? 9 : 5);
    EXPECT_EQ(server_.Ask("SELECT id, c, v, model, stamp FROM m ORDER BY id"), before);
    EXPECT_THAT(report->notes, ElementsAre(HasSubstr("v8 stays")));
    // The same run goes on, and switches.
    ASSERT_THAT(Write(at, Rows(1, 9, 8), &undo), IsOk());
    EXPECT_EQ(server_.Ask("SELECT vector_dims(v), v_old FROM m WHERE id = 1"), "8|[1,2,3,4]");
    ASSERT_THAT(RollBack(at, undo, 8), IsOk());
    EXPECT_EQ(server_.Ask("SELECT id, c, v, model, stamp FROM m ORDER BY id"), before);
  }
}

TEST_F(PostgresUndoTest, GoesOnThroughARestartOfTheServer) {
  server_.Run(
      "CREATE TABLE m (id int PRIMARY KEY, v vector(4)); INSERT INTO m SELECT i, '[1,2,3,4]' FROM generate_series(1, "
      "2000) i");
  const std::string before = Dump(), at = "table=m&vector=v";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 2000), &undo), IsOk());
  Interrupted restarted(undo.Read(kDim), 1300, [this] {
    server_.Stop();
    server_.Start();
    return absl::OkStatus();
  });
  const auto report = RollBackPostgres(server_.At(at), &restarted, {.patience = absl::Seconds(30)});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 2000);
  EXPECT_EQ(Dump(), before);
}

TEST_F(PostgresUndoTest, RowsThatOthersReferToAreNotRemoved) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  const std::string at = "table=m&vector=v&mode=upsert";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(8, 13), &undo), IsOk());
  server_.Run(
      "CREATE TABLE others (note text, m int REFERENCES m (id) ON DELETE CASCADE); INSERT INTO others VALUES ('mine', "
      "11)");
  auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  ASSERT_EQ(report->rows_left, 1);
  EXPECT_THAT(report->left[0].reason, HasSubstr("refers to it"));
  EXPECT_EQ(server_.Ask("SELECT note, m FROM others"), "mine|11");
  EXPECT_EQ(server_.Ask("SELECT max(id), count(*) FROM m"), "11|10");
  server_.Run("DROP TABLE others");
  report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(server_.Ask("SELECT max(id), count(*) FROM m"), "9|9");
}

TEST_F(PostgresUndoTest, ANewNameWithoutAnOldColumnIsTakenBack) {
  server_.Run("CREATE TABLE m (id int PRIMARY KEY); INSERT INTO m VALUES (1)");
  const std::string at = "table=m&vector=v&new_column=v8";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 1), &undo), IsOk());
  EXPECT_EQ(server_.Ask("SELECT v FROM m"), "[1,1.5,1,1.5]");
  const auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(server_.Ask("SELECT v8 FROM m"), "[1,1.5,1,1.5]");
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr("no column v again"), HasSubstr("v8 stays")));
}

TEST_F(PostgresUndoTest, TriggersFireOrAreSkippedAsInTheRun) {
  for (const std::string triggers : {"skip", "fire"}) {
    Fill("vector(4)", "'[1,2,3,4]'::vector");
    server_.Run(
        "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.stamp = NEW.stamp + 1; "
        "RETURN NEW; END'; CREATE TRIGGER stamp BEFORE UPDATE ON m FOR EACH ROW EXECUTE FUNCTION stamp()");
    const std::string before = Dump();
    const std::string at = "table=m&vector=v&triggers=" + triggers;
    MemoryUndo undo;
    ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
    ASSERT_THAT(RollBack(at, undo), IsOk());
    if (triggers == "skip") {
      EXPECT_EQ(Dump(), before);
    }
    EXPECT_EQ(server_.Ask("SELECT DISTINCT stamp FROM m"), triggers == "skip" ? "0" : "2");
    EXPECT_EQ(server_.Ask("SELECT v FROM m WHERE id = 1"), "[1,2,3,4]");
  }
}

TEST_F(PostgresUndoTest, RowsThatTheTableRefusesAreLeft) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  const std::string at = "table=m&vector=v";
  MemoryUndo undo;
  ASSERT_THAT(Write(at, Rows(1, 9), &undo), IsOk());
  server_.Run(
      "CREATE OR REPLACE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN RAISE "
      "EXCEPTION 'row three is locked'; END IF; IF NEW.id = 7 THEN RETURN NULL; END IF; RETURN NEW; END $$; "
      "CREATE TRIGGER guard BEFORE UPDATE ON m FOR EACH ROW EXECUTE FUNCTION guard()");
  const auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_restored, 7);
  EXPECT_EQ(report->rows_left, 2);
  std::vector<std::string> left;
  for (const RollbackReport::Row& row : report->left) {
    left.push_back(absl::StrCat(KeyText(ViewOf(row.key)), " ", row.reason));
  }
  EXPECT_THAT(left, ::testing::UnorderedElementsAre(AllOf(HasSubstr("3 "), HasSubstr("row three is locked")),
                                                    AllOf(HasSubstr("7 "), HasSubstr("ignored"))));
  EXPECT_EQ(server_.Ask("SELECT string_agg(id::text, ',' ORDER BY id) FROM m WHERE v = '[1,2,3,4]' OR v IS NULL"),
            "1,2,4,5,6,8,9");
}

TEST_F(PostgresUndoTest, NothingIsWrittenThatCannotBeKept) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  const std::string before = Dump();
  MemoryUndo undo;
  undo.Fail(absl::ResourceExhaustedError("the disk is full"));
  for (const std::string at : {"table=m&vector=v", "table=m&vector=v&mode=upsert", "table=m&vector=new",
                               "table=m&vector=v&new_column=v8", "table=made&mode=upsert"}) {
    EXPECT_THAT(Write(at, Rows(1, 12), &undo), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk"))) << at;
  }
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(server_.Ask("SELECT to_regclass('made')"), "NULL");
}

TEST_F(PostgresUndoTest, WhatIsGoneIsSaid) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  MemoryUndo undo;
  ASSERT_THAT(Write("table=m&vector=v", Rows(1, 9), &undo), IsOk());
  server_.Run("ALTER TABLE m DROP COLUMN v");
  const auto report = RollBack("table=m&vector=v", undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->rows_left, 9);
  EXPECT_THAT(report->left[0].reason, HasSubstr("the column v is gone"));
  server_.Run("DROP TABLE m");
  const auto gone = RollBack("table=m&vector=v", undo);
  ASSERT_THAT(gone, IsOk());
  EXPECT_EQ(gone->rows_gone, 9);
  EXPECT_THAT(gone->notes, ElementsAre(HasSubstr("the table m is not there")));
}

TEST_F(PostgresUndoTest, IndexesThatAKilledRunHasDroppedAreMadeAgain) {
  Fill("vector(4)", "'[1,2,3,4]'::vector");
  server_.Run("CREATE INDEX mine ON m USING hnsw (v vector_l2_ops) WITH (m = 7)");
  const std::string indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = 'm' ORDER BY 1";
  const std::string before = server_.Ask(indexes), rows_before = Dump();
  const std::string at = "table=m&vector=v&index=rebuild";
  const Model model{.name = "new model", .dim = kDim};
  MemoryUndo undo;
  {
    const auto sink = MakePostgresSink(server_.At(at), model);
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = model, .undo = &undo}, {}), IsOk());
    const VectorRows rows = Rows(1, 9);
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
  }
  EXPECT_NE(server_.Ask(indexes), before);
  const auto report = RollBack(at, undo);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(Dump(), rows_before);
  EXPECT_EQ(server_.Ask(indexes), before);
  EXPECT_EQ(server_.Ask("SELECT to_regclass('reembed_indexes') IS NULL"), "t");
}

}  // namespace
}  // namespace reembed
