// SPDX-License-Identifier: Apache-2.0
// Memory systems that this program has never heard of, each described by a file of the user's alone: their rows in
// Qdrant, SQLite, PostgreSQL and FalkorDB.

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/location.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 32;

class OwnPresetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
    environment_["OPENAI_API_KEY"] = "any";
    environment_["OPENAI_BASE_URL"] = embedder_->base_url();
  }

  // As a user does it: a file in the folder of their own.
  void Describe(const std::string& rest) {
    std::filesystem::create_directories(folder_ / "config/reembed/systems");
    std::ofstream(folder_ / "config/reembed/systems/mine.toml")
        << "name = \"mine\"\nsummary = \"a system of my own\"\n"
        << rest << "\n[model]\nembedder = \"openai\"\nname = \"reembed-lexical-1\"\ndimensions = " << kDim
        << "\nbase_url_env = \"OPENAI_BASE_URL\"\nkey_env = \"OPENAI_API_KEY\"\n";
  }

  ProcessResult Command(const std::string& verb, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {verb, "--system", "mine"});
    return RunClean(REEMBED_BINARY, folder_.path(), more, environment_);
  }
  ProcessResult RunJob(const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"--job", folder_ / "job", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return Command("run", all);
  }
  ProcessResult OnJob(const std::string& verb, const std::string& more = "--quiet") {
    return RunClean(REEMBED_BINARY, folder_.path(), {verb, folder_ / "job", more}, environment_);
  }

  // Plans, runs, runs again without buying anything, and compares what is there with the job.
  void ExpectWholeWay(int rows) {
    const ProcessResult plan = Command("plan");
    ASSERT_EQ(plan.exit_code, 0) << plan.out << plan.err;
    EXPECT_EQ(embedder_->counts().requests, 0);
    const ProcessResult run = RunJob();
    ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
    EXPECT_EQ(LastNumber(run, "rows_embedded"), rows);
    const int64_t requests = embedder_->counts().requests;
    EXPECT_EQ(RunJob().exit_code, 0);
    EXPECT_EQ(embedder_->counts().requests, requests) << "a finished job asked again";
    const ProcessResult verified = RunClean(REEMBED_BINARY, folder_.path(), {"verify", folder_ / "job"}, environment_);
    EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  }

  TempFolder folder_;
  std::unique_ptr<EmbeddingServer> embedder_;
  std::map<std::string, std::string> environment_;
};

// As mem0 keeps them: one collection, the text in a field of the payload, whose memory it is in another.
TEST_F(OwnPresetTest, PointsOfQdrantAlone) {
  QdrantServer qdrant({.api_key = "s3cr3t"});
  environment_["MINE_URL"] = qdrant.url() + "/";
  environment_["QDRANT_API_KEY"] = "s3cr3t";
  Describe(R"(
[[stream]]
source = "qdrant:{MINE_URL:6333}/{MINE_COLLECTION|'mem0'}?text=data"
target = "qdrant:{MINE_URL:6333}/{MINE_COLLECTION|'mem0'}"
user = "user_id")");
  qdrant.Do("PUT", "/collections/mem0", absl::StrCat(R"({"vectors":{"size":)", kDim, R"(,"distance":"Cosine"}})"));
  std::string vector = "[1";
  for (int i = 1; i < kDim; ++i) vector += ",0";
  std::string body = R"({"points":[)";
  for (int i = 0; i < 60; ++i) {
    absl::StrAppend(&body, i == 0 ? "" : ",", R"({"id":)", i, R"(,"vector":)", vector,
                    R"(],"payload":{"data":"memory )", i, R"(","hash":"h)", i, R"(","user_id":")",
                    i % 3 == 0 ? "ann" : "bob", R"("}})");
  }
  qdrant.Do("PUT", "/collections/mem0/points?wait=true", body + "]}");
  const auto before = qdrant.Points("mem0");
  EXPECT_THAT(RunClean(REEMBED_BINARY, folder_.path(), {"systems"}, environment_).out,
              AllOf(HasSubstr("mine"), HasSubstr("a system of my own")));
  // Saved from the same description.
  const ProcessResult backup = Command("backup", {"--to", folder_ / "saved"});
  EXPECT_EQ(backup.exit_code, 0) << backup.out << backup.err;
  // One user's.
  const ProcessResult anns = RunJob({"--user", "ann"});
  ASSERT_EQ(anns.exit_code, 0) << anns.out << anns.err;
  EXPECT_EQ(LastNumber(anns, "rows_embedded"), 20);
  for (const auto& [id, point] : qdrant.Points("mem0")) {
    EXPECT_EQ(point.vectors != before.at(id).vectors, point.payload.at("user_id") == R"("ann")") << id;
    EXPECT_EQ(point.payload, before.at(id).payload) << id;
  }
  EXPECT_EQ(OnJob("rollback", "--yes").exit_code, 0);
  EXPECT_EQ(qdrant.Points("mem0"), before);
  // Everybody's.
  std::filesystem::remove_all(folder_ / "job");
  const int64_t bought = embedder_->counts().texts;
  const ProcessResult run = RunJob();
  ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 60);
  EXPECT_GE(embedder_->counts().texts, bought + 60);
  for (const auto& [id, point] : qdrant.Points("mem0")) {
    EXPECT_NE(point.vectors, before.at(id).vectors) << id;
    EXPECT_EQ(point.payload, before.at(id).payload) << id;
  }
  const ProcessResult verified = RunClean(REEMBED_BINARY, folder_.path(), {"verify", folder_ / "job"}, environment_);
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  EXPECT_EQ(OnJob("rollback", "--yes").exit_code, 0);
  EXPECT_EQ(qdrant.Points("mem0"), before);
  // Without its variable it is said which one is wanted.
  environment_["MINE_URL"] = "";
  const ProcessResult nowhere = RunJob();
  EXPECT_EQ(nowhere.exit_code, 2) << nowhere.err;
  EXPECT_THAT(nowhere.err, HasSubstr("set MINE_URL"));
}

TEST_F(OwnPresetTest, RowsOfSqlite) {
  Describe(R"(
[db]
paths = ["~/mine.db"]

[[stream]]
source = "{db}?table=notes&key=id&vector=embedding&encoding=json&model_column=model"
template = '{(title, body)|join:": "}'
where = "body <> ''")");
  SqliteFile file;
  file.Run(
      "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, body TEXT, embedding TEXT, model TEXT);"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO notes (title, body) "
      "SELECT 'note ' || i, CASE i WHEN 7 THEN '' ELSE 'body ' || i END FROM n");
  file.Close();
  std::filesystem::copy_file(file.path(), folder_ / "mine.db");
  ExpectWholeWay(49);
}

TEST_F(OwnPresetTest, RowsOfPostgres) {
  PostgresServer& server = TestPostgres();
  const std::string uri = server.Uri("");
  environment_["MINE_DATABASE"] = uri.substr(0, uri.find('&'));
  Describe(R"(
[db]
env = ["MINE_DATABASE"]

[[stream]]
name = "facts"
database = "postgres"
source = "{db}?table=own_facts&key=id&text=fact&vector=embedding"
user = "owner"

[[stream]]
name = "others"
database = "sqlite"
source = "{db}?table=others&key=id&text=fact&vector=embedding")");
  server.Run(absl::StrCat(
      "DROP TABLE IF EXISTS own_facts; CREATE TABLE own_facts (id bigint PRIMARY KEY, fact text, owner text, embedding "
      "vector(",
      kDim, ")); INSERT INTO own_facts SELECT i, 'fact ' || i, 'me' FROM generate_series(1, 50) i"));
  ExpectWholeWay(50);
  EXPECT_EQ(server.Ask("SELECT count(*) FROM own_facts WHERE embedding IS NOT NULL"), "50");
}

// Its own suite, by whose name it gets the server's files.
class FalkorOwnPresetTest : public OwnPresetTest {};

TEST_F(FalkorOwnPresetTest, NodesOfAGraph) {
  FalkorServer server;
  const std::string uri = server.Uri("", "mine");
  environment_["MINE_GRAPH"] = uri.substr(uri.find("//"), uri.find('?') - uri.find("//"));
  Describe(R"(
[[stream]]
source = "falkordb:{MINE_GRAPH}?label=Fact&key=id&text=fact&vector=embedding"
user = "owner")");
  server.Run(
      "UNWIND range(1, 40) AS i CREATE (:Fact {id: i, fact: 'fact ' + i, owner: CASE i % 4 WHEN 0 THEN 'ann' "
      "ELSE 'bob' END})",
      "mine");
  const ProcessResult anns = Command("run", {"--user", "ann", "--job", folder_ / "anns"});
  EXPECT_EQ(anns.exit_code, 0) << anns.out << anns.err;
  EXPECT_EQ(
      server.Ask("MATCH (n:Fact) WHERE n.embedding IS NOT NULL RETURN count(n), min(n.owner), max(n.owner)", "mine"),
      "10|ann|ann");
  embedder_.reset();
  SetUp();
  ExpectWholeWay(30);
  EXPECT_EQ(server.Ask("MATCH (n:Fact) WHERE n.embedding IS NULL RETURN count(n)", "mine"), "0");
}

}  // namespace
}  // namespace reembed
