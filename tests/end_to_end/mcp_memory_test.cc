// SPDX-License-Identifier: Apache-2.0
// mcp-memory-ts as a whole: a database as the system and its users leave it, the command, and what is in the database
// then, read with SQLite alone.

#include "tests/fakes/mcp_memory.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "engine/location.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tools/registry.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 64;

int64_t Rows() { return TestRows(3000); }

class McpMemoryTest : public ::testing::TestWithParam<McpMemoryOptions::Ids> {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    db_ = folder_ / "memory.db";
  }

  McpMemoryRows Make(McpMemoryOptions::Ids ids = McpMemoryOptions::Ids::kInteger) {
    return MakeMcpMemory(db_, {.rows = Rows(), .ids = ids, .dim = kDim});
  }

  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run",
                    const std::map<std::string, std::string>& environment = {}) {
    std::vector<std::string> args = {
        command,   "--system",          "mcp-memory",   "--api-base",      server_->base_url(),
        "--model", "reembed-lexical-1", "--dimensions", absl::StrCat(kDim)};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, environment);
  }

  // rowid -> embedding
  std::map<int64_t, std::string> Embeddings(const std::string& table = "memories") {
    std::map<int64_t, std::string> embeddings;
    for (const std::string& row : Query(db_, "SELECT rowid, coalesce(embedding, '') FROM " + table)) {
      const size_t bar = row.find('|');
      embeddings[std::stoll(row)] = row.substr(bar + 1);
    }
    return embeddings;
  }

  std::string EverythingElse() {
    std::string dump;
    for (const char* const sql :
         {"SELECT rowid, quote(id), user_id, quote(title), quote(content), memory_type, importance, quote(tags), "
          "quote(entity_ids), quote(metadata), is_archived, created_at, updated_at FROM memories ORDER BY rowid",
          "SELECT * FROM users",
          "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%fts%' ORDER BY 1, 2"}) {
      for (const std::string& row : Query(db_, sql)) dump += row + "\n";
    }
    return dump;
  }

  // Every row that needed a vector has the right one, and no other was touched.
  // Returns how many have the right one.
  int64_t ExpectComplete(const McpMemoryRows& rows) {
    const std::map<int64_t, std::string> now = Embeddings();
    int64_t right = 0;
    for (const auto& [rowid, text] : rows.texts) {
      right += FloatBytesOfJson(now.at(rowid)) == ExpectedEmbedding(text, kDim) ? 1 : 0;
    }
    EXPECT_EQ(right, static_cast<int64_t>(rows.texts.size()));
    for (const auto& [rowid, embedding] : rows.has) EXPECT_EQ(now.at(rowid), embedding) << rowid;
    for (const auto& [rowid, embedding] : rows.textless) EXPECT_EQ(now.at(rowid), embedding) << rowid;
    EXPECT_EQ(now.size(), rows.texts.size() + rows.has.size() + rows.textless.size());
    return right;
  }

  TempFolder folder_;
  std::string db_;
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_P(McpMemoryTest, EveryRowThatLacksAVectorGetsItAndNothingElseChanges) {
  const McpMemoryRows rows = Make(GetParam());
  const bool has_fts = GetParam() == McpMemoryOptions::Ids::kInteger;
  if (!has_fts) Change(db_, "UPDATE memories SET active = NOT is_archived, description = content");
  EXPECT_GT(std::stoll(Query(db_, "SELECT count(*) FROM memories WHERE is_archived").at(0)), 10) << "they are done too";
  const std::string before = EverythingElse();
  const std::string fts_before = has_fts ? McpMemoryFullText(db_) : "";

  const ProcessResult run = Run({"--db", db_, "--json"});
  EXPECT_EQ(run.exit_code, rows.textless.empty() ? 0 : 3) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), static_cast<int64_t>(rows.texts.size()));
  EXPECT_EQ(LastNumber(run, "rows_rejected"), static_cast<int64_t>(rows.textless.size()));
  const int64_t right = ExpectComplete(rows);
  int64_t changed = ChangedLines(before, EverythingElse());
  if (has_fts) {
    EXPECT_GT(fts_before.size(), 1000u);
    changed += ChangedLines(fts_before, McpMemoryFullText(db_));
    Change(db_, "INSERT INTO memories_fts(memories_fts) VALUES ('integrity-check')");  // ends the test if it fails
  }

  const int64_t requests = server_->counts().requests;
  const ProcessResult again = Run({"--db", db_, "--json"});
  EXPECT_EQ(again.exit_code, run.exit_code) << again.err;
  EXPECT_EQ(server_->counts().requests, requests) << "a second run bought again";
  EXPECT_EQ(changed, 0);
  PrintMeasure(has_fts ? "mcp-memory, schema of its code" : "mcp-memory, ids of text and NULL",
               static_cast<int64_t>(rows.texts.size()), right, changed, server_->counts().requests - requests);
  const std::string job = folder_ / "state/reembed/jobs/";
  const std::string folder = std::filesystem::directory_iterator(job)->path().string();
  const ProcessResult verify = RunClean(REEMBED_BINARY, folder_.path(), {"verify", folder});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

INSTANTIATE_TEST_SUITE_P(Schemas, McpMemoryTest,
                         ::testing::Values(McpMemoryOptions::Ids::kInteger, McpMemoryOptions::Ids::kText),
                         [](const auto& info) {
                           return info.param == McpMemoryOptions::Ids::kInteger ? "OfTheCode" : "OfTheField";
                         });

using McpMemoryCommandTest = McpMemoryTest;

TEST_F(McpMemoryCommandTest, UserReallyFilters) {
  const McpMemoryRows rows = Make();
  const ProcessResult run = Run({"--db", db_, "--user", "bob@example.com", "--json"});
  EXPECT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
  const std::map<int64_t, std::string> now = Embeddings();
  int64_t bobs = 0;
  for (const auto& [rowid, text] : rows.texts) {
    const bool is_bobs = rows.user.at(rowid) == "u2";
    bobs += is_bobs ? 1 : 0;
    ASSERT_EQ(FloatBytesOfJson(now.at(rowid)) == ExpectedEmbedding(text, kDim), is_bobs) << rowid;
  }
  EXPECT_GT(bobs, 0);
  EXPECT_EQ(LastNumber(run, "rows_embedded"), bobs);
  const ProcessResult by_id = Run({"--db", db_, "--user", "u2", "--json"}, "plan");
  EXPECT_EQ(by_id.exit_code, 0) << by_id.err;
  EXPECT_EQ(LastNumber(by_id, "tokens"), 0) << by_id.out;
}

TEST_F(McpMemoryCommandTest, UnknownNamesAreRefusedWithTheNearest) {
  Make();
  const ProcessResult user = Run({"--db", db_, "--user", "bob@exmple.com"});
  EXPECT_EQ(user.exit_code, 2);
  EXPECT_THAT(user.err, AllOf(HasSubstr("bob@exmple.com"), HasSubstr("did you mean `bob@example.com`?")));
  EXPECT_THAT(Run({"--db", db_, "--stream", "memoires"}).err, HasSubstr("did you mean `memories`?"));
  EXPECT_THAT(Run({"--db", db_, "--recipe", "made"}).err, HasSubstr("these: backfill, create, regenerate"));
  EXPECT_THAT(Run({"--db", db_, "--agent", "x"}).err, HasSubstr("--agent"));
  EXPECT_THAT(Run({}).err, AllOf(HasSubstr("--db"), HasSubstr("TURSO_URL")));
  EXPECT_EQ(server_->counts().requests, 0);
}

TEST_F(McpMemoryCommandTest, EntitiesAreAStreamOfTheirOwnAndAllDoesBoth) {
  const McpMemoryRows rows = Make();
  Change(
      db_,
      "INSERT INTO entities (user_id, name, entity_type, company, tags, created_at, updated_at) VALUES ('u1', 'Ann', "
      "'PERSON', 'Acme', '[\"x\"]', 't', 't')");
  const ProcessResult plan = Run({"--db", db_, "--stream", "all", "--json"}, "plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_EQ(LastNumber(plan, "rows_selected"), static_cast<int64_t>(rows.texts.size() + rows.textless.size()) + 1);
  const ProcessResult clash =
      Run({"--db", db_, "--stream", "all", "--target", absl::StrCat("npy:", folder_ / "x.npy")});
  EXPECT_EQ(clash.exit_code, 2);
  EXPECT_THAT(clash.err, HasSubstr("put {stream} into its name"));

  const ProcessResult run = Run({"--db", db_, "--stream", "all", "--target",
                                 absl::StrCat("faiss:", folder_ / "{stream}.faiss", "?factory=Flat"), "--json"});
  EXPECT_EQ(run.exit_code, rows.textless.empty() ? 0 : 3) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("\"stream\":\"memories\""), HasSubstr("\"stream\":\"entities\"")));
  EXPECT_EQ(LastNumber(run, "rows_embedded"), static_cast<int64_t>(rows.texts.size()) + 1);
  ExpectComplete(rows);
  EXPECT_EQ(FloatBytesOfJson(Embeddings("entities").at(1)), ExpectedEmbedding("Ann Company: Acme Tags: x", kDim));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "memories.faiss"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "entities.faiss"));
}

TEST_F(McpMemoryCommandTest, TimeOfChangeIsKeptOrWrittenAsTheAppDoes) {
  Make();
  ASSERT_THAT(Run({"--db", db_, "--limit", "10"}).exit_code, ::testing::AnyOf(0, 3));
  EXPECT_EQ(Query(db_, "SELECT count(*) FROM memories WHERE updated_at <> created_at"), std::vector<std::string>{"0"});
  const ProcessResult run = Run({"--db", db_, "--updated-at", "now-iso"});
  ASSERT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
  EXPECT_EQ(Query(db_,
                  "SELECT count(*) > 100, count(*) - sum(updated_at GLOB "
                  "'20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9]Z') FROM "
                  "memories WHERE updated_at <> created_at"),
            std::vector<std::string>{"1|0"});
}

TEST_F(McpMemoryCommandTest, ReadsEnvLocalAndNotEnvBesideIt) {
  Make();
  const std::string folder = std::filesystem::current_path().string();
  const std::string other = folder_ / "elsewhere";
  std::filesystem::create_directory(other);
  std::ofstream(other + "/.env.local") << "TURSO_URL=file:" << db_ << "?authToken=x\n";
  std::ofstream(other + "/.env") << "TURSO_URL=file:/nowhere.db\nREEMBED_NOTHING=1\n";
  std::filesystem::current_path(other);
  const ProcessResult plan = Run({"--json"}, "plan");
  std::filesystem::remove(other + "/.env.local");
  const ProcessResult without = Run({"--json"}, "plan");
  std::filesystem::current_path(folder);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_GT(LastNumber(plan, "rows_selected"), 0);
  EXPECT_THAT(without.err, HasSubstr("/nowhere.db"));
}

TEST_F(McpMemoryCommandTest, AJobFileMayDescribeAnySchema) {
  Change((std::ofstream(db_), db_),
         "CREATE TABLE docs (k TEXT PRIMARY KEY NOT NULL, owner TEXT, a TEXT, b TEXT, v TEXT, w INT, m TEXT);"
         "INSERT INTO docs VALUES ('x', 'me', 'one', 'two', NULL, NULL, NULL), ('y', 'you', 'three', '', NULL, NULL, "
         "NULL);"
         "CREATE TABLE tags (id INTEGER PRIMARY KEY, t TEXT, v BLOB); INSERT INTO tags (t) VALUES ('red'), ('blue')");
  const std::string job_file = folder_ / "mine.toml";
  std::ofstream(job_file)
      << "target = [\"npy:" << folder_.path() << "/{stream}.npy\"]\n"
      << "[db]\npaths = [\"" << db_ << "\"]\n"
      << "[[stream]]\nname = \"docs\"\ntable = \"docs\"\ntemplate = '{(a, b)|join:\" + \"}'\n"
      << "vector = \"v\"\nencoding = \"json-python\"\ndim_column = \"w\"\nmodel_column = \"m\"\nuser = \"owner\"\n"
      << "[[stream]]\nname = \"tags\"\ntable = \"tags\"\ntext = \"t\"\nvector = \"v\"\n"
      << "[model]\nembedder = \"builtin\"\ndimensions = 32\n";
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"run", job_file, "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  };
  const ProcessResult mine = run({"--stream", "docs", "--user", "me", "--job", folder_ / "one"});
  ASSERT_EQ(mine.exit_code, 0) << mine.err << mine.out;
  EXPECT_EQ(Query(db_, "SELECT k, w, m, substr(v, 1, 1) FROM docs ORDER BY k"),
            (std::vector<std::string>{"x|32|reembed-lexical-1|[", "y|NULL|NULL|NULL"}));
  std::filesystem::remove(folder_ / "docs.npy");
  std::filesystem::remove(folder_ / "docs.npy.keys.jsonl");
  const ProcessResult all = run({"--job", folder_ / "two"});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(LastNumber(all, "rows_embedded"), 3);
  EXPECT_EQ(Query(db_, "SELECT count(*) FROM tags WHERE length(v) = 128"), std::vector<std::string>{"2"});
  EXPECT_TRUE(std::filesystem::exists(folder_ / "tags.npy"));
}

TEST_F(McpMemoryCommandTest, RecipesMakeTheTextsOfTheSystemsOtherPrograms) {
  MakeMcpMemory(db_, {.rows = 20, .dim = kDim});
  Change(db_,
         "INSERT INTO memories (id, user_id, title, content, memory_type, tags, embedding, created_at, updated_at) "
         "VALUES (4711, 'u1', 'Caf\xC3\xA9', '\xC3\x9C"
         "ber  alles', 'SYSTEM', '[\"a\",\"b\"]', NULL, 't', 't')");
  for (const auto& [recipe, text] : {std::pair<std::string, std::string>{"backfill",
                                                                         "Caf\xC3\xA9 \xC3\x9C"
                                                                         "ber  alles SYSTEM Tags: a, b"},
                                     {"create", "Caf ber alles Type: SYSTEM Tags: a, b"},
                                     {"regenerate",
                                      "Caf\xC3\xA9 \xC3\x9C"
                                      "ber  alles SYSTEM [\"a\",\"b\"]"}}) {
    Change(db_, "UPDATE memories SET embedding = NULL WHERE id = 4711");
    // The other rows have vectors of one recipe, as the system itself leaves them.
    const ProcessResult run = Run({"--db", db_, "--recipe", recipe, "--job", folder_ / recipe, "--mix"});
    EXPECT_THAT(run.exit_code, ::testing::AnyOf(0, 3)) << run.err;
    EXPECT_EQ(FloatBytesOfJson(Embeddings().at(4711)), ExpectedEmbedding(text, kDim)) << recipe;
  }
}

// Filters, a condition, an owner, every column beside the vector, and an index for each stream.
TEST_F(McpMemoryCommandTest, AJobFileGivesEachStreamItsTextsItsColumnsAndItsIndex) {
  Change((std::ofstream(db_), db_),
         "CREATE TABLE docs (k INTEGER PRIMARY KEY, owner TEXT, state TEXT, a TEXT, b TEXT, v TEXT, w INT, m TEXT, u "
         "TEXT DEFAULT 'then');"
         "INSERT INTO docs (k, owner, state, a, b) VALUES (1, 'me', 'open', '  A   long \xC3\xA4 title ', "
         "'[\"x\",\"y\"]'), (2, 'me', 'closed', 'not', '[]'), (3, 'you', 'open', 'nor', '[]'), (4, 'me', 'open', "
         "'\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80', 'no list');"
         "CREATE TABLE tags (id INTEGER PRIMARY KEY, t TEXT, v BLOB); INSERT INTO tags (t) VALUES "
         "('\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80'), ('blue')");
  const std::string job_file = folder_ / "mine.toml";
  std::ofstream(job_file) << "target = [\"faiss:" << folder_.path() << "/{stream}.faiss?factory=Flat\"]\n"
                          << "[db]\npaths = [\"" << db_ << "\"]\n"
                          << "[[stream]]\nname = \"docs\"\ntable = \"docs\"\nwhere = \"state = 'open'\"\n"
                          << "template = '{a|collapse|cut:8:\"...\"} {b|json_list:\", \"|prefix:\"# \"}'\n"
                          << "vector = \"v\"\nencoding = \"json\"\nuser = \"owner\"\n"
                          << "dim_column = \"w\"\nmodel_column = \"m\"\nupdated_column = \"u\"\n"
                          << "[[stream]]\nname = \"tags\"\ntable = \"tags\"\ntemplate = '{t|cut_utf16:4}'\n"
                          << "vector = \"v\"\n[model]\nembedder = \"builtin\"\ndimensions = 32\n";
  const ProcessResult plan = RunClean(REEMBED_BINARY, folder_.path(), {"plan", job_file});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  const ProcessResult run =
      RunClean(REEMBED_BINARY, folder_.path(), {"run", job_file, "--json", "--updated-at", "now-iso"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::map<int64_t, std::string> docs = {
      {1, "A long \xC3\xA4... # x, y"}, {3, "nor "}, {4, "\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80 "}};
  const std::map<int64_t, std::string> tags = {{1, "\xF0\x9F\x98\x80\xF0\x9F\x98\x80"}, {2, "blue"}};
  for (const auto& [k, text] : docs) {
    const std::string row = Query(db_, absl::StrCat("SELECT v FROM docs WHERE k = ", k)).at(0);
    EXPECT_EQ(FloatBytesOfJson(row), ExpectedEmbedding(text, 32)) << k;
  }
  EXPECT_EQ(Query(db_, "SELECT k, w, m, u LIKE '20__-__-__T%Z' FROM docs ORDER BY k"),
            (std::vector<std::string>{"1|32|reembed-lexical-1|1", "2|NULL|NULL|0", "3|32|reembed-lexical-1|1",
                                      "4|32|reembed-lexical-1|1"}));
  for (const auto& [stream, texts] : {std::pair("docs", docs), std::pair("tags", tags)}) {
    const auto place = ParseLocation(absl::StrCat("faiss:", folder_ / stream, ".faiss?factory=Flat"));
    ASSERT_THAT(place, IsOk());
    const auto reader = OpenReader(StoreOf(*place), 32);
    ASSERT_THAT(reader, IsOk());
    size_t rows = 0;
    for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next(), ++rows) {
      const std::string wanted = ExpectedEmbedding(texts.at(std::get<int64_t>((*row)->key)), 32);
      float first;
      std::memcpy(&first, wanted.data(), sizeof(first));
      EXPECT_NEAR((*row)->vector[0], first, 1e-6);
    }
    EXPECT_EQ(rows, texts.size()) << stream;
  }
}

}  // namespace
}  // namespace reembed
