// SPDX-License-Identifier: Apache-2.0
// EspressoBot as a whole, on a real PostgreSQL: tables and files as the system and its users leave them, the command,
// and what is in the database then, read with libpq alone.

#include "tests/fakes/espressobot.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 64;

int64_t Rows() { return TestRows(2000); }

class EspressobotTest : public ::testing::TestWithParam<EspressobotLayout> {
 protected:
  void SetUp() override { StartEmbedder(kDim); }

  void StartEmbedder(int dim) {
    auto server = EmbeddingServer::Start({.dim = dim});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  // Widths and tables are for the command to find out.
  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run",
                    const std::map<std::string, std::string>& environment = {}) {
    std::vector<std::string> args = {command,   "--system",         "espressobot", "--api-base", server_->base_url(),
                                     "--model", "reembed-lexical-1"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, environment);
  }

  ProcessResult Verify() {
    const std::string jobs = folder_ / "state/reembed/jobs/";
    const std::string job = std::filesystem::directory_iterator(jobs)->path().string();
    return RunClean(REEMBED_BINARY, folder_.path(), {"verify", job});
  }

  // As the system's v2 manager asks: nothing keeps NULL from the top.
  std::string Search(const std::string& user, const std::string& query) {
    const std::string bytes = ExpectedEmbedding(query, kDim);
    std::vector<float> vector(kDim);
    std::memcpy(vector.data(), bytes.data(), bytes.size());
    return db_.Ask(absl::StrCat("SELECT content, 1 - (embedding <=> '[", absl::StrJoin(vector, ","),
                                "]'::vector) AS similarity FROM memories WHERE user_id = '", user,
                                "' AND status = 'active' ORDER BY similarity DESC, importance_score DESC LIMIT 1"));
  }

  // Every row that lacked a vector has the right one, those that had one keep it, and blank ones have none.
  // Returns how many have the right one.
  int64_t ExpectComplete(const EspressobotRows& rows, const std::map<std::string, std::string>& before) {
    const std::map<std::string, std::string> now = EspressobotVectors(&db_, GetParam());
    int64_t right = 0;
    for (const auto& [id, text] : rows.texts) {
      const auto found = now.find(id);
      right += found != now.end() && found->second == ExpectedEmbedding(text, kDim) ? 1 : 0;
    }
    EXPECT_EQ(right, static_cast<int64_t>(rows.texts.size()));
    for (const std::string& id : rows.has) EXPECT_EQ(now.at(id), before.at(id)) << id;
    EXPECT_EQ(now.size(), rows.texts.size() + rows.has.size());
    return right;
  }

  // Rows that are right in every column, and rows that are not.
  std::pair<int64_t, int64_t> ExpectBrought(const EspressobotFile& file) {
    const std::map<std::string, EspressobotMemory> now = EspressobotBrought(&db_, "espressobot_memory.db");
    const std::map<std::string, std::string> vectors = EspressobotBroughtVectors(&db_, "espressobot_memory.db");
    int64_t right = 0, changed = 0;
    for (const auto& [id, row] : file.rows) {
      const auto found = now.find(id);
      if (found == now.end()) continue;
      EXPECT_EQ(found->second.others, row.others) << id;
      changed += found->second.others == row.others ? 0 : 1;
      right += vectors.at(id) == ExpectedEmbedding(row.text, kDim) ? 1 : 0;
    }
    EXPECT_EQ(right, static_cast<int64_t>(file.rows.size()));
    EXPECT_EQ(now.size(), file.rows.size());
    EXPECT_EQ(db_.Ask("SELECT count(*) FROM memories WHERE embedding IS NULL"), "0");
    return {right, changed};
  }

  std::string MakeFile() {
    db_.Run(
        "DROP TABLE IF EXISTS memories, prompt_fragments, memory_duplicates, memory_analytics, reembed_ids CASCADE");
    const std::string path = folder_ / "espressobot_memory.db";
    std::filesystem::remove(path);
    file_ = MakeEspressobotFile(path, {.rows = Rows()});
    return path;
  }

  PostgresServer& db_ = TestPostgres();
  TempFolder folder_;
  std::string uri_ = db_.Uri("");
  EspressobotFile file_;
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_P(EspressobotTest, EveryRowThatLacksAVectorGetsItAndNothingElseChanges) {
  const EspressobotRows rows = MakeEspressobotTables(&db_, GetParam(), {.rows = Rows(), .dim = kDim});
  std::map<std::string, std::string> before;
  for (const auto& [id, vector] : EspressobotVectors(&db_, GetParam())) before[id] = vector;
  const std::string others = EspressobotOtherColumns(&db_);
  const bool has_fragments = db_.Ask("SELECT to_regclass('prompt_fragments') IS NOT NULL") == "t";
  if (has_fragments) db_.Run("INSERT INTO prompt_fragments (category, content) VALUES ('tone', 'Be  brief')");

  const ProcessResult plan = Run({"--db", uri_}, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("is laid out as in "), HasSubstr("search fails now"),
                              HasSubstr(absl::StrCat(kDim, " dimensions"))));
  EXPECT_THAT(plan.out, Not(HasSubstr("fires the trigger"))) << "the owner of all may keep it out";
  EXPECT_EQ(server_->counts().requests, 0);

  const ProcessResult run = Run({"--db", uri_, "--json"});
  EXPECT_EQ(run.exit_code, rows.blank.empty() ? 0 : 3) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), static_cast<int64_t>(rows.texts.size()) + (has_fragments ? 1 : 0));
  EXPECT_EQ(LastNumber(run, "rows_rejected"), static_cast<int64_t>(rows.blank.size()));
  const int64_t right = ExpectComplete(rows, before);
  const int64_t changed = ChangedLines(others, EspressobotOtherColumns(&db_));
  EXPECT_EQ(changed, 0) << "updated_at included";

  const int64_t requests = server_->counts().requests;
  const ProcessResult again = Run({"--db", uri_, "--json"});
  EXPECT_EQ(again.exit_code, run.exit_code) << again.err;
  EXPECT_EQ(server_->counts().requests, requests) << "a second run bought again";
  PrintMeasure("espressobot, " + EspressobotLayoutName(GetParam()), static_cast<int64_t>(rows.texts.size()), right,
               changed, server_->counts().requests - requests);
  const ProcessResult verify = Verify();
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

INSTANTIATE_TEST_SUITE_P(Layouts, EspressobotTest, ::testing::ValuesIn(kEspressobotLayouts),
                         [](const auto& info) { return EspressobotLayoutName(info.param); });

using EspressobotCommandTest = EspressobotTest;

TEST_F(EspressobotCommandTest, ASearchAsTheSystemsFindsTheNearestRowFirst) {
  const EspressobotRows rows = MakeEspressobotTables(&db_, EspressobotLayout::kLanggraph, {.rows = 200, .dim = kDim});
  db_.Run("DELETE FROM memories WHERE btrim(content, E' \\n\\t') = ''");
  EXPECT_THAT(Search("user1", rows.texts.begin()->second), HasSubstr("|NULL")) << "what the run is to repair";
  ASSERT_EQ(Run({"--db", uri_, "--all", "--yes"}).exit_code, 0);
  for (const std::string& id : {std::string("1"), std::string("21"), std::string("101")}) {
    const std::string content = db_.Ask("SELECT content FROM memories WHERE id = " + id);
    const std::string user = db_.Ask("SELECT user_id FROM memories WHERE id = " + id);
    EXPECT_EQ(Search(user, rows.texts.count(id) > 0 ? rows.texts.at(id) : content).substr(0, content.size()), content);
  }
}

TEST_F(EspressobotCommandTest, AnotherWidthGoesIntoANewColumnWithAnIndexThatPgvectorTakes) {
  StartEmbedder(3072);
  MakeEspressobotTables(&db_, EspressobotLayout::kLanggraph, {.rows = 60, .dim = 1536});
  db_.Run("DELETE FROM memories WHERE btrim(content, E' \\n\\t') = ''");
  const std::string others = EspressobotOtherColumns(&db_);
  const ProcessResult run = Run({"--db", uri_, "--dimensions", "3072"});
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_THAT(run.err, HasSubstr("kept in the column embedding_old"));
  EXPECT_EQ(db_.Ask("SELECT count(*) FILTER (WHERE embedding IS NULL), min(vector_dims(embedding)), "
                    "max(vector_dims(embedding_old)) FROM memories"),
            "0|3072|1536");
  EXPECT_THAT(db_.Ask("SELECT indexdef FROM pg_indexes WHERE tablename = 'memories' AND indexdef LIKE '%hnsw%'"),
              HasSubstr("halfvec(3072)"));
  EXPECT_EQ(EspressobotOtherColumns(&db_), others);
  EXPECT_EQ(db_.Ask("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = "
                    "'prompt_fragments'::regclass AND attname = 'embedding'"),
            "vector(3072)");
  const int64_t requests = server_->counts().requests;
  const ProcessResult as_it_is = Run({"--db", uri_});
  EXPECT_EQ(as_it_is.exit_code, 0) << as_it_is.err;
  EXPECT_EQ(Run({"--db", uri_, "--dimensions", "3072"}).exit_code, 0);
  EXPECT_EQ(server_->counts().requests, requests);
  const ProcessResult verify = Verify();
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

TEST_F(EspressobotCommandTest, AnIndexThatIsThereIsDroppedAndBuiltAgainWhenAsked) {
  MakeEspressobotTables(&db_, EspressobotLayout::kSchema, {.rows = 60, .dim = kDim});
  db_.Run("CREATE INDEX nearest ON memories USING hnsw (embedding vector_cosine_ops) WITH (m = 9)");
  const std::string indexes = "SELECT indexdef FROM pg_indexes WHERE tablename = 'memories' ORDER BY 1";
  const std::string before = db_.Ask(indexes);
  EXPECT_THAT(Run({"--db", uri_}, "plan").out, AllOf(HasSubstr("keeps the index nearest"), HasSubstr("index=rebuild")));
  const std::string rebuild = db_.Uri("index=rebuild");
  EXPECT_THAT(Run({"--db", rebuild}, "plan").out, HasSubstr("drops the index nearest, and builds it again at the end"));
  EXPECT_EQ(Run({"--db", rebuild}).exit_code, 3);
  EXPECT_EQ(db_.Ask(indexes), before);
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM memories WHERE embedding IS NULL AND content ~ '[a-z]'"), "0");
  EXPECT_EQ(db_.Ask("SELECT to_regclass('reembed_indexes') IS NULL"), "t");
}

TEST_F(EspressobotCommandTest, UserReallyFilters) {
  const EspressobotRows rows = MakeEspressobotTables(&db_, EspressobotLayout::kPrisma, {.rows = 300, .dim = kDim});
  const ProcessResult unknown = Run({"--db", uri_, "--user", "user9"});
  EXPECT_EQ(unknown.exit_code, 2) << unknown.out;
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("nobody has `user9`"), HasSubstr("did you mean `user")));
  const std::string lacking =
      "SELECT count(*) FROM memories WHERE coalesce(octet_length(embedding), 0) < 20 AND user_id ";
  const std::string others = db_.Ask(lacking + "<> 'user2'");
  const ProcessResult run = Run({"--db", uri_, "--user", "user2", "--json"});
  EXPECT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
  EXPECT_GT(LastNumber(run, "rows_embedded"), 20);
  EXPECT_EQ(db_.Ask(lacking + "= 'user2'"), absl::StrCat(LastNumber(run, "rows_rejected")));
  EXPECT_EQ(db_.Ask(lacking + "<> 'user2'"), others);
}

TEST_F(EspressobotCommandTest, BringsAFileIntoAnEmptyDatabaseOnce) {
  const std::string file = MakeFile();
  const std::vector<std::string> args = {"--db", file, "--target", uri_, "--dimensions", absl::StrCat(kDim), "--json"};
  const ProcessResult plan = Run({"--db", file, "--target", uri_, "--dimensions", absl::StrCat(kDim)}, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("makes the table memories"), HasSubstr("builds an index (hnsw)")));
  EXPECT_EQ(db_.Ask("SELECT to_regclass('memories') IS NULL"), "t");

  const ProcessResult run = Run(args);
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "rows_selected"), static_cast<int64_t>(file_.rows.size() + file_.rejected.size()));
  EXPECT_EQ(LastNumber(run, "rows_rejected"), static_cast<int64_t>(file_.rejected.size()));
  const auto [right, changed] = ExpectBrought(file_);
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'update_%_updated_at'"),
            "2");
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM pg_indexes WHERE indexname = 'memories_embedding_hnsw'"), "1");

  const int64_t requests = server_->counts().requests;
  EXPECT_EQ(Run(args).exit_code, 3);
  EXPECT_EQ(server_->counts().requests, requests) << "a second run bought again";
  PrintMeasure("espressobot, import", static_cast<int64_t>(file_.rows.size()), right, changed,
               server_->counts().requests - requests);
  const ProcessResult verify = Verify();
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;

  // Another job knows nothing of the first, and the target knows which rows it has.
  std::vector<std::string> other = args;
  other.insert(other.end(), {"--job", folder_ / "other"});
  EXPECT_EQ(Run(other).exit_code, 3);
  ExpectBrought(file_);

  db_.Run("ALTER TABLE memories ADD status varchar(20) DEFAULT 'active'");
  const auto& [id, row] = *file_.rows.begin();
  const std::string user = row.others.substr(0, row.others.find('|'));
  const std::string found = Search(user, row.text);
  EXPECT_EQ(found.substr(0, found.rfind('|')), row.others.substr(row.others.rfind('|') + 1)) << id;
}

TEST_F(EspressobotCommandTest, ARowThatWasChangedOrDeletedSinceIsLeftAlone) {
  const std::string file = MakeFile();
  const std::vector<std::string> args = {"--db",     file,     "--target", uri_, "--dimensions", absl::StrCat(kDim),
                                         "--stream", "memory", "--json"};
  ASSERT_EQ(Run(args).exit_code, 3);
  db_.Run(
      "UPDATE memories SET content = 'by hand' WHERE content = 'first'; DELETE FROM memories WHERE content LIKE "
      "'second%'; UPDATE memories SET embedding = NULL");
  std::vector<std::string> other = args;
  other.insert(other.end(), {"--job", folder_ / "other"});
  const ProcessResult run = Run(other);
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_rejected"), 2) << run.out;
  EXPECT_EQ(LastNumber(run, "rows_gone"), 1) << run.out;
  EXPECT_EQ(db_.Ask("SELECT content, embedding IS NULL FROM memories"), "by hand|t");
  const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", folder_ / "other/memory"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("has another text here now"), HasSubstr("has been removed since")));
}

TEST_F(EspressobotCommandTest, RecreatingTakesConsentAndCostsNoText) {
  const std::string file = MakeFile();
  const std::vector<std::string> args = {"--db", file, "--target", uri_, "--dimensions", absl::StrCat(kDim), "--json"};
  ASSERT_EQ(Run(args).exit_code, 3);
  db_.Run(
      "INSERT INTO memories (user_id, content) VALUES ('x', 'lost'); INSERT INTO prompt_fragments (category, "
      "content) VALUES ('c', 'lost too')");
  std::vector<std::string> anew = args;
  anew.push_back("--force-recreate");
  const ProcessResult refused = Run(anew);
  EXPECT_EQ(refused.exit_code, 2) << refused.out;
  EXPECT_THAT(refused.err + refused.out,
              AllOf(HasSubstr("prompt_fragments"), HasSubstr("--yes"), HasSubstr("no rollback can restore them")));
  const ProcessResult plan = Run(anew, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr(R"("without_way_back":"--force-recreate drops the tables memories, prompt_frag)"));
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM memories WHERE content = 'lost'"), "1");

  const int64_t texts = server_->counts().texts;
  anew.push_back("--yes");
  const ProcessResult run = Run(anew);
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectBrought(file_);
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM prompt_fragments"), "0");
  EXPECT_LE(server_->counts().texts, texts + 1) << "beside the probe nothing was bought again";
  const std::string jobs = folder_ / "state/reembed/jobs/";
  const std::string job = std::filesystem::directory_iterator(jobs)->path().string();
  const ProcessResult rollback = RunClean(REEMBED_BINARY, folder_.path(), {"rollback", job, "--yes"});
  EXPECT_EQ(rollback.exit_code, 0) << rollback.out << rollback.err;
  EXPECT_THAT(rollback.out, AllOf(HasSubstr("the job has dropped memories, prompt_fragments"),
                                  HasSubstr("the table memories stays"), HasSubstr("espressobot.sql")));
  EXPECT_EQ(db_.Ask("SELECT count(*) FROM memories"), "0");

  const ProcessResult nowhere = Run({"--db", uri_, "--force-recreate", "--yes"});
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("--force-recreate: only if"));
}

TEST_F(EspressobotCommandTest, TheSystemsOwnVariablesNameTheServer) {
  MakeEspressobotTables(&db_, EspressobotLayout::kSchema, {.rows = 20, .dim = kDim});
  db_.Run("GRANT ALL ON memories, prompt_fragments TO locked");
  const std::string host = db_.At("table=x").Get("host");
  const std::string url = absl::StrCat("postgresql+asyncpg://locked:pass%20word@/test?pgbouncer=true&host=", host);
  const ProcessResult wrong = Run({"--db", db_.Uri("", "locked")}, "plan");
  EXPECT_EQ(wrong.exit_code, 6) << wrong.out;
  const ProcessResult by_url = Run({}, "plan", {{"DATABASE_URL", url}});
  EXPECT_EQ(by_url.exit_code, 0) << by_url.err;
  EXPECT_THAT(by_url.out, HasSubstr("fires the trigger update_memories_updated_at")) << "who may not keep it out";
  const std::map<std::string, std::string> parts = {
      {"DB_HOST", host}, {"DB_USER", "locked"}, {"DB_PASSWORD", "pass word"}, {"DB_NAME", "test"}};
  const ProcessResult by_parts = Run({"--json"}, "run", parts);
  EXPECT_EQ(by_parts.exit_code, 3) << by_parts.err;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "state")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream bytes(entry.path(), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(bytes)), std::istreambuf_iterator<char>());
    EXPECT_THAT(text, AllOf(Not(HasSubstr("pass word")), Not(HasSubstr("pass%20word")))) << entry.path();
  }
  const std::string jobs = folder_ / "state/reembed/jobs/";
  const std::string job = std::filesystem::directory_iterator(jobs)->path().string();
  EXPECT_EQ(RunClean(REEMBED_BINARY, folder_.path(), {"verify", job}, parts).exit_code, 0);
  EXPECT_NE(RunClean(REEMBED_BINARY, folder_.path(), {"verify", job}).exit_code, 0);
  const ProcessResult named =
      Run({"--db", db_.Uri("", "locked"), "--db-password-env", "MINE"}, "plan", {{"MINE", "pass word"}});
  EXPECT_EQ(named.exit_code, 0) << named.err;
  EXPECT_THAT(Run({"--db", db_.Uri("", "locked"), "--db-password-env", "MINE"}, "plan").err,
              HasSubstr("--db-password-env MINE: is not set"));
}

TEST_F(EspressobotCommandTest, WhatCannotWorkIsSaidBeforeTheFirstRequest) {
  const std::string file = MakeFile();
  const auto bring = [&](const std::string& from, const std::string& to) {
    return Run({"--db", from, "--target", to, "--dimensions", absl::StrCat(kDim)}).err;
  };
  std::ofstream(folder_ / "empty.db").flush();
  EXPECT_THAT(bring(folder_ / "empty.db", uri_), AllOf(HasSubstr("empty.db"), HasSubstr("empty")));
  EXPECT_THAT(bring(folder_ / "none.db", uri_), HasSubstr("none.db"));

  db_.Run("DROP DATABASE IF EXISTS bare");
  db_.Run("CREATE DATABASE bare");
  const std::string bare = absl::StrCat("postgres://tester@/bare?host=", db_.At("table=x").Get("host"));
  EXPECT_THAT(bring(file, bare), HasSubstr("run CREATE EXTENSION vector"));

  db_.Run("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
  const ProcessResult locked =
      Run({"--db", file, "--target", db_.Uri("", "locked"), "--dimensions", absl::StrCat(kDim)}, "run",
          {{"PGPASSWORD", "pass word"}});
  EXPECT_THAT(locked.err, HasSubstr("run GRANT CREATE ON SCHEMA \"public\" TO \"locked\""));

  db_.Run(
      "CREATE TABLE memories (id serial PRIMARY KEY, user_id text, content text, embedding vector(64), metadata "
      "jsonb, created_at timestamp, updated_at timestamp)");
  EXPECT_THAT(bring(file, uri_),
              AllOf(HasSubstr("another version of the schema"), HasSubstr("it lacks category, importance_score")));
  db_.Run("ALTER TABLE memories ADD category text, ADD importance_score float, DROP embedding");
  EXPECT_THAT(bring(file, uri_), HasSubstr("it lacks embedding"));
  db_.Run("ALTER TABLE memories ADD embedding vector(3)");
  EXPECT_THAT(bring(file, uri_), HasSubstr("vector(3)"));
  db_.Run("DROP TABLE memories");
  EXPECT_THAT(Run({"--db", uri_}).err, HasSubstr("has none of the tables memories, prompt_fragments"));
  EXPECT_EQ(server_->counts().requests, 0);
}

}  // namespace
}  // namespace reembed
