// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_source.h"

#include <sqlite3.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/key_shares.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "key=text" or "key" for a text that is NULL.
std::string Show(const RowView& row) {
  return row.text.has_value() ? absl::StrCat(KeyText(row.key), "=", *row.text) : KeyText(row.key);
}

std::vector<std::string> ReadAll(Source* source) {
  std::vector<std::string> rows;
  while (true) {
    const auto row = source->Next();
    EXPECT_THAT(row, IsOk());
    if (!row.ok() || !row->has_value()) return rows;
    rows.push_back(Show(**row));
  }
}

std::unique_ptr<Source> Open(const SqliteFile& file, const std::string& parameters, const Selection& selection = {}) {
  auto source = OpenSqliteSource(file.At(parameters), selection);
  EXPECT_THAT(source, IsOk());
  return source.ok() ? *std::move(source) : nullptr;
}

// `rows` numbered rows 1, 2, ... with text "t1", "t2", ... and no vector.
void FillNumbered(SqliteFile* file, int rows, const std::string& text = "'t' || i") {
  file->Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v BLOB, model TEXT)");
  file->Run(absl::StrCat("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ", rows,
                         ") INSERT INTO m (id, c) SELECT i, ", text, " FROM n"));
}

TEST(SqliteSourceTest, GivesRowsInKeyOrder) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO m VALUES (30, 'c'), (-5, 'a'), (7, 'b')");
  EXPECT_THAT(ReadAll(Open(file, "table=m&text=c").get()), ElementsAre("-5=a", "7=b", "30=c"));
}

TEST(SqliteSourceTest, ReadsEveryKindOfKey) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE by_text (id TEXT PRIMARY KEY, c); INSERT INTO by_text VALUES ('b', 'B'), ('a', 'A'), ('', 'E'), "
      "('ä', 'U');"
      "CREATE TABLE without (id TEXT PRIMARY KEY, c) WITHOUT ROWID; INSERT INTO without SELECT * FROM by_text;"
      "CREATE TABLE by_rowid (c); INSERT INTO by_rowid VALUES ('x'), ('y');"
      "CREATE TABLE folded (id TEXT COLLATE NOCASE PRIMARY KEY, c); INSERT INTO folded VALUES ('b', 2), ('A', 1), "
      "('C', 3);"
      "CREATE TABLE mixed (id PRIMARY KEY, c); INSERT INTO mixed VALUES ('12', 't'), (12, 'i'), (3, 'j');"
      "CREATE VIEW v AS SELECT id, c FROM by_text WHERE id > 'a';");
  const auto read = [&](const std::string& parameters) { return ReadAll(Open(file, parameters).get()); };
  EXPECT_THAT(read("table=by_text&text=c"), ElementsAre("=E", "a=A", "b=B", "ä=U"));
  EXPECT_THAT(read("table=without&text=c"), ElementsAre("=E", "a=A", "b=B", "ä=U"));
  EXPECT_THAT(read("table=by_rowid&text=c"), ElementsAre("1=x", "2=y"));
  EXPECT_THAT(read("table=folded&text=c"), ElementsAre("A=1", "b=2", "C=3"));
  EXPECT_THAT(read("table=mixed&text=c"), ElementsAre("3=j", "12=i", "12=t"));
  EXPECT_THAT(read("table=v&text=c&key=id"), ElementsAre("b=B", "ä=U"));
}

TEST(SqliteSourceTest, LosesNoRowWhoseUniqueIndexTellsCaseApart) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (id TEXT COLLATE NOCASE NOT NULL, c); CREATE UNIQUE INDEX u ON t (id COLLATE BINARY);"
      "INSERT INTO t VALUES ('a', 1), ('A', 2), ('b', 3), ('B', 4)");
  const auto source = Open(file, "table=t&key=id&text=c");
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("A=2", "B=4", "a=1", "b=3"));
  ASSERT_THAT(source->SeekAfter("A"), IsOk());
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("B=4", "a=1", "b=3"));
}

TEST(SqliteSourceTest, TextsKeepTheirBytes) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c); INSERT INTO m VALUES (1, NULL), (2, ''), (3, 42), (4, 1.5),"
      "(5, x'ff00fe'), (6, CAST(x'610062' AS TEXT))");
  EXPECT_THAT(ReadAll(Open(file, "table=m&text=c").get()),
              ElementsAre("1", "2=", "3=42", "4=1.5", std::string("5=\xff\0\xfe", 5), std::string("6=a\0b", 5)));
}

// As CAST(c AS TEXT) shows it, whether or not the column or the file needs the cast.
TEST(SqliteSourceTest, TextsOfATextColumnAreWhatACastMakesOfThem) {
  for (const std::string encoding : {"UTF-8", "UTF-16le"}) {
    SqliteFile file;
    file.Run(absl::StrCat("PRAGMA encoding = '", encoding, "'"));
    file.Run(
        "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, d POINTEXT, e NVARCHAR(9)); INSERT INTO m (id, c) VALUES "
        "(1, NULL), (2, ''), (3, 42), (4, 1.5), (5, x'61006200'), (6, 'ä'); UPDATE m SET d = c, e = c");
    const std::string blob = encoding == "UTF-8" ? std::string("5=a\0b\0", 6) : "5=ab";
    for (const std::string column : {"c", "d", "e"}) {
      EXPECT_THAT(ReadAll(Open(file, "table=m&text=" + column).get()),
                  ElementsAre("1", "2=", "3=42", "4=1.5", blob, "6=ä"))
          << encoding << " " << column;
    }
  }
}

TEST(SqliteSourceTest, ShowsTheRowsThatNextGives) {
  SqliteFile file;
  FillNumbered(&file, 10'000);
  file.Run("UPDATE m SET c = NULL WHERE id % 7 = 0; UPDATE m SET v = zeroblob(8) WHERE id % 5 = 0");
  // Some are long enough for the transaction to be given up behind them.
  file.Run("UPDATE m SET c = printf('%.*c', 900000, 'x') WHERE id % 1000 < 3");
  for (const std::string text : {"text=c", "template=%7Bc%7D%20of%20%7Bid%7D"}) {
    for (const Selection& selection :
         {Selection{.rows = Selection::Rows::kAll, .dim = 2}, Selection{.rows = Selection::Rows::kWithVector, .dim = 2},
          Selection{.rows = Selection::Rows::kAll, .dim = 2, .where = "id % 3 = 0"}}) {
      const std::string at = "table=m&vector=v&" + text;
      const std::vector<std::string> expected = ReadAll(Open(file, at, selection).get());
      const auto source = Open(file, at, selection);
      std::vector<std::string> rows;
      for (int i = 0; i < 3; ++i) rows.push_back(Show(**source->Next()));
      // It is left in the middle, in what was read for Next() and behind it.
      for (const size_t enough : {size_t{5}, size_t{700}, size_t{1900}, expected.size() + 1}) {
        const absl::Status shown = source->ShowRows([&](const RowView& row) {
          rows.push_back(Show(row));
          return rows.size() < enough;
        });
        EXPECT_THAT(shown, IsOk());
        if (enough < expected.size()) rows.push_back(Show(**source->Next()));
      }
      EXPECT_TRUE(rows == expected) << at << ": " << rows.size() << " of " << expected.size() << " rows";
    }
  }
}

// Rows are shown inside of a read transaction, for which others may wait: it ends behind some texts. Seen by what is
// written meanwhile, as a write-ahead log lets it, being shown.
TEST(SqliteSourceTest, NoTransactionLastsForManyTextsThatAreShown) {
  SqliteFile file;
  file.Run("PRAGMA journal_mode = WAL");
  FillNumbered(&file, 6, "printf('%.*c', 600000, 'x')");
  const auto source = Open(file, "table=m&text=c");
  std::string last;
  const absl::Status shown = source->ShowRows([&](const RowView& row) {
    if (last.empty()) file.Run("UPDATE m SET c = 'written meanwhile' WHERE id = 6");
    last = Show(row);
    return true;
  });
  EXPECT_THAT(shown, IsOk());
  EXPECT_EQ(last, "6=written meanwhile");
}

TEST(SqliteSourceTest, ReadsThroughHugeTexts) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c)");
  file.Run("INSERT INTO m VALUES (1, 'small'), (2, printf('%.*c', 10000000, 'x')), (3, 'after')");
  const auto source = Open(file, "table=m&text=c");
  const std::vector<std::string> rows = ReadAll(source.get());
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].size(), 10000002u);
  EXPECT_EQ(rows[2], "3=after");
}

// The page is shown while its rows leave the selection: with OFFSET half of the rows would be passed over.
TEST(SqliteSourceTest, SeesEveryRowWhileTheSelectionShrinks) {
  SqliteFile file;
  FillNumbered(&file, 1000);
  const auto source = Open(file, "table=m&text=c&vector=v", {.rows = Selection::Rows::kWithoutVector, .dim = 2});
  for (int i = 1; i <= 1000; ++i) {
    const auto row = source->Next();
    ASSERT_THAT(row, IsOk());
    ASSERT_TRUE(row->has_value()) << i;
    EXPECT_EQ(Show(**row), absl::StrCat(i, "=t", i));
    if (i % 32 == 0) file.Run(absl::StrCat("UPDATE m SET v = zeroblob(8) WHERE id <= ", i));
  }
  EXPECT_THAT(ReadAll(source.get()), ElementsAre());
  EXPECT_EQ(*source->CountRows(), 1000 % 32);
}

TEST(SqliteSourceTest, SelectsRowsWithoutAValidVector) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c, v); INSERT INTO m VALUES (1, 'a', NULL), (2, 'b', zeroblob(8)),"
      "(3, 'c', zeroblob(12)), (4, 'd', '12345678'), (5, 'e', x''), (6, 'f', 8)");
  const Selection missing{.rows = Selection::Rows::kWithoutVector, .dim = 2};
  const auto source = Open(file, "table=m&text=c&vector=v", missing);
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("1=a", "3=c", "4=d", "5=e", "6=f"));
  EXPECT_EQ(*source->CountRows(), 5);
  EXPECT_EQ(ReadAll(Open(file, "table=m&text=c&vector=not_there_yet", missing).get()).size(), 6u);
  EXPECT_EQ(ReadAll(Open(file, "table=m&text=c&vector=v", {.dim = 2}).get()).size(), 6u);
}

TEST(SqliteSourceTest, JoinsBothConditions) {
  SqliteFile file;
  FillNumbered(&file, 100);
  const auto source = Open(file, "table=m&text=c&where=id %25 2 = 0 OR id = 1 -- even", {.where = "id < 5 OR id = 99"});
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("1=t1", "2=t2", "4=t4"));
  EXPECT_EQ(*source->CountRows(), 3);
}

TEST(SqliteSourceTest, BeginsAtTheGivenKey) {
  SqliteFile file;
  FillNumbered(&file, 10);
  const auto source = Open(file, "table=m&text=c", {.resume_from = "8"});
  EXPECT_EQ(*source->CountRows(), 3);
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("8=t8", "9=t9", "10=t10"));
  file.Run("DELETE FROM m WHERE id = 8");
  EXPECT_THAT(ReadAll(Open(file, "table=m&text=c", {.resume_from = "8"}).get()), ElementsAre("9=t9", "10=t10"));
}

TEST(SqliteSourceTest, SharesThatMeetAreTheWhole) {
  for (const std::string key : {"i", "'k' || i", "CASE i % 3 WHEN 0 THEN i WHEN 1 THEN 'k' || i ELSE 'z' || i END"}) {
    SCOPED_TRACE(key);
    SqliteFile file;
    file.Run(
        "CREATE TABLE m (id PRIMARY KEY, c TEXT, v BLOB);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
        "INSERT INTO m SELECT " +
        key + ", 't' || i, CASE WHEN i % 4 < 2 THEN x'0000803f00000040' END FROM n");
    const Location at = file.At("table=m&text=c&vector=v");
    for (const Selection::Rows rows : {Selection::Rows::kAll, Selection::Rows::kWithoutVector}) {
      const auto selection = [&](const KeyRange& range) {
        return Selection{.rows = rows, .dim = 2, .where = "c <> 't7'", .range = range};
      };
      ExpectSharesAreTheWhole(
          {int64_t{7}, int64_t{40}, std::string("k3"), std::string("k51")},
          [&](const KeyRange& range) { return OpenSqliteSource(at, selection(range)); },
          [&](const KeyRange& range) { return SurveySqlite(at, selection(range)); });
    }
  }
}

TEST(SqliteSourceTest, SeeksBehindAKeyThatIsGone) {
  SqliteFile file;
  FillNumbered(&file, 6);
  const auto source = Open(file, "table=m&text=c");
  ASSERT_THAT(source->Next(), IsOk());
  file.Run("DELETE FROM m WHERE id = 4");
  ASSERT_THAT(source->SeekAfter(int64_t{4}), IsOk());
  EXPECT_THAT(ReadAll(source.get()), ElementsAre("5=t5", "6=t6"));
  ASSERT_THAT(source->SeekAfter(int64_t{-100}), IsOk());
  EXPECT_EQ(ReadAll(source.get()).size(), 5u);
}

TEST(SqliteSourceTest, FindsARowWhateverItsVector) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id TEXT PRIMARY KEY, c, v); INSERT INTO m VALUES ('a', 'A', zeroblob(8)), ('b', NULL, NULL)");
  const auto source =
      Open(file, "table=m&text=c&vector=v&where=id <> 'x'", {.rows = Selection::Rows::kWithoutVector, .dim = 2});
  EXPECT_EQ(Show(**source->Find("a")), "a=A");
  EXPECT_EQ(Show(**source->Find("b")), "b");
  EXPECT_FALSE(source->Find("c")->has_value());
  file.Run("INSERT INTO m VALUES ('x', 'X', NULL); UPDATE m SET c = 'new' WHERE id = 'a'");
  EXPECT_FALSE(source->Find("x")->has_value());
  EXPECT_EQ(Show(**source->Find("a")), "a=new");
}

TEST(SqliteSourceTest, FollowsAWriterThatInsertsAndDeletes) {
  SqliteFile file;
  FillNumbered(&file, 3000);
  const auto source = Open(file, "table=m&text=c");
  std::vector<std::string> rows;
  for (int i = 0; i < 700; ++i) rows.push_back(Show(**source->Next()));
  file.Run("DELETE FROM m WHERE id > 1500; INSERT INTO m (id, c) VALUES (0, 'before'), (2000, 'behind')");
  for (const std::string& row : ReadAll(source.get())) rows.push_back(row);
  ASSERT_EQ(rows.size(), 1501u);
  for (int i = 0; i < 1500; ++i) ASSERT_EQ(rows[i], absl::StrCat(i + 1, "=t", i + 1));
  EXPECT_EQ(rows.back(), "2000=behind");
}

// Also where nothing is selected: a walk over rows that all have their vector must not lock the application out.
TEST(SqliteSourceTest, HoldsNoLockBetweenTwoCalls) {
  for (const std::string journal : {"delete", "wal"}) {
    SCOPED_TRACE(journal);
    SqliteFile file;
    file.Run("PRAGMA journal_mode = " + journal);
    FillNumbered(&file, 2000);
    const auto source = Open(file, "table=m&text=c");
    ASSERT_THAT(source->Next(), IsOk());
    file.Run("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; UPDATE m SET c = 'changed'; COMMIT");
    // What the PRAGMA answers when no reader is in its way; -1: not in WAL mode.
    EXPECT_EQ(file.Ask("PRAGMA wal_checkpoint(TRUNCATE)"), journal == "wal" ? "0|0|0" : "0|-1|-1");
    ASSERT_THAT(source->Find(int64_t{3}), IsOk());
    ASSERT_THAT(source->CountRows(), IsOk());
    file.Run("BEGIN EXCLUSIVE; COMMIT");
    EXPECT_EQ(file.Ask("PRAGMA journal_mode"), "'" + journal + "'");
  }
}

// Gives every connection that is opened while it lives the SQL function probe(id), always 1. When it is called with
// `id`, it runs `sql` as another program.
class Probe {
 public:
  Probe(SqliteFile* file, int id, std::string sql) : file_(file), id_(id), sql_(std::move(sql)) {
    current = this;
    sqlite3_auto_extension(reinterpret_cast<void (*)()>(&Register));
  }
  ~Probe() {
    sqlite3_cancel_auto_extension(reinterpret_cast<void (*)()>(&Register));
    current = nullptr;
  }

 private:
  static int Register(sqlite3* db, char**, const sqlite3_api_routines*) {
    return sqlite3_create_function(db, "probe", 1, SQLITE_UTF8, nullptr, &Call, nullptr, nullptr);
  }
  static void Call(sqlite3_context* context, int, sqlite3_value** values) {
    if (sqlite3_value_int(values[0]) == current->id_) current->file_->Run(current->sql_);
    sqlite3_result_int(context, 1);
  }
  static inline Probe* current = nullptr;  // SQLite passes nothing on

  SqliteFile* const file_;
  const int id_;
  const std::string sql_;
};

// A walk in one transaction would still see the row that another program deletes meanwhile, and keep it from writing
// in other journal modes than WAL.
TEST(SqliteSourceTest, RenewsItsReadTransactionInLongWalks) {
  SqliteFile file;
  file.Run("PRAGMA journal_mode = wal");
  FillNumbered(&file, 10000);
  const Probe probe(&file, 100, "DELETE FROM m WHERE id = 9000");
  const auto source = Open(file, "table=m&text=c&where=probe(id)");
  EXPECT_EQ(*source->CountRows(), 9999);
}

TEST(SqliteSourceTest, WaitsForALockAndGoesOn) {
  SqliteFile file;
  FillNumbered(&file, 600);
  const auto source = Open(file, "table=m&text=c", {.patience = absl::Milliseconds(20)});
  for (int i = 0; i < 512; ++i) ASSERT_THAT(source->Next(), IsOk());
  file.Run("BEGIN EXCLUSIVE");
  EXPECT_THAT(source->Next(), HasError(absl::StatusCode::kUnavailable, HasSubstr("locked")));
  EXPECT_THAT(source->Find(int64_t{1}), HasError(absl::StatusCode::kUnavailable, HasSubstr("locked")));
  file.Run("COMMIT");
  EXPECT_EQ(Show(**source->Next()), "513=t513");
}

TEST(SqliteSourceTest, RefusesRowsThatHaveNoKeyOfTheirOwn) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE n (id TEXT PRIMARY KEY, c); INSERT INTO n VALUES ('a', 'A'), (NULL, 'lost');"
      "CREATE TABLE b (id BLOB PRIMARY KEY, c); INSERT INTO b VALUES (x'01', 'B');"
      "CREATE TABLE base (id, c); INSERT INTO base VALUES (1, 'x'), (2, 'y'), (2, 'z');"
      "CREATE VIEW v AS SELECT * FROM base;");
  EXPECT_THAT(OpenSqliteSource(file.At("table=n&text=c"), {}),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("NULL"), HasSubstr("key=rowid"))));
  EXPECT_THAT(ReadAll(Open(file, "table=n&text=c&key=rowid").get()), ElementsAre("1=A", "2=lost"));
  EXPECT_THAT(Open(file, "table=b&text=c")->Next(),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("got a blob")));
  const auto view = Open(file, "table=v&text=c&key=id");
  EXPECT_THAT(view->CountRows(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("2 is there twice")));
  ASSERT_THAT(view->SeekAfter(int64_t{1}), IsOk());
  EXPECT_EQ(Show(**view->Next()), "2=y");
  EXPECT_THAT(view->Next(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("2 is there twice")));
}

TEST(SqliteSourceTest, FindsTwoRowsOfAViewOnBothSidesOfAPage) {
  SqliteFile file;
  FillNumbered(&file, 600);
  file.Run("CREATE VIEW v AS SELECT id, c FROM m UNION ALL SELECT 512, 'again'");
  const auto view = Open(file, "table=v&text=c&key=id");
  for (int i = 0; i < 512; ++i) ASSERT_THAT(view->Next(), IsOk());
  EXPECT_THAT(view->Next(), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("512 is there twice")));
}

TEST(SqliteSourceTest, NamesWhatIsMissing) {
  SqliteFile file;
  FillNumbered(&file, 1);
  EXPECT_THAT(OpenSqliteSource(file.At("table=m"), {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("&text=")));
  EXPECT_THAT(OpenSqliteSource(file.At("table=m&text=cc"), {}),
              HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `c`?")));
  EXPECT_THAT(OpenSqliteSource(file.At("table=m&text=c&where=rol=1"), {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("no such column: rol")));
}

// More rows than one read transaction holds, of both kinds.
constexpr int kManyRows = 9000;

void FillWithNullKeys(SqliteFile* file) {
  file->Run(
      absl::StrCat("CREATE TABLE m (id TEXT PRIMARY KEY, c TEXT); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL "
                   "SELECT i + 1 FROM n WHERE i < ",
                   kManyRows, ") INSERT INTO m SELECT CASE WHEN i % 2 THEN NULL ELSE 'k' || i END, 't' || i FROM n"));
}

TEST(SqliteSourceTest, RowsWithoutAKeyComeFirstByTheirRowid) {
  SqliteFile file;
  FillWithNullKeys(&file);
  const auto source = Open(file, "table=m&text=c&null_key=rowid");
  EXPECT_EQ(*source->CountRows(), kManyRows);
  const std::vector<std::string> rows = ReadAll(source.get());
  ASSERT_EQ(rows.size(), static_cast<size_t>(kManyRows));
  EXPECT_EQ(rows[0], "rowid:1=t1");
  EXPECT_EQ(rows[1], "rowid:3=t3");
  EXPECT_EQ(rows[kManyRows / 2 - 1], absl::StrCat("rowid:", kManyRows - 1, "=t", kManyRows - 1));
  EXPECT_EQ(rows[kManyRows / 2], "k10=t10");
  EXPECT_EQ(std::set<std::string>(rows.begin(), rows.end()).size(), rows.size());
  // From any of them on, and one by one.
  ASSERT_THAT(source->SeekAfter(absl::string_view("rowid:5")), IsOk());
  EXPECT_EQ(Show(**source->Next()), "rowid:7=t7");
  ASSERT_THAT(source->SeekAfter(absl::string_view("k8998")), IsOk());
  EXPECT_EQ(Show(**source->Next()), "k90=t90");
  EXPECT_EQ(Show(**source->Find(absl::string_view("rowid:9"))), "rowid:9=t9");
  EXPECT_EQ(Show(**source->Find(absl::string_view("k10"))), "k10=t10");
  EXPECT_FALSE((*source->Find(absl::string_view("rowid:10"))).has_value()) << "that row has a key";
  EXPECT_FALSE((*source->Find(absl::string_view("rowid:x"))).has_value());
  Selection from;
  from.resume_from = "k9";
  EXPECT_THAT(ReadAll(Open(file, "table=m&text=c&null_key=rowid", from).get()), Contains("k9000=t9000"));
}

TEST(SqliteSourceTest, AConditionLeavesRowsWithoutAKeyOutForEveryCheck) {
  SqliteFile file;
  FillWithNullKeys(&file);
  EXPECT_THAT(OpenSqliteSource(file.At("table=m&text=c"), {}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("some rows have no key")));
  const auto source = Open(file, "table=m&text=c", {.where = "\"id\" IS NOT NULL"});
  EXPECT_EQ(*source->CountRows(), kManyRows / 2);
  EXPECT_EQ(ReadAll(source.get()).size(), static_cast<size_t>(kManyRows / 2));
}

TEST(SqliteSourceTest, WalksAnyTableWithoutSorting) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, other TEXT NOT NULL UNIQUE, role TEXT, c) WITHOUT ROWID;"
      "CREATE TABLE r (id TEXT PRIMARY KEY NOT NULL, role TEXT, c); CREATE INDEX roles ON r (role);"
      "INSERT INTO t VALUES ('a', 'z', 'user', 1), ('b', 'y', 'user', 2); INSERT INTO r VALUES ('b', 'user', 2), ('a', "
      "'user', 1);");
  EXPECT_THAT(ReadAll(Open(file, "table=t&key=other&text=c").get()), ElementsAre("y=2", "z=1"));
  EXPECT_THAT(ReadAll(Open(file, "table=r&text=c&where=role = 'user'").get()), ElementsAre("a=1", "b=2"));
}

TEST(SqliteSurveyTest, CountsWidthsAndModels) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, role, c, v, model); INSERT INTO m VALUES (1, 'u', 'a', zeroblob(8), "
      "'old'),"
      "(2, 'u', 'b', zeroblob(8), 'old'), (3, 'u', 'c', zeroblob(12), NULL), (4, 'u', 'd', NULL, NULL), (5, 'u', 'e', "
      "'[]', 'x'),"
      "(6, 'tool', 'f', zeroblob(8), 'other'), (7, 'u', 'g', x'', 'empty'), (8, 'u', 'h', zeroblob(12), 'wide')");
  const auto survey = SurveySqlite(file.At("table=m&text=c&vector=v&model_column=model&where=role='u'"), {.dim = 2});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_selected, 7);
  EXPECT_EQ(survey->rows_with_vector, 2);
  EXPECT_EQ(survey->rows_null, 1);
  EXPECT_THAT(survey->widths, ::testing::UnorderedElementsAre(::testing::FieldsAre(2, 2), ::testing::FieldsAre(3, 2),
                                                              ::testing::FieldsAre(0, 1), ::testing::FieldsAre(-1, 1)));
  // Whoever made what is no vector of the planned width: it does not count.
  ASSERT_EQ(survey->models.size(), 1u);
  EXPECT_EQ(survey->models[0].model, "old");
  EXPECT_EQ(survey->models[0].rows, 2);
}

TEST(SqliteSurveyTest, GroupsAreBounded) {
  SqliteFile file;
  FillNumbered(&file, 100);
  file.Run("UPDATE m SET v = zeroblob(4 * id)");
  const auto survey = SurveySqlite(file.At("table=m&vector=v"), {.dim = 2});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->widths.size(), Survey::kMaxGroups);
  EXPECT_EQ(survey->rows_selected, 100);
}

TEST(SqliteSurveyTest, NothingHasAVectorBeforeTheColumnIsThere) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c); INSERT INTO m VALUES (1, 'a'), (2, 'b')");
  const auto survey = SurveySqlite(file.At("table=m&text=c&vector=v&model_column=model"), {.dim = 2});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_selected, 2);
  EXPECT_EQ(survey->rows_null, 2);
  EXPECT_EQ(survey->rows_with_vector, 0);
}

}  // namespace
}  // namespace reembed
