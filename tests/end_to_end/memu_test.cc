// SPDX-License-Identifier: Apache-2.0
// MemU as a whole: its database and its vectors.json as its faults leave them, the command, and what Python reads then.

#include "tests/fakes/memu.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 64;

int64_t Rows() { return TestRows(2000); }

class MemuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    std::filesystem::create_directory(folder_ / "data");
    vectors_ = folder_ / "data/vectors.json";
  }

  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run") {
    std::vector<std::string> args = {command,
                                     "--system",
                                     "memu",
                                     "--db",
                                     folder_ / "data/memu.db",
                                     "--api-base",
                                     server_->base_url(),
                                     "--model",
                                     "reembed-lexical-1",
                                     "--dimensions",
                                     absl::StrCat(kDim),
                                     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

  // Nothing of ours is left beside the file.
  void ExpectOnlyTheTwoFiles() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "data")) {
      names.push_back(entry.path().filename().string());
    }
    EXPECT_THAT(names, ::testing::UnorderedElementsAre("memu.db", "vectors.json"));
  }

  TempFolder folder_;
  std::string vectors_;
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_F(MemuTest, EveryHoleIsFilledAndTheFileIsWhatPythonWouldWrite) {
  const MemuEntries wanted = MakeMemu(folder_ / "data", {.items = Rows(), .dim = kDim});
  const MemuAsPythonReadsIt before = ReadMemuWithPython(vectors_);
  ASSERT_EQ(before.error, "");
  ASSERT_TRUE(before.canonical) << "the maker of the test data is wrong";
  const std::string db_before = ReadFile(folder_ / "data/memu.db");
  int64_t needed = 0;
  for (const auto& [collection, entries] : wanted) {
    for (const auto& [id, entry] : entries) needed += entry.embedded.empty() ? 0 : 1;
  }

  const ProcessResult plan = Run({}, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_EQ(LastNumber(plan, "rows_selected"), needed) << plan.out;
  const ProcessResult run = Run({});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), needed);

  const MemuAsPythonReadsIt after = ReadMemuWithPython(vectors_);
  ASSERT_EQ(after.error, "");
  EXPECT_TRUE(after.canonical);
  int64_t right = 0, changed = 0;
  for (const auto& [collection, entries] : wanted) {
    ASSERT_EQ(after.entries.count(collection), 1u) << collection;
    EXPECT_EQ(after.entries.at(collection).size(), entries.size()) << collection;
    for (const auto& [id, entry] : entries) {
      const auto found = after.entries.at(collection).find(id);
      ASSERT_NE(found, after.entries.at(collection).end()) << id;
      const bool same = found->second.user == entry.user && found->second.agent == entry.agent &&
                        found->second.text == entry.text &&
                        (!entry.embedded.empty() || found->second.vector == entry.vector);
      EXPECT_TRUE(same) << id << " has another user, agent, text or kept vector";
      changed += same ? 0 : 1;
      if (entry.embedded.empty()) continue;
      const std::string bytes(reinterpret_cast<const char*>(found->second.vector.data()),
                              found->second.vector.size() * sizeof(float));
      right += bytes == ExpectedEmbedding(entry.embedded, kDim) ? 1 : 0;
    }
  }
  EXPECT_EQ(right, needed);
  // What was there keeps its place, new entries come behind, the new collection last.
  const std::set<std::string> there(before.order.begin(), before.order.end());
  std::vector<std::string> kept;
  for (const std::string& id : after.order) {
    if (there.count(id) > 0) kept.push_back(id);
  }
  EXPECT_EQ(kept, before.order);
  EXPECT_THAT(after.order.front(), HasSubstr("resources/"));
  EXPECT_THAT(after.order.back(), HasSubstr("categories/"));
  EXPECT_EQ(ReadFile(folder_ / "data/memu.db"), db_before) << "the database is only read";
  ExpectOnlyTheTwoFiles();

  const int64_t requests = server_->counts().requests;
  const std::string whole = ReadFile(vectors_);
  const auto time = std::filesystem::last_write_time(vectors_);
  EXPECT_EQ(Run({}).exit_code, 0);
  EXPECT_EQ(server_->counts().requests, requests) << "a second run bought again";
  EXPECT_EQ(ReadFile(vectors_), whole);
  EXPECT_EQ(std::filesystem::last_write_time(vectors_), time) << "nothing was new, and yet the file was written";
  PrintMeasure("memu, vectors.json", needed, right, changed, server_->counts().requests - requests);
  const std::string jobs = folder_ / "state/reembed/jobs";
  const std::string job = std::filesystem::directory_iterator(jobs)->path().string();
  const ProcessResult verify = RunClean(REEMBED_BINARY, folder_.path(), {"verify", job});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

TEST_F(MemuTest, UserAndAgentFilter) {
  const MemuEntries wanted = MakeMemu(folder_ / "data", {.items = 300, .dim = kDim});
  const ProcessResult run = Run({"--user", "user1", "--agent", "agent0", "--stream", "items"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  int64_t needed = 0;
  for (const auto& [id, entry] : wanted.at("items")) {
    needed += !entry.embedded.empty() && entry.user == "user1" && entry.agent == "agent0" ? 1 : 0;
  }
  EXPECT_GT(needed, 0);
  EXPECT_EQ(LastNumber(run, "rows_embedded"), needed);
  const ProcessResult nobody = Run({"--user", "usr1"});
  EXPECT_EQ(nobody.exit_code, 2);
  EXPECT_THAT(nobody.err, HasSubstr("did you mean `user1`?"));
}

TEST_F(MemuTest, AFileThatMemuCouldNotReadIsNotTouched) {
  MakeMemu(folder_ / "data", {.items = 50, .dim = kDim});
  const std::string good = ReadFile(vectors_);
  const size_t agent = good.find("\"agent_id\"", good.size() / 2);
  for (const std::string& bad :
       {good.substr(0, good.size() - 1), good.substr(0, good.size() / 2), std::string("[]"), good + "x",
        good.substr(0, agent) + "\"agent\"" + good.substr(agent + 10), std::string()}) {
    std::ofstream(vectors_, std::ios::binary) << bad;
    const ProcessResult run = Run({});
    EXPECT_NE(run.exit_code, 0);
    EXPECT_THAT(run.err, HasSubstr("vectors.json"));
    EXPECT_EQ(ReadFile(vectors_), bad);
    ExpectOnlyTheTwoFiles();
  }
  EXPECT_EQ(server_->counts().requests, 0) << "bought something that cannot be written";
}

TEST_F(MemuTest, AFileThatIsNotThereIsMadeAndAllReplacesOnlyWithConsent) {
  const MemuEntries wanted = MakeMemu(folder_ / "data", {.items = 40, .dim = kDim});
  std::filesystem::remove(vectors_);
  const ProcessResult run = Run({});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 40 + 30);  // captions are gone with the file
  const ProcessResult all = Run({"--all"});
  EXPECT_EQ(all.exit_code, 2);
  EXPECT_THAT(all.err, HasSubstr("--yes"));
  EXPECT_EQ(Run({"--all", "--yes"}).exit_code, 0);
}

TEST_F(MemuTest, ATargetSaysWhereTheFileOfAllCollectionsIs) {
  MakeMemu(folder_ / "data", {.items = 200, .dim = kDim});
  const std::string elsewhere = folder_ / "elsewhere.json";
  std::filesystem::copy_file(vectors_, elsewhere);
  ASSERT_EQ(Run({}).exit_code, 0);
  const std::string usual = ReadFile(vectors_);
  const std::vector<std::string> target = {"--target", "memu:" + elsewhere};
  const ProcessResult plan = Run(target, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  const ProcessResult run = Run(target);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(ReadFile(elsewhere), usual) << "byte for byte what is written beside the database";
  EXPECT_EQ(ReadFile(vectors_), usual);
  const int64_t requests = server_->counts().requests;
  EXPECT_EQ(Run(target).exit_code, 0);
  EXPECT_EQ(server_->counts().requests, requests);
  // Another target beside it is one for each stream, as ever.
  EXPECT_EQ(
      Run({"--target", "memu:" + elsewhere, "--target", absl::StrCat("npy:", folder_ / "{stream}.npy")}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "categories.npy"));
  const ProcessResult two = Run({"--target", "memu:" + elsewhere, "--target", "memu:" + vectors_});
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_THAT(two.err, HasSubstr("has one file of vectors"));
}

TEST_F(MemuTest, ANewFileDoesNotLoseCaptionsWithoutAWord) {
  MakeMemu(folder_ / "data", {.items = 40, .dim = kDim});
  const std::string fresh = folder_ / "fresh.json";
  std::vector<std::string> args = {"plan",       "--system", "memu",     "--db",         folder_ / "data/memu.db",
                                   "--embedder", "builtin",  "--target", "memu:" + fresh};
  const ProcessResult plan = RunClean(REEMBED_BINARY, folder_.path(), args);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("captions of resources are only in"), HasSubstr("copy it there first")));
}

// Variables of the later versions, from the file that a variable names.
TEST_F(MemuTest, TheSystemsOwnVariablesNameDatabaseModelAndKey) {
  auto locked = EmbeddingServer::Start({.dim = kDim, .api_key = "sk-memu"});
  ASSERT_THAT(locked, IsOk());
  MakeMemu(folder_ / "data", {.items = 300, .dim = kDim});
  std::ofstream(folder_ / "config.env") << "MEMU_DB=sqlite:///" << folder_ / "data/memu.db"
                                        << "\n"
                                        << "MEMU_BASE_URL=" << (*locked)->base_url() << "\n"
                                        << "MEMU_EMBED_MODEL=reembed-lexical-1\nMEMU_API_KEY=OPENAI_API_KEY\n";
  const auto command = [&](std::vector<std::string> args, std::map<std::string, std::string> more) {
    more.emplace("MEMU_CONFIG_ENV", folder_ / "config.env");
    return RunClean(REEMBED_BINARY, folder_.path(), std::move(args), more);
  };
  const ProcessResult run = command({"run", "--system", "memu", "--dimensions", absl::StrCat(kDim), "--json"},
                                    {{"OPENAI_API_KEY", "sk-memu"}});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_GT(LastNumber(run, "rows_embedded"), 30);
  // The finished job knows the variable, and never what was in it.
  const std::string job = std::filesystem::directory_iterator(folder_ / "state/reembed/jobs")->path().string();
  const std::string toml = ReadFile(job + "/items/job.toml");
  EXPECT_THAT(toml, AllOf(HasSubstr("MEMU_API_KEY"), ::testing::Not(HasSubstr("sk-memu"))));
  const ProcessResult sample = command({"verify", job, "--sample", "3"}, {{"MEMU_API_KEY", "sk-memu"}});
  EXPECT_EQ(sample.exit_code, 0) << sample.out << sample.err;

  const auto plan = [&](const std::string& provider) {
    return command({"plan", "--system", "memu", "--all", "--job", folder_ / provider},
                   {{"MEMU_EMBED_PROVIDER", provider}, {"MEMU_EMBED_MODEL", ""}});
  };
  std::ofstream(folder_ / "config.env") << "MEMU_DB=" << folder_ / "data/memu.db"
                                        << "\n";
  EXPECT_THAT(plan("jina").out, HasSubstr("jina-embeddings-v3, 1024 dimensions"));
  EXPECT_THAT(plan("voyage").out, HasSubstr("voyage-3.5, 1024 dimensions"));
  EXPECT_THAT(plan("openrouter").out, HasSubstr("openai/text-embedding-3-small"));
  EXPECT_THAT(plan("doubao").err, AllOf(HasSubstr("MEMU_EMBED_PROVIDER=doubao"), HasSubstr("another form")));
  EXPECT_THAT(plan("dubao").err, HasSubstr("expected one of openai, jina, voyage, openrouter, doubao"));
}

TEST_F(MemuTest, TablesThatAreNotKnownAreNamedAndNotPassedOver) {
  const std::string db = folder_ / "data/memu.db";
  std::ofstream(db).close();
  const std::string columns = "(id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, embedding JSON, ";
  Change(db, absl::StrCat(
                 "CREATE TABLE memu_memory_categories ", columns,
                 "name TEXT, description TEXT, content TEXT, track TEXT); INSERT INTO memu_memory_categories VALUES "
                 "('a', NULL, NULL, 'null', 'n', ' d ', 'c', 'memory'); CREATE TABLE memu_file_segments ",
                 columns,
                 "recall_file_id TEXT, track TEXT, text TEXT); INSERT INTO memu_file_segments VALUES ('s', "
                 "NULL, NULL, '[]', 'a', 'memory', 'a segment')"));
  const ProcessResult known = Run({});
  ASSERT_EQ(known.exit_code, 0) << known.err;
  EXPECT_EQ(LastNumber(known, "rows_embedded"), 2);
  EXPECT_EQ(FloatBytesOfJson(Query(db, "SELECT embedding FROM memu_memory_categories").at(0)),
            ExpectedEmbedding("n: d", kDim));
  EXPECT_EQ(FloatBytesOfJson(Query(db, "SELECT embedding FROM memu_file_segments").at(0)),
            ExpectedEmbedding("a segment", kDim));
  const auto plain = [&](const std::string& command) {
    return RunClean(REEMBED_BINARY, folder_.path(),
                    {command, "--system", "memu", "--db", db, "--api-base", server_->base_url(), "--model",
                     "reembed-lexical-1", "--dimensions", absl::StrCat(kDim)});
  };
  EXPECT_THAT(plain("plan").out, ::testing::Not(HasSubstr("PASSED OVER")));

  Change(
      db,
      "CREATE TABLE memu_dreams (id TEXT, embedding JSON, embedding_model TEXT); INSERT INTO memu_dreams VALUES ('d', "
      "NULL, 'm'); CREATE TABLE memu_models (id TEXT, embedding_model TEXT)");
  for (const char* const command : {"plan", "run"}) {
    const ProcessResult seen = plain(command);
    EXPECT_EQ(seen.exit_code, 0) << seen.err;
    EXPECT_THAT(seen.out + seen.err, AllOf(HasSubstr("PASSED OVER"), HasSubstr("memu_dreams.embedding"),
                                           ::testing::Not(HasSubstr("memu_models"))));
  }
  Change(db, "DROP TABLE memu_memory_categories; DROP TABLE memu_file_segments");
  const ProcessResult none = plain("run");
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, AllOf(HasSubstr("has none of the tables"), HasSubstr("memu_dreams.embedding")));
}

TEST_F(MemuTest, TheTablesInPostgresGetTheVectorsThatTheyLack) {
  PostgresServer& server = TestPostgres();
  server.Run("DROP SCHEMA IF EXISTS memu CASCADE; CREATE SCHEMA memu");
  const std::string columns =
      "(id varchar PRIMARY KEY, user_id varchar, agent_id varchar, created_at timestamptz DEFAULT now(), embedding "
      "vector, ";
  server.Run(absl::StrCat(
      "CREATE TABLE memu.recall_files ", columns, "name varchar NOT NULL, description text NOT NULL);",
      "CREATE TABLE memu.recall_file_segments ", columns, "recall_file_id varchar, text text NOT NULL);",
      "CREATE TABLE memu.recall_entries ", columns, "summary text NOT NULL);", "CREATE TABLE memu.resources ", columns,
      "url varchar, caption text);", "CREATE TABLE memu.memory_items ", columns, "summary text NOT NULL);",
      "CREATE TABLE memu.memory_categories ", columns, "name varchar, description text);",
      "INSERT INTO memu.recall_files (id, user_id, name, description) VALUES ('a', 'ann', 'n', ' d'), ('b', 'bob', "
      "'n2', '');"
      "INSERT INTO memu.recall_file_segments (id, user_id, recall_file_id, text) VALUES ('s', 'ann', 'a', 'a segment');"
      "INSERT INTO memu.recall_entries (id, summary) VALUES ('e', 'an entry');"
      "INSERT INTO memu.resources (id, url, caption) VALUES ('r', 'u', ' a caption '), ('q', 'u', ' '), ('p', 'u', "
      "NULL);"
      "INSERT INTO memu.memory_items (id, summary) VALUES ('i', 'an item');"
      "INSERT INTO memu.memory_categories (id, name, description) VALUES ('c', 'tea', 'green')"));
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {
        "run",     "--system",          "memu",         "--api-base",       server_->base_url(),
        "--model", "reembed-lexical-1", "--dimensions", absl::StrCat(kDim), "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, {{"MEMU_DB", server.Uri("schema=memu")}});
  };
  const ProcessResult ann = run({"--user", "ann"});
  ASSERT_EQ(ann.exit_code, 0) << ann.err;
  EXPECT_EQ(LastNumber(ann, "rows_embedded"), 2) << ann.out;
  const ProcessResult all = run({});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  for (const auto& [row, text] : std::map<std::string, std::string>{{"recall_files WHERE id = 'a'", "n: d"},
                                                                    {"recall_files WHERE id = 'b'", "n2"},
                                                                    {"recall_file_segments", "a segment"},
                                                                    {"recall_entries", "an entry"},
                                                                    {"resources WHERE id = 'r'", "a caption"},
                                                                    {"memory_items", "an item"},
                                                                    {"memory_categories", "tea: green"}}) {
    EXPECT_EQ(FloatBytesOfJson(server.Ask("SELECT embedding::text FROM memu." + row)), ExpectedEmbedding(text, kDim))
        << row;
  }
  EXPECT_EQ(server.Ask("SELECT count(*) FROM memu.resources WHERE embedding IS NULL"), "2");
  const int64_t requests = server_->counts().requests;
  EXPECT_EQ(run({}).exit_code, 0);
  EXPECT_EQ(server_->counts().requests, requests);
  server.Run("CREATE TABLE memu.dreams (id text PRIMARY KEY, felt halfvec(8))");
  const ProcessResult plan = RunClean(REEMBED_BINARY, folder_.path(),
                                      {"plan", "--system", "memu", "--db", server.Uri("schema=memu"), "--embedder",
                                       "builtin", "--dimensions", absl::StrCat(kDim)});
  EXPECT_THAT(plan.out, AllOf(HasSubstr("PASSED OVER"), HasSubstr("dreams.felt"))) << plan.err;
  server.Run("DROP SCHEMA memu CASCADE");
}

TEST_F(MemuTest, TheLaterLayoutHasItsVectorsInTheRows) {
  const std::string db = folder_ / "data/memu.db";
  std::ofstream(db).close();
  Change(
      db,
      "CREATE TABLE memu_recall_files (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, name TEXT, description TEXT, "
      "embedding JSON); INSERT INTO memu_recall_files VALUES ('a', NULL, NULL, 'n', 'd', 'null'), ('b', NULL, NULL, "
      "'n2', '', '[]'), ('c', NULL, NULL, 'n3', NULL, NULL);"
      "CREATE TABLE memu_recall_file_segments (id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, text TEXT, embedding "
      "JSON); INSERT INTO memu_recall_file_segments VALUES ('s', NULL, NULL, 'a segment', '[0.1, 1e-07]')");
  const ProcessResult run = Run({"--all", "--yes"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 4);
  for (const auto& [id, text] : {std::pair<const char*, const char*>{"a", "n: d"}, {"b", "n2"}, {"c", "n3"}}) {
    const std::string stored =
        Query(db, absl::StrCat("SELECT embedding FROM memu_recall_files WHERE id = '", id, "'")).at(0);
    EXPECT_THAT(stored, HasSubstr(", "));
    EXPECT_EQ(FloatBytesOfJson(stored), ExpectedEmbedding(text, kDim)) << id;
  }
}

// The same at any number of rows: no vector in all its spellings, vectors of another width, captions that are none.
TEST_F(MemuTest, InTheLaterLayoutEveryRowThatLacksAVectorGetsItAndNothingElseChanges) {
  const std::string db = folder_ / "data/memu.db";
  std::ofstream(db).close();
  std::string kept = "[0.125";
  for (int i = 1; i < kDim; ++i) kept += ", 0.125";
  kept += "]";
  const std::string columns = "(id TEXT PRIMARY KEY, user_id TEXT, agent_id TEXT, embedding JSON, ";
  const std::string rows = absl::StrCat("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                                        Rows(), ") INSERT INTO ");
  const std::string cells = absl::StrCat(
      " SELECT 'id-' || i, CASE i % 3 WHEN 0 THEN 'ann' END, 'agent', CASE WHEN i % 25 = 3 THEN '[0.5, "
      "0.25]' WHEN i % 5 = 0 THEN NULL WHEN i % 5 = 1 THEN 'null' WHEN i % 5 = 2 THEN '[]' ELSE '",
      kept, "' END, ");
  Change(db, absl::StrCat("CREATE TABLE memu_recall_files ", columns, "name TEXT, description TEXT);", rows,
                          "memu_recall_files", cells,
                          "'file ' || i, CASE i % 4 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE ' about ' || i END FROM n;"
                          "CREATE TABLE memu_recall_file_segments ",
                          columns, "text TEXT);", rows, "memu_recall_file_segments", cells,
                          "'segment ' || i FROM n; CREATE TABLE memu_resources ", columns, "caption TEXT);", rows,
                          "memu_resources", cells,
                          "CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '  ' ELSE ' caption ' || i "
                          "END FROM n"));
  // What there is to embed, as the system makes it.
  const std::string texts =
      "SELECT 'f' || id, name || CASE WHEN trim(coalesce(description, '')) = '' THEN '' ELSE ': ' || trim(description) "
      "END, embedding FROM memu_recall_files UNION ALL SELECT 's' || id, text, embedding FROM "
      "memu_recall_file_segments "
      "UNION ALL SELECT 'r' || id, trim(caption), embedding FROM memu_resources WHERE trim(coalesce(caption, '')) <> "
      "''";
  const std::string others =
      "SELECT id, quote(user_id), agent_id, name, quote(description) FROM memu_recall_files UNION ALL SELECT id, "
      "quote(user_id), agent_id, text, '' FROM memu_recall_file_segments UNION ALL SELECT id, quote(user_id), "
      "agent_id, "
      "quote(caption), '' FROM memu_resources";
  const auto before = Query(db, texts);
  const auto others_before = Query(db, others);
  const ProcessResult run = Run({"--mix"});  // what is there says nothing of its model
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto after = Query(db, texts);
  ASSERT_EQ(after.size(), before.size());
  int64_t needed = 0, right = 0, changed = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const std::vector<std::string> old_row = absl::StrSplit(before[i], '|'), row = absl::StrSplit(after[i], '|');
    if (old_row[2] == kept) {
      changed += row == old_row ? 0 : 1;
      continue;
    }
    ++needed;
    right += FloatBytesOfJson(row[2]) == ExpectedEmbedding(row[1], kDim) ? 1 : 0;
  }
  EXPECT_GT(needed, Rows());
  EXPECT_EQ(right, needed);
  EXPECT_EQ(LastNumber(run, "rows_embedded"), needed);
  EXPECT_EQ(LastNumber(run, "table_rows_with_vector"), static_cast<int64_t>(before.size()));
  changed += ChangedLines(absl::StrJoin(others_before, "\n"), absl::StrJoin(Query(db, others), "\n"));
  EXPECT_EQ(changed, 0);
  const int64_t requests = server_->counts().requests;
  EXPECT_EQ(Run({}).exit_code, 0);
  EXPECT_EQ(server_->counts().requests, requests) << "a second run bought again";
  PrintMeasure("memu, memu_* tables", needed, right, changed, server_->counts().requests - requests);
}

}  // namespace
}  // namespace reembed
