// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_table.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::StatusOr<SqliteTable> Resolve(const SqliteFile& file, const std::string& parameters) {
  const absl::StatusOr<SqliteLocation> asked = ParseSqliteLocation(file.At(parameters));
  if (!asked.ok()) return asked.status();
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  if (!db.ok()) return db.status();
  return ResolveSqliteTable(**db, *asked);
}

TEST(SqliteTableTest, LocationRefusesWhatItDoesNotKnow) {
  SqliteFile file;
  EXPECT_THAT(ParseSqliteLocation(file.At("tabel=t")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean `table`")));
  EXPECT_THAT(ParseSqliteLocation(file.At("key=id")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no table")));
  EXPECT_THAT(ParseSqliteLocation(file.At("table=t&mode=replace")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("mode=upsert")));
  EXPECT_THAT(ParseSqliteLocation(file.At("table=t&encoding=f16")),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("one of: f32")));
}

TEST(SqliteTableTest, SuggestsTheNearestName) {
  SqliteFile file;
  file.Run("CREATE TABLE messages (message_id INTEGER PRIMARY KEY, content TEXT)");
  EXPECT_THAT(Resolve(file, "table=mesages"),
              HasError(absl::StatusCode::kNotFound, HasSubstr("no table `mesages`; did you mean `messages`?")));
  EXPECT_THAT(Resolve(file, "table=messages&key=mesage_id"),
              HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `message_id`?")));
  const auto table = Resolve(file, "table=MESSAGES");
  ASSERT_THAT(table, IsOk());
  EXPECT_EQ(table->name, "messages");
  EXPECT_THAT(
      ResolveSqliteColumn(*table, "text", "contents"),
      HasError(absl::StatusCode::kNotFound, HasSubstr("no column `contents` for text=; did you mean `content`?")));
}

TEST(SqliteTableTest, ChoosesThePrimaryKeyOfOneColumn) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE by_integer (id INTEGER PRIMARY KEY, a);"
      "CREATE TABLE by_text (a, id TEXT PRIMARY KEY);"
      "CREATE TABLE by_nothing (a);"
      "CREATE TABLE by_two (a, b, PRIMARY KEY (a, b));"
      "CREATE TABLE without (id TEXT PRIMARY KEY, a) WITHOUT ROWID;"
      "CREATE TABLE downward (id INTEGER PRIMARY KEY DESC, a);");
  const auto by_integer = Resolve(file, "table=by_integer");
  EXPECT_EQ(by_integer->key, "id");
  EXPECT_FALSE(by_integer->vacuum_changes_keys);
  EXPECT_EQ(by_integer->key_index, "");
  EXPECT_EQ(Resolve(file, "table=by_text")->key_index, "sqlite_autoindex_by_text_1");
  const auto by_nothing = Resolve(file, "table=by_nothing");
  EXPECT_EQ(by_nothing->key, "rowid");
  EXPECT_TRUE(by_nothing->vacuum_changes_keys);
  EXPECT_EQ(Resolve(file, "table=by_two")->key, "rowid");
  EXPECT_EQ(Resolve(file, "table=without")->key, "id");
  EXPECT_FALSE(Resolve(file, "table=without")->key_may_be_null);
  // SQLite's own oddity: this one is not the rowid.
  EXPECT_EQ(Resolve(file, "table=downward")->key_index, "sqlite_autoindex_downward_1");
}

TEST(SqliteTableTest, RefusesAKeyThatMayRepeat) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (a TEXT, b TEXT UNIQUE, c TEXT); CREATE INDEX plain ON t (a);"
      "CREATE UNIQUE INDEX partial ON t (c) WHERE c > 'm'; CREATE UNIQUE INDEX two ON t (a, c);");
  for (const std::string key : {"a", "c"}) {
    EXPECT_THAT(Resolve(file, "table=t&key=" + key),
                HasError(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("not declared unique"), HasSubstr("key=rowid"))));
  }
  EXPECT_EQ(Resolve(file, "table=t&key=b")->key, "b");
}

TEST(SqliteTableTest, RowidGoesByANameThatNoColumnBears) {
  SqliteFile file;
  file.Run("CREATE TABLE t (rowid TEXT, oid TEXT, a)");
  EXPECT_EQ(Resolve(file, "table=t")->key, "_rowid_");
  EXPECT_THAT(Resolve(file, "table=t&key=rowid"), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("unique")));
}

TEST(SqliteTableTest, RowsWithoutRowidNeedAKeyOfOneColumn) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE pair (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM "
      "t;");
  EXPECT_THAT(Resolve(file, "table=pair"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("name a unique column")));
  EXPECT_THAT(Resolve(file, "table=pair&key=rowid"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no rowid")));
  EXPECT_THAT(Resolve(file, "table=v"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("is a view")));
  EXPECT_TRUE(Resolve(file, "table=v&key=a")->key_may_repeat);
}

TEST(SqliteTableTest, WhereIsOneConditionOverTheTable) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a, role TEXT)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  const auto table = Resolve(file, "table=t");
  ASSERT_THAT(table, IsOk());
  EXPECT_THAT(CheckSqliteWhere(**db, *table, "role IN ('user') -- only users"), IsOk());
  EXPECT_THAT(CheckSqliteWhere(**db, *table, "rol = 'user'"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no such column: rol")));
  EXPECT_THAT(CheckSqliteWhere(**db, *table, "1); DROP TABLE t; --"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("one SQL statement")));
  EXPECT_THAT(CheckSqliteWhere(**db, *table, "a = ?"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("parameters")));
  EXPECT_THAT(CheckSqliteWhere(**db, *table, "count(*) > 1"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("count")));
}

TEST(SqliteTableTest, RefusesRowsWithoutKey) {
  SqliteFile file;
  file.Run("CREATE TABLE t (id TEXT PRIMARY KEY, a); INSERT INTO t VALUES ('x', 1), (NULL, 2)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  const auto table = Resolve(file, "table=t");
  ASSERT_THAT(table, IsOk());
  EXPECT_THAT(
      CheckSqliteKeysPresent(**db, *table, ""),
      HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("`id` is NULL"), HasSubstr("key=rowid"),
                                                            HasSubstr("by the condition '\"id\" IS NOT NULL'"))));
  EXPECT_THAT(CheckSqliteKeysPresent(**db, *table, "a = 1"), IsOk());
}

TEST(SqliteTableTest, NullKeysHaveNamesWhereAskedFor) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (id TEXT PRIMARY KEY, rowid, v); INSERT INTO t (id) VALUES ('x'), (NULL); CREATE TABLE n (id "
      "TEXT "
      "PRIMARY KEY NOT NULL)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  const auto table = Resolve(file, "table=t&null_key=rowid");
  ASSERT_THAT(table, IsOk());
  EXPECT_EQ(table->rowid_of_null_key, "_rowid_") << "a column has the name";
  EXPECT_THAT(CheckSqliteKeysPresent(**db, *table, ""), IsOk());
  EXPECT_EQ(Resolve(file, "table=n&null_key=rowid")->rowid_of_null_key, "");
  EXPECT_THAT(Resolve(file, "table=t&null_key=rowid&vector=v"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("use key=rowid")));
  EXPECT_THAT(Resolve(file, "table=t&null_key=id"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected null_key=rowid")));
  file.Run("INSERT INTO t (id) VALUES ('rowid:2')");
  EXPECT_THAT(CheckSqliteKeysPresent(**db, *table, ""),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("begins with `rowid:`")));
}

}  // namespace
}  // namespace reembed
