// SPDX-License-Identifier: Apache-2.0
// agentloop as a whole: both databases, with rows of every kind, and vectors that were written to the rows of others.

#include "tests/fakes/agentloop.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/system_measure.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tools/sample/agentloop_sample.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AgentloopTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_ / ".agentloop"); }

  std::string Make(const std::string& name) {
    const std::string path = folder_ / (".agentloop/" + name);
    EXPECT_EQ(Run({"systems", "agentloop", "--make-sample", path, "--rows", "200"}).exit_code, 0);
    return path;
  }
  ProcessResult Run(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }

  TempFolder folder_;
};

// From before there were vectors, with messages without text, in all scripts and too long for any model.
TEST_F(AgentloopTest, EveryMessageThatLacksAVectorGetsItAndNothingElseChanges) {
  const auto server = EmbeddingServer::Start({.dim = 512});
  ASSERT_THAT(server, IsOk());
  for (const char* const name : {"memory.db", "movie_suggestions.db"}) {
    const std::string db = folder_ / (std::string(".agentloop/") + name);
    ASSERT_THAT(MakeAgentloopSample(db, {.rows = TestRows(2000),
                                         .schema = AgentloopSampleOptions::Schema::kBeforeEmbeddings,
                                         .odd_rows = AgentloopSampleOptions::OddRows::kSome}),
                IsOk());
    const std::string before = DumpWithoutEmbeddings(db);
    const auto wanted = EmbeddableMessages(db);
    const std::vector<std::string> args = {
        "run",     "--system",          "agentloop", "--db", db, "--api-base", (*server)->base_url(),
        "--model", "reembed-lexical-1", "--json"};
    const ProcessResult run = Run(args);
    EXPECT_EQ(run.exit_code, 3) << run.err;
    EXPECT_EQ(LastNumber(run, "rows_embedded"), static_cast<int64_t>(wanted.size()));
    EXPECT_EQ(LastNumber(run, "table_rows_with_vector"), static_cast<int64_t>(wanted.size()));
    EXPECT_EQ(LastNumber(run, "table_rows"), static_cast<int64_t>(wanted.size()) + LastNumber(run, "rows_rejected"));
    const auto stored = StoredEmbeddings(db);
    int64_t right = 0;
    for (const auto& [id, text] : wanted) {
      const auto found = stored.find(id);
      right += found != stored.end() && found->second == ExpectedEmbedding(text, 512) ? 1 : 0;
    }
    EXPECT_EQ(right, static_cast<int64_t>(wanted.size()));
    EXPECT_EQ(stored.size(), wanted.size());
    const int64_t changed = ChangedLines(before, DumpWithoutEmbeddings(db));
    EXPECT_EQ(changed, 0);
    const int64_t requests = (*server)->counts().requests;
    EXPECT_EQ(Run(args).exit_code, 3);
    EXPECT_EQ((*server)->counts().requests, requests) << "a second run bought again";
    PrintMeasure(std::string("agentloop, ") + name, static_cast<int64_t>(wanted.size()), right, changed,
                 (*server)->counts().requests - requests);
  }
}

TEST_F(AgentloopTest, TheSecondDatabaseIsFoundNamedAndDone) {
  const std::string movies = Make("movie_suggestions.db");
  const ProcessResult alone = Run({"plan", "--system", "agentloop", "--embedder", "builtin"});
  EXPECT_THAT(alone.out, HasSubstr("movie_suggestions.db")) << alone.err;
  Make("memory.db");
  const ProcessResult both = Run({"plan", "--system", "agentloop", "--embedder", "builtin"});
  EXPECT_THAT(both.out, HasSubstr(".agentloop/memory.db"));
  EXPECT_THAT(both.out, HasSubstr("another database: --db ~/.agentloop/movie_suggestions.db"));
  const ProcessResult run = Run({"run", "--system", "agentloop", "--embedder", "builtin", "--db", movies});
  EXPECT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  const auto stored = StoredEmbeddings(movies);
  const auto wanted = EmbeddableMessages(movies);
  EXPECT_EQ(stored.size(), wanted.size());
  for (const auto& [id, text] : wanted) ASSERT_EQ(stored.at(id), ExpectedEmbedding(text, 512)) << id;
}

TEST_F(AgentloopTest, AllRepairsRowsThatHoldAnothersVector) {
  const std::string db = Make("memory.db");
  const std::vector<std::string> run = {"run", "--system", "agentloop", "--embedder", "builtin", "--db", db};
  ASSERT_THAT(Run(run).exit_code, AnyOf(0, 3));
  const auto right = StoredEmbeddings(db);
  // As two Mem4AI objects in one process do it: every vector is that of another row.
  Change(
      db,
      "UPDATE messages SET embedding = (SELECT other.embedding FROM messages AS other WHERE other.embedding NOT NULL "
      "AND other.message_id > messages.message_id ORDER BY other.message_id LIMIT 1) WHERE embedding NOT NULL AND "
      "message_id < (SELECT max(message_id) FROM messages WHERE embedding NOT NULL)");
  ASSERT_THAT(StoredEmbeddings(db), Not(right));
  std::vector<std::string> all = run;
  all.push_back("--all");
  EXPECT_EQ(Run(all).exit_code, 2) << "replaced without consent";
  all.push_back("--yes");
  const ProcessResult repaired = Run(all);
  EXPECT_THAT(repaired.exit_code, AnyOf(0, 3)) << repaired.err;
  EXPECT_EQ(StoredEmbeddings(db), right);
}

}  // namespace
}  // namespace reembed
