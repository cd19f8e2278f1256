// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_sink.h"

#include <sys/stat.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"
#include "tools/sample/agentloop_sample.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const Model kModel{.name = "test-model", .dim = 2};
constexpr char kTable[] = "table=m&vector=v&model_column=model";

std::unique_ptr<VectorSink> Make(const SqliteFile& file, const std::string& parameters) {
  auto sink = MakeSqliteSink(file.At(parameters), kModel, {.busy_timeout = absl::Milliseconds(20)});
  EXPECT_THAT(sink, IsOk());
  return sink.ok() ? *std::move(sink) : nullptr;
}

std::unique_ptr<VectorSink> MakeOpen(const SqliteFile& file, const std::string& parameters) {
  std::unique_ptr<VectorSink> sink = Make(file, parameters);
  if (sink == nullptr) return nullptr;
  EXPECT_THAT(PrepareAndOpen(sink.get(), {.model = kModel}, {}), IsOk());
  return sink;
}

// Rows with keys 1 to `rows` and ordinals one below.
VectorRows Numbered(int rows) {
  VectorRows numbered(kModel.dim);
  for (int i = 0; i < rows; ++i) numbered.Add(i, int64_t{i + 1});
  return numbered;
}

void MakeTable(SqliteFile* file, int rows) {
  file->Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v BLOB, model TEXT)");
  for (int i = 1; i <= rows; ++i) file->Run(absl::StrCat("INSERT INTO m (id, c) VALUES (", i, ", 'text ", i, "')"));
}

// Ordinal and reason of each row that one Write refuses.
std::vector<std::string> Write(VectorSink* sink, const VectorRows& rows) {
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
  std::vector<std::string> shown;
  for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, " ", row.reason.ToString()));
  return shown;
}

TEST(SqliteSinkTest, WritesExactBytesAndNothingElse) {
  SqliteFile file;
  MakeTable(&file, 3);
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{2});
  rows.AddWithoutVector(2, int64_t{3});
  EXPECT_THAT(Write(MakeOpen(file, kTable).get(), rows), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT * FROM m"),
            "1|'text 1'|NULL|NULL\n2|'text 2'|x'0000803f0000c03f'|'test-model'\n3|'text 3'|NULL|NULL");
}

TEST(SqliteSinkTest, TakesTextKeysAndRowids) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE t (id TEXT PRIMARY KEY, v); INSERT INTO t (id) VALUES ('b'), ('12');"
      "CREATE TABLE w (id TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO w SELECT * FROM t;"
      "CREATE TABLE r (c, v); INSERT INTO r (c) VALUES ('x'), ('y');");
  VectorRows texts(kModel.dim), numbers(kModel.dim);
  texts.Add(1, "12");
  texts.Add(2, "b");
  numbers.Add(3, int64_t{2});
  EXPECT_THAT(Write(MakeOpen(file, "table=t&vector=v").get(), texts), IsEmpty());
  EXPECT_THAT(Write(MakeOpen(file, "table=w&vector=v").get(), texts), IsEmpty());
  EXPECT_THAT(Write(MakeOpen(file, "table=r&vector=v&key=rowid").get(), numbers), IsEmpty());
  const std::string stored = "'12'|x'0000803f0000c03f'\n'b'|x'0000004000002040'";
  EXPECT_EQ(file.Ask("SELECT id, v FROM t ORDER BY id"), stored);
  EXPECT_EQ(file.Ask("SELECT id, v FROM w ORDER BY id"), stored);
  EXPECT_EQ(file.Ask("SELECT c, v FROM r"), "'x'|NULL\n'y'|x'0000404000006040'");
}

TEST(SqliteSinkTest, AddsMissingColumnsOnlyWhenOpened) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO m VALUES (1, 'a')");
  const std::string parameters = "table=m&vector=em bed\"ding&model_column=made by";
  const std::string before = file.Ask("SELECT sql FROM sqlite_schema");
  EXPECT_THAT(*SqliteChanges(file.At(parameters), kModel.dim),
              ElementsAre("adds the column em bed\"ding to m", "adds the column made by to m"));
  const auto sink = Make(file, parameters);
  EXPECT_EQ(file.Ask("SELECT sql FROM sqlite_schema"), before);
  EXPECT_EQ(*PrepareAndOpen(sink.get(), {.model = kModel}, {.position = 7}), 0) << "what the column held is gone";
  EXPECT_THAT(Write(sink.get(), Numbered(1)), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT * FROM m"), "1|'a'|x'000000000000003f'|'test-model'");
  EXPECT_THAT(*SqliteChanges(file.At(parameters), kModel.dim), IsEmpty());
  EXPECT_EQ(*PrepareAndOpen(Make(file, parameters).get(), {.model = kModel}, {.position = 7}), 7);
}

TEST(SqliteSinkTest, RefusesRowsThatAreGone) {
  SqliteFile file;
  MakeTable(&file, 3);
  const auto sink = MakeOpen(file, kTable);
  file.Run("DELETE FROM m WHERE id = 2");
  EXPECT_THAT(Write(sink.get(), Numbered(3)),
              ElementsAre(AllOf(HasSubstr("1 NOT_FOUND"), HasSubstr("row 2: is gone"))));
  EXPECT_EQ(file.Ask("SELECT id FROM m WHERE v IS NOT NULL"), "1\n3");
}

TEST(SqliteSinkTest, StoresTheRestWhenTheTableRefusesRows) {
  SqliteFile file;
  file.Run("CREATE TABLE m (id INTEGER PRIMARY KEY, c, v BLOB CHECK (id <> 2 OR v IS NULL), model)");
  file.Run("INSERT INTO m (id) VALUES (1), (2), (3), (4), (5)");
  file.Run(
      "CREATE TRIGGER no3 BEFORE UPDATE ON m WHEN old.id = 3 BEGIN SELECT RAISE(ABORT, 'row three is sealed'); END;"
      "CREATE TRIGGER no4 BEFORE UPDATE ON m WHEN old.id = 4 BEGIN SELECT RAISE(IGNORE); END;");
  EXPECT_THAT(Write(MakeOpen(file, kTable).get(), Numbered(5)),
              ElementsAre(AllOf(HasSubstr("1 FAILED_PRECONDITION"), HasSubstr("row 2: CHECK constraint failed")),
                          AllOf(HasSubstr("2 FAILED_PRECONDITION"), HasSubstr("row 3: row three is sealed")),
                          AllOf(HasSubstr("3 FAILED_PRECONDITION"), HasSubstr("a trigger of the table ignored"))));
  EXPECT_EQ(file.Ask("SELECT id FROM m WHERE v IS NOT NULL"), "1\n5");
}

TEST(SqliteSinkTest, SurvivesATriggerThatRollsEverythingBack) {
  SqliteFile file;
  MakeTable(&file, 5);
  file.Run("CREATE TRIGGER no BEFORE UPDATE ON m WHEN old.id IN (2, 4) BEGIN SELECT RAISE(ROLLBACK, 'never'); END");
  EXPECT_THAT(Write(MakeOpen(file, kTable).get(), Numbered(5)),
              ElementsAre(HasSubstr("row 2: never"), HasSubstr("row 4: never")));
  EXPECT_EQ(file.Ask("SELECT id FROM m WHERE v IS NOT NULL"), "1\n3\n5");
}

TEST(SqliteSinkTest, TheTablesOwnTriggersRun) {
  SqliteFile file;
  MakeTable(&file, 2);
  file.Run(
      "CREATE TABLE log (id, bytes);"
      "CREATE TRIGGER seen AFTER UPDATE OF v ON m BEGIN INSERT INTO log VALUES (new.id, length(new.v)); END");
  EXPECT_THAT(Write(MakeOpen(file, kTable).get(), Numbered(2)), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT * FROM log"), "1|8\n2|8");
}

// The file's own count of write transactions (https://sqlite.org/fileformat2.html, section 1.3.8; not in WAL mode).
uint32_t CountedTransactions(const SqliteFile& file) {
  std::ifstream bytes(file.path(), std::ios::binary);
  bytes.seekg(24);
  uint32_t count = 0;
  for (int i = 0; i < 4; ++i) count = count << 8 | static_cast<uint32_t>(bytes.get());
  return count;
}

TEST(SqliteSinkTest, WritesAllBatchesInOneTransaction) {
  SqliteFile file;
  MakeTable(&file, 4);
  const auto sink = MakeOpen(file, kTable);
  VectorRows first(kModel.dim), second(kModel.dim);
  first.Add(2, int64_t{3});
  first.Add(3, int64_t{4});
  second.Add(0, int64_t{1});
  second.Add(1, int64_t{2});
  const uint32_t transactions = CountedTransactions(file);
  const Batch* const batches[] = {first.batch(), second.batch()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  EXPECT_EQ(CountedTransactions(file), transactions + 1);
  EXPECT_EQ(file.Ask("SELECT count(*) FROM m WHERE v IS NOT NULL"), "4");
}

TEST(SqliteSinkTest, ALockedDatabaseIsTemporaryAndNothingIsHalfStored) {
  SqliteFile file;
  MakeTable(&file, 2);
  const auto sink = MakeOpen(file, kTable);
  file.Run("BEGIN IMMEDIATE");
  const VectorRows rows = Numbered(2);
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), HasError(absl::StatusCode::kUnavailable, HasSubstr("locked")));
  file.Run("COMMIT; BEGIN; SELECT * FROM m");
  // A reader keeps the commit out; what was begun is undone and no lock stays behind.
  EXPECT_THAT(sink->Write({&batch, 1}, &refused), HasError(absl::StatusCode::kUnavailable, HasSubstr("locked")));
  file.Run("COMMIT; PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; COMMIT");
  EXPECT_EQ(file.Ask("SELECT count(*) FROM m WHERE v IS NOT NULL"), "0");
  EXPECT_THAT(refused, IsEmpty());
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT count(*) FROM m WHERE v IS NOT NULL"), "2");
}

TEST(SqliteSinkTest, HoldsNoLockBetweenTwoWritesAndKeepsTheJournalMode) {
  for (const std::string journal : {"delete", "wal", "truncate"}) {
    SCOPED_TRACE(journal);
    SqliteFile file;
    file.Run("PRAGMA journal_mode = " + journal);
    MakeTable(&file, 3);
    const std::string kept = journal == "truncate" ? "delete" : journal;  // only WAL is written into the file
    const auto sink = MakeOpen(file, kTable);
    file.Run("PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; UPDATE m SET c = 'mine'; COMMIT");
    EXPECT_THAT(Write(sink.get(), Numbered(3)), IsEmpty());
    file.Run("BEGIN EXCLUSIVE; UPDATE m SET c = 'mine again'; COMMIT");
    EXPECT_THAT(sink->Flush(), IsOk());
    EXPECT_THAT(CompleteAndPublish(sink.get(), {}), IsOk());
    file.Close();
    EXPECT_EQ(file.Ask("PRAGMA journal_mode"), "'" + kept + "'");
    EXPECT_EQ(file.Ask("PRAGMA integrity_check"), "'ok'");
  }
}

TEST(SqliteSinkTest, RefusesTargetsThatCannotTakeVectors) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, g AS (length(c)));"
      "CREATE TABLE s (id INTEGER PRIMARY KEY, v TEXT) STRICT;"
      "CREATE VIEW view_of_m AS SELECT * FROM m;"
      "CREATE VIRTUAL TABLE fts USING fts5(c);");
  const auto make = [&](const std::string& parameters) { return MakeSqliteSink(file.At(parameters), kModel).status(); };
  EXPECT_THAT(make("table=mm&vector=v"),
              HasError(absl::StatusCode::kNotFound, AllOf(HasSubstr("did you mean `m`"), HasSubstr("mode=upsert"))));
  EXPECT_THAT(make("table=m"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("&vector=")));
  EXPECT_THAT(make("table=m&vector=id"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("is the key")));
  EXPECT_THAT(make("table=m&vector=g"), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("computed")));
  EXPECT_THAT(make("table=s&vector=v"),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected type BLOB, got TEXT")));
  EXPECT_THAT(make("table=view_of_m&key=id&vector=v"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("is a view")));
  EXPECT_THAT(make("table=fts&key=rowid&vector=v"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("virtual table")));
}

TEST(SqliteSinkTest, UpsertMakesFileAndTable) {
  SqliteFile file;
  const auto sink = Make(file, "table=vectors&mode=upsert");
  struct stat unused;
  EXPECT_NE(::stat(file.path().c_str(), &unused), 0) << "making a sink changes nothing";
  EXPECT_EQ(*PrepareAndOpen(sink.get(), {.model = kModel}, {.position = 9}), 0);
  VectorRows rows(kModel.dim);
  rows.Add(1, int64_t{12});
  rows.Add(2, "12");
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT * FROM vectors"),
            "12|x'0000803f0000c03f'|'test-model'\n'12'|x'0000004000002040'|'test-model'");
  // The same location names it for `verify`.
  const auto location = ParseLocation(absl::StrCat("sqlite:", file.path(), "?table=vectors&mode=upsert"));
  ASSERT_THAT(location, IsOk());
  const auto reader = OpenSqliteReader(*location, {.dim = kModel.dim});
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Find(int64_t{12});
  ASSERT_THAT(row, IsOk());
  EXPECT_TRUE(row->has_value());
}

// As a run leaves it that was killed between making the file and its first commit.
TEST(SqliteSinkTest, AnEmptyFileIsOneToBeMade) {
  SqliteFile file;
  std::ofstream(file.path()).close();
  EXPECT_THAT(Write(MakeOpen(file, "table=vectors&mode=upsert").get(), Numbered(3)), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT count(*) FROM vectors"), "3");
}

TEST(SqliteSinkTest, UpsertReplacesAndAdds) {
  SqliteFile file;
  file.Run(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT DEFAULT 'new', v BLOB); INSERT INTO m VALUES (1, 'old', x'00');"
      "CREATE TABLE n (id TEXT NOT NULL, v); CREATE UNIQUE INDEX u ON n (id COLLATE NOCASE); INSERT INTO n VALUES "
      "('a', 1);");
  EXPECT_THAT(Write(MakeOpen(file, "table=m&key=id&vector=v&mode=upsert").get(), Numbered(2)), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT id, c, length(v), model FROM m"), "1|'old'|8|'test-model'\n2|'new'|8|'test-model'");
  VectorRows rows(kModel.dim);
  rows.Add(1, "A");
  EXPECT_THAT(Write(MakeOpen(file, "table=n&key=id&vector=v&mode=upsert").get(), rows), IsEmpty());
  EXPECT_EQ(file.Ask("SELECT id, v FROM n"), "'a'|x'0000803f0000c03f'");
}

TEST(SqliteSinkTest, FillsAnOldAgentloopDatabaseAndTouchesNothingElse) {
  SqliteFile file;
  ASSERT_THAT(MakeAgentloopSample(file.path(), {.rows = 500,
                                                .schema = AgentloopSampleOptions::Schema::kBeforeEmbeddings,
                                                .odd_rows = AgentloopSampleOptions::OddRows::kSome}),
              IsOk());
  const std::string messages =
      "SELECT message_id, session_id, chunk_index, role, content, tokens, timestamp, metadata FROM messages";
  const std::string rest =
      "SELECT * FROM (SELECT id, hex(block) AS b, 0 FROM messages_fts_data UNION ALL SELECT id, c0, c1 FROM "
      "messages_fts_content UNION ALL SELECT id, hex(sz), 0 FROM messages_fts_docsize UNION ALL SELECT session_id, "
      "user_id, created_at || last_active FROM sessions)";
  const std::string messages_before = file.Ask(messages);
  const std::string rest_before = file.Ask(rest);
  VectorRows rows(kModel.dim);
  for (int i = 0; i < 500; i += 2) rows.Add(i, int64_t{i + 1});
  EXPECT_THAT(Write(MakeOpen(file, "table=messages&vector=embedding&model_column=embedding_model").get(), rows),
              IsEmpty());
  EXPECT_EQ(file.Ask(messages), messages_before);
  EXPECT_EQ(file.Ask(rest), rest_before);
  EXPECT_EQ(file.Ask("SELECT count(*) FROM messages WHERE length(embedding) = 8 AND embedding_model = 'test-model'"),
            "250");
  EXPECT_EQ(file.Ask("PRAGMA integrity_check"), "'ok'");
  file.Run("INSERT INTO messages_fts (messages_fts) VALUES ('integrity-check')");
}

}  // namespace
}  // namespace reembed
