// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_db.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void WriteFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

TEST(SqliteDbTest, RefusesWhatIsNoDatabase) {
  SqliteFile file;
  const std::string text = file.folder() + "/notes.txt";
  const std::string empty = file.folder() + "/empty.db";
  WriteFile(text, std::string(5000, 'x'));
  WriteFile(empty, "");
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kReadOnly),
              HasError(absl::StatusCode::kNotFound, AllOf(HasSubstr(file.path()), HasSubstr("no such file"))));
  EXPECT_THAT(SqliteDb::Open(text, SqliteAccess::kReadOnly),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("notes.txt: is not an SQLite database")));
  EXPECT_THAT(SqliteDb::Open(empty, SqliteAccess::kReadWrite),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("empty.db: is empty")));
  EXPECT_THAT(SqliteDb::Open(file.folder(), SqliteAccess::kReadOnly),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory")));
}

TEST(SqliteDbTest, NeverMakesAFileUnlessAsked) {
  SqliteFile file;
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kReadWrite),
              HasError(absl::StatusCode::kNotFound, HasSubstr("")));
  EXPECT_NE(::access(file.path().c_str(), F_OK), 0);
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kCreate), IsOk());
}

TEST(SqliteDbTest, SaysThatAnotherProgramHasTheLock) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadWrite, absl::Milliseconds(20));
  ASSERT_THAT(db, IsOk());
  file.Run("BEGIN EXCLUSIVE");
  EXPECT_THAT((*db)->Exec("DELETE FROM t"), HasError(absl::StatusCode::kUnavailable, HasSubstr("locked by another")));
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kReadOnly, absl::Milliseconds(20)),
              HasError(absl::StatusCode::kUnavailable, HasSubstr("locked by another")));
  file.Run("COMMIT");
  EXPECT_THAT((*db)->Exec("DELETE FROM t"), IsOk());
}

TEST(SqliteDbTest, UndoesWhatAProgramLeftWhenItDied) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a); INSERT INTO t VALUES ('before')");
  file.Close();
  const pid_t child = fork();
  if (child == 0) {
    // Enough changes that pages go to the file, and the journal with it, before the commit that never comes.
    sqlite3* db = nullptr;
    sqlite3_open(file.path().c_str(), &db);
    sqlite3_exec(db,
                 "PRAGMA cache_size = 1; BEGIN; UPDATE t SET a = 'after';"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
                 "INSERT INTO t SELECT hex(randomblob(100)) FROM n",
                 nullptr, nullptr, nullptr);
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  ASSERT_EQ(::access((file.path() + "-journal").c_str(), F_OK), 0) << "the test left no journal";
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  ASSERT_THAT(db, IsOk());
  EXPECT_EQ(file.Ask("SELECT a FROM t"), "'before'");
}

TEST(SqliteDbTest, NamesADamagedFile) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO "
      "t SELECT randomblob(900) FROM n");
  file.Close();
  std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekp(4096);
  bytes << std::string(4096, '\xff');
  bytes.close();
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  ASSERT_THAT(db, IsOk());
  EXPECT_THAT((*db)->Exec("SELECT sum(length(a)) FROM t"), HasError(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
}

TEST(SqliteDbTest, ReadOnlyConnectionCannotWrite) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  ASSERT_THAT(db, IsOk());
  EXPECT_THAT((*db)->Exec("INSERT INTO t VALUES (1)"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("readonly")));
}

// Root may write everything, so the test takes off its rights for a while.
class WithoutRootRights {
 public:
  WithoutRootRights() : was_root_(::geteuid() == 0) { EXPECT_EQ(was_root_ ? ::seteuid(65534) : 0, 0); }
  ~WithoutRootRights() { EXPECT_EQ(was_root_ ? ::seteuid(0) : 0, 0); }

 private:
  const bool was_root_;
};

TEST(SqliteDbTest, RefusesToWriteAProtectedFile) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a)");
  file.Close();
  ASSERT_EQ(::chmod(file.path().c_str(), 0444), 0);
  const WithoutRootRights plain_user;
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kReadWrite),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("write-protected")));
  EXPECT_THAT(SqliteDb::Open(file.path(), SqliteAccess::kReadOnly), IsOk());
}

TEST(SqliteDbTest, ReportsAFullDatabase) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadWrite);
  ASSERT_THAT(db, IsOk());
  ASSERT_THAT((*db)->Exec("PRAGMA max_page_count = 3"), IsOk());
  EXPECT_THAT((*db)->Exec("INSERT INTO t VALUES (randomblob(100000))"),
              HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk is full")));
}

TEST(SqliteDbTest, WrongSqlIsTheCallersFault) {
  SqliteFile file;
  file.Run("CREATE TABLE t (a)");
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kReadOnly);
  ASSERT_THAT(db, IsOk());
  EXPECT_THAT((*db)->Prepare("SELECT b FROM t"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no such column: b")));
  EXPECT_THAT((*db)->Prepare("SELECT 1; DROP TABLE t"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("one SQL")));
  EXPECT_THAT((*db)->Prepare("  "), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("one SQL")));
}

TEST(SqliteDbTest, ValuesComeBackAsTheyWere) {
  SqliteFile file;
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kCreate);
  ASSERT_THAT(db, IsOk());
  auto statement = (*db)->Prepare("SELECT ?1, ?2, ?3, ?4, ?5");
  ASSERT_THAT(statement, IsOk());
  const std::string text("a\0b", 3);
  statement->Bind(1, -7);
  statement->BindText(2, text);
  statement->BindBlob(3, absl::string_view());
  statement->BindNull(4);
  statement->BindKey(5, absl::string_view());
  ASSERT_THAT(statement->Step(), IsOk());
  EXPECT_EQ(statement->Int(0), -7);
  EXPECT_EQ(statement->Text(1), text);
  EXPECT_EQ(statement->Type(2), SqliteType::kBlob);
  EXPECT_EQ(statement->Type(3), SqliteType::kNull);
  EXPECT_EQ(statement->Type(4), SqliteType::kText);
}

TEST(SqliteDbTest, NamesAreQuoted) {
  SqliteFile file;
  const auto db = SqliteDb::Open(file.path(), SqliteAccess::kCreate);
  ASSERT_THAT(db, IsOk());
  EXPECT_THAT((*db)->Exec(absl::StrCat("CREATE TABLE ", QuoteName("a\"b; c"), " (", QuoteName("sel ect"), ")")),
              IsOk());
  EXPECT_EQ(file.Ask("SELECT name FROM sqlite_schema"), "'a\"b; c'");
}

}  // namespace
}  // namespace reembed
