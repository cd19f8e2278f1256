// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import.h"

#include <stdlib.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_reader.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/vector_rows.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Model kModel{.name = "test-model", .dim = 2};

class PostgresImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_.Run("DROP TABLE IF EXISTS m, reembed_ids CASCADE");
    file_.Run(
        "CREATE TABLE notes (k TEXT PRIMARY KEY NOT NULL, title TEXT, n, meta TEXT); INSERT INTO notes VALUES ('a', "
        "'one', 1, '{\"x\": [1]}'), ('b', 'two', 'x', 'no json'), ('c', NULL, 3, NULL), ('d', X'C3A4', 4, '7')");
  }

  // The target's parameters behind what all tests have.
  Location Target(const std::string& more) const {
    Location location = server_.At("table=m&vector=v&mode=insert&origin=test&fields=title,n,meta:json,other" + more);
    if (location.parameters.count("set.title") == 0) location.parameters["set.title"] = "r->>'title'";
    return location;
  }

  absl::StatusOr<std::unique_ptr<VectorSink>> Make(const Location& target) {
    return MakePostgresImportSink(target, kModel, file_.At("table=notes&text=title"), {.patience = absl::Seconds(10)});
  }

  std::unique_ptr<VectorSink> MakeOpen(const Location& target) {
    auto sink = Make(target);
    EXPECT_THAT(sink, IsOk());
    if (!sink.ok()) return nullptr;
    EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = kModel}, {}), IsOk());
    return *std::move(sink);
  }

  static std::vector<std::string> Write(VectorSink* sink, const std::vector<std::string>& keys) {
    VectorRows rows(kModel.dim);
    for (size_t i = 0; i < keys.size(); ++i) rows.Add(static_cast<int64_t>(i), keys[i]);
    const Batch* batch = rows.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
    return shown;
  }

  PostgresServer& server_ = TestPostgres();
  SqliteFile file_;
};

TEST_F(PostgresImportTest, AnySchemaByItsMap) {
  for (const std::string& key :
       {std::string("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"), std::string("uuid PRIMARY KEY"),
        std::string("text PRIMARY KEY"), std::string("serial PRIMARY KEY")}) {
    SCOPED_TRACE(key);
    server_.Run(absl::StrCat("DROP TABLE IF EXISTS m, reembed_ids; CREATE TABLE m (id ", key,
                             ", title text, r text DEFAULT 'kept', meta jsonb, v vector(2))"));
    const Location target = Target(
        "&set.meta=CASE jsonb_typeof(r->'meta') WHEN 'string' THEN jsonb_build_object('text', r->'meta') ELSE "
        "r->'meta' "
        "END");
    const auto sink = MakeOpen(target);
    ASSERT_NE(sink, nullptr);
    EXPECT_THAT(Write(sink.get(), {"a", "b", "c", "d"}), IsEmpty());
    // The same again, as after a crash, and with new vectors.
    EXPECT_THAT(Write(sink.get(), {"a", "b", "c", "d"}), IsEmpty());
    EXPECT_THAT(Write(sink.get(), {"d", "c"}), IsEmpty());
    EXPECT_EQ(server_.Ask("SELECT i.old_id, m.title, m.r, m.meta, m.v FROM m JOIN reembed_ids i ON i.new_id = "
                          "m.id::text AND i.source = 'test' AND i.target = 'm' ORDER BY 1"),
              "a|one|kept|{\"x\": [1]}|[0,0.5]\nb|two|kept|{\"text\": \"no json\"}|[1,1.5]\n"
              "c|NULL|kept|null|[1,1.5]\nd|\xC3\xA4|kept|7|[0,0.5]");
    EXPECT_EQ(server_.Ask("SELECT count(*) FROM m"), "4");
    const auto reader = OpenPostgresReader(target, {.dim = 2});
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->rows(), 4);
    const auto row = (*reader)->Find(absl::string_view("c"));
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value());
    EXPECT_THAT((*row)->vector, ElementsAre(1, 1.5));
  }
}

TEST_F(PostgresImportTest, ARowThatTheTargetRefusesIsNamedAndTheRestIsStored) {
  server_.Run("CREATE TABLE m (id serial PRIMARY KEY, title text NOT NULL, n int CHECK (n < 4), v vector(2))");
  const auto sink = MakeOpen(Target("&set.n=(r->>'n')::int"));
  EXPECT_THAT(Write(sink.get(), {"a", "b", "c", "d", "gone"}),
              ElementsAre(AllOf(HasSubstr("1 "), HasSubstr("row b"), HasSubstr("invalid input syntax")),
                          AllOf(HasSubstr("2 "), HasSubstr("row c"), HasSubstr("null value")),
                          AllOf(HasSubstr("3 "), HasSubstr("row d"), HasSubstr("check constraint")),
                          AllOf(HasSubstr("4 NOT_FOUND"), HasSubstr("is gone from the source"))));
  EXPECT_EQ(server_.Ask("SELECT title FROM m"), "one");
}

TEST_F(PostgresImportTest, TwoRunsAtATimeBringARowOnce) {
  server_.Run("CREATE TABLE m (id serial PRIMARY KEY, title text, v vector(2))");
  const auto one = MakeOpen(Target("&text=title")), two = MakeOpen(Target("&text=title"));
  std::vector<std::string> refused;
  std::thread other([&] { refused = Write(two.get(), {"a", "b", "c", "d"}); });
  EXPECT_THAT(Write(one.get(), {"a", "b", "c", "d"}), IsEmpty());
  other.join();
  EXPECT_THAT(refused, IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT count(*), count(DISTINCT title) FROM m"), "4|3");
}

TEST_F(PostgresImportTest, MakesTheSchemaOnceAndSaysWhereItIsWrong) {
  TempFolder folder;
  const std::string sql = folder / "schema.sql";
  std::ofstream(sql) << "-- {dim} numbers; with a semicolon\nCREATE TABLE m (id serial PRIMARY KEY, title text, v "
                        "vector({dim}));";
  Location target = Target("");
  EXPECT_THAT(Make(target), HasError(absl::StatusCode::kNotFound, HasSubstr("no table `m`")));
  target.parameters["schema_file"] = sql;
  EXPECT_THAT(*PostgresImportChanges(target, kModel), ::testing::Contains(HasSubstr("makes the table m")));
  auto sink = Make(target);
  ASSERT_THAT(sink, IsOk());
  EXPECT_EQ(server_.Ask("SELECT to_regclass('m') IS NULL"), "t") << "before it is opened";
  EXPECT_EQ(*PrepareAndOpen(sink->get(), {.model = kModel}, {.position = 7, .stored_rows = 7}), 0)
      << "all rows are wanted again";
  EXPECT_THAT(Write(sink->get(), {"a"}), IsEmpty());
  EXPECT_EQ(*PrepareAndOpen(MakeOpen(target).get(), {.model = kModel}, {.position = 1, .stored_rows = 1}), 1);
  // Rows of a table that is gone are not remembered.
  server_.Run("DROP TABLE m");
  EXPECT_THAT(Write(MakeOpen(target).get(), {"a", "b"}), IsEmpty());
  EXPECT_EQ(server_.Ask("SELECT string_agg(title, ',' ORDER BY id) FROM m"), "one,two");

  server_.Run("DROP TABLE m");
  std::ofstream(sql) << "CREATE TABLE m (id serial PRIMARY KEY, title text, v vector(2)); CREATE NONSENSE";
  sink = Make(target);
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = kModel}, {}),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("schema.sql"), HasSubstr("NONSENSE"))));
  EXPECT_EQ(server_.Ask("SELECT to_regclass('m') IS NULL"), "t") << "all of it or nothing";
}

TEST_F(PostgresImportTest, SaysWhatIsWrongBeforeAnythingIsPaid) {
  server_.Run("CREATE TABLE m (id int PRIMARY KEY, title text, v vector(2))");
  EXPECT_THAT(Make(Target("")), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("has no default")));
  server_.Run("DROP TABLE m; CREATE TABLE m (id serial PRIMARY KEY, title text, v vector(2))");
  const auto error = [&](const std::string& without, const std::string& name, const std::string& value) {
    Location target = Target("");
    target.parameters.erase(without);
    if (!name.empty()) target.parameters[name] = value;
    return std::string(Make(target).status().message());
  };
  EXPECT_THAT(error("origin", "", ""), HasSubstr("&origin=NAME"));
  EXPECT_THAT(error("fields", "", ""), HasSubstr("&fields=a,b"));
  EXPECT_THAT(error("set.title", "", ""), HasSubstr("&set.COLUMN=SQL"));
  EXPECT_THAT(error("", "text", "other"), HasSubstr("text=other is none of the columns"));
  EXPECT_THAT(error("", "set.nowhere", "1"), HasSubstr("it lacks nowhere"));
  EXPECT_THAT(error("", "schema_file", "/none.sql"), HasSubstr("/none.sql"));
  EXPECT_THAT(MakePostgresImportSink(Target(""), kModel, {.scheme = "jsonl", .path = "x"}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("rows of an SQLite file")));
  server_.Run("GRANT ALL ON m TO locked");
  setenv("PGPASSWORD", "pass word", 1);
  Location locked = server_.At("", "locked");
  locked.parameters = Target("").parameters;
  EXPECT_THAT(Make(locked), HasError(absl::StatusCode::kPermissionDenied, HasSubstr("GRANT USAGE ON SEQUENCE")));
  unsetenv("PGPASSWORD");
}

}  // namespace
}  // namespace reembed
