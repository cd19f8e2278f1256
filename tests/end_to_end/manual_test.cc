// SPDX-License-Identifier: Apache-2.0
// The commands of data/manual: every block of every chapter, as it stands there, line by line in one folder. What a
// reader replaces by his own (addresses, JOB) is replaced here, what he is asked is answered, and the programs of
// others (mail, kubectl, systemctl ...) are stood in for by one that takes everything.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/dialect_server.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/raw_http.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/valkey_server.h"
#include "tests/places.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;

constexpr char kPages[] = REEMBED_SOURCE_DIR "/data/manual";

std::vector<std::string> Chapters() {
  std::vector<std::string> names;
  for (const auto& file : fs::directory_iterator(kPages)) names.push_back(file.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

// The commands of the blocks of a chapter, each on one line, without what is only said.
std::vector<std::string> CommandsOf(const std::string& chapter) {
  const std::string page = absl::StrReplaceAll(ReadFile(absl::StrCat(kPages, "/", chapter, ".md")), {{"\\\n", " "}});
  std::vector<std::string> commands;
  for (size_t at = 0; (at = page.find("```sh\n", at)) != std::string::npos;) {
    at += 6;
    const size_t end = page.find("\n```", at);
    for (const absl::string_view line : absl::StrSplit(page.substr(at, end - at), '\n', absl::SkipWhitespace())) {
      if (!absl::StartsWith(line, "#")) commands.emplace_back(line);
    }
    at = end;
  }
  return commands;
}

class ManualTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const char* const name :
         {"shared", "jobs", "bin", "lib", ".agentloop", ".zfunc", ".config/fish/completions", ".config/systemd/user"}) {
      fs::create_directories(folder_ / name);
    }
    auto server = EmbeddingServer::Start({.dim = 1536});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
    for (const char* const name : {"kubectl", "sbatch", "squeue", "systemctl", "journalctl", "mail", "man"}) {
      const std::string path = absl::StrCat(folder_.path(), "/bin/", name);
      std::ofstream(path) << "#!/bin/sh\n[ -t 0 ] || cat > /dev/null\n[ " << name << " != sbatch ] || echo 17\n";
      fs::permissions(path, fs::perms::owner_all);
    }
    fs::create_symlink(REEMBED_BINARY, folder_ / "bin/reembed");
    fs::create_symlink(REEMBED_NPM_DIR "/node_modules/sqlite-vec-linux-x64/vec0.so", folder_ / "lib/vec0.so");
    MakeFiles();
  }

  void MakeFiles() {
    std::string lines;
    for (int i = 1; i <= 60; ++i) absl::StrAppend(&lines, R"({"id":)", i, R"(,"text":"note )", i, " of many\"}\n");
    for (const char* const name : {"rows.jsonl", "shared/notes.jsonl", "shared/big.jsonl"}) {
      std::ofstream(folder_ / name) << lines;
    }
    for (const char* const name : {"jobs/a", "jobs/b", "jobs/c", "job"}) {
      std::ofstream(absl::StrCat(folder_.path(), "/", name, ".toml"))
          << "source = \"jsonl:" << folder_.path() << "/rows.jsonl\"\ntarget = [\"npy:" << folder_.path() << "/" << name
          << ".npy\"]\n";
    }
    std::ofstream(folder_ / "job.toml", std::ios::app) << "embedder = \"builtin\"\n";  // costs nothing
    std::ofstream(folder_ / "notes.db").close();
    for (const std::string& sql :
         {std::string("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, tenant TEXT)"),
          std::string(
              "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO notes "
              "SELECT i, 'note ' || i || ' of many', 't' || i % 3 FROM n")}) {
      Change(folder_ / "notes.db", sql);
    }
    const auto vec0 =
        RunProcess({"/usr/bin/env", "sqlite3", folder_ / "notes.db", "-cmd", ".load " + (folder_ / "lib/vec0.so"),
                    "CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, embedding float[1536]); CREATE VIRTUAL "
                    "TABLE p USING "
                    "vec0(id INTEGER PRIMARY KEY, tenant TEXT partition key, embedding float[1536])"});
    ASSERT_EQ(vec0.exit_code, 0) << vec0.err;
    ASSERT_EQ(Reembed({"systems", "agentloop", "--make-sample", folder_ / ".agentloop/memory.db", "--rows", "200"}), 0);
    ASSERT_EQ(Reembed({"run", "--source", "jsonl:" + (folder_ / "rows.jsonl"), "--target",
                       "npy:" + (folder_ / "vectors.npy"), "--embedder", "builtin", "--job", folder_ / "made"}),
              0);
    fs::remove(folder_ / "vectors.npy.keys.jsonl");
  }

  int Reembed(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args).exit_code; }

  // The stores that a chapter names.
  void StartServers(const std::string& text) {
    const auto names = [&](const char* word) { return absl::StrContains(text, word); };
    if (names("postgres://")) {
      postgres_ = std::make_unique<PostgresServer>();
      postgres_->Run("CREATE EXTENSION IF NOT EXISTS vector; CREATE SCHEMA memory");
      for (const char* const table : {"notes", "docs", "memory.docs"}) {
        postgres_->Run(absl::StrCat("CREATE TABLE ", table,
                                    "(id int PRIMARY KEY, body text, emb vector(1536)); INSERT INTO ", table,
                                    " SELECT i, 'note ' || i || ' of many' FROM generate_series(1, 60) i"));
      }
      postgres_->Run("CREATE INDEX ON docs USING hnsw (emb vector_cosine_ops)");
      const std::string base = postgres_->Uri("");
      for (const char* const name :
           {"postgres://me@host/db?", "postgres://me@other/db?", "postgres://me@localhost/notes?"})
        words_.emplace_back(name, base);
    }
    if (names("qdrant:") || names("automem")) {
      qdrant_ = std::make_unique<QdrantServer>();
      words_.emplace_back("http://localhost:6333", qdrant_->url());
      words_.emplace_back("http://other:6333", qdrant_->url());
      environment_["QDRANT_URL"] = qdrant_->url();
    }
    if (names("qdrant:")) {
      qdrant_->Do("PUT", "/collections/memories", R"({"vectors":{"size":1536,"distance":"Cosine"}})");
      std::string points;
      for (int i = 1; i <= 20; ++i) {
        absl::StrAppend(&points, i > 1 ? "," : "", R"({"id":)", i, R"(,"vector":[1)");
        for (int j = 1; j < 1536; ++j) points += ",0";
        absl::StrAppend(&points, R"(],"payload":{"content":"memory )", i, "\"}}");
      }
      qdrant_->Do("PUT", "/collections/memories/points?wait=true", absl::StrCat("{\"points\":[", points, "]}"));
    }
    if (names("automem")) {
      graph_ = std::make_unique<FalkorServer>(FalkorServer::Options{.password = "pa55word"});
      environment_["FALKORDB_HOST"] = "127.0.0.1";
      const std::string uri = graph_->Uri("", "memories");
      environment_["FALKORDB_PORT"] = uri.substr(uri.rfind(':') + 1, uri.rfind('/') - uri.rfind(':') - 1);
      environment_["FALKORDB_PASSWORD"] = "pa55word";
      environment_["VECTOR_SIZE"] = "768";
      MakeAutomem(graph_.get(), qdrant_.get(), {.rows = 60, .dim = 768});
    }
    if (names("mcp-memory")) {
      MakeMcpMemory(folder_ / "memory.db", {.rows = 60});
    } else if (names("--db memory.db") && !names("--make-sample")) {
      fs::copy_file(folder_ / ".agentloop/memory.db", folder_ / "memory.db");
    }
    if (names("redis://")) {
      valkey_ = std::make_unique<ValkeyServer>(ValkeyServer::Options{.password = "..."});
      words_.emplace_back("redis://valkey.example/", valkey_->Uri(""));
    }
    if (names("ollama")) {
      ollama_ = std::make_unique<DialectServer>("ollama");
      environment_["OLLAMA_BASE_URL"] = ollama_->api_base();
      environment_["OLLAMA_API_KEY"] = DialectServer::kKey;
      words_.emplace_back("--model nomic-embed-text",
                          absl::StrCat("--model ", DialectServer::kModel, " --dimensions ", DialectServer::kDim));
    }
    words_.insert(words_.end(), {{"http://127.0.0.1:8080/v1", embedder_->base_url()},
                                 {"https://api.openai.com/v1", embedder_->base_url()},
                                 {"text-embedding-3-large", "text-embedding-3-small"},  // what the server has
                                 {"/shared/", absl::StrCat(folder_.path(), "/shared/")},
                                 {"/usr/share/reembed/systemd", REEMBED_SOURCE_DIR "/data/systemd"},
                                 {"/usr/lib/vec0.so", folder_ / "lib/vec0.so"},
                                 {"/tmp/look.db", folder_ / "look.db"},
                                 {"10.0.0.5", "127.0.0.1"}});
  }

  // The folder of the job that was last at work.
  std::string NewestJob() const {
    std::string newest;
    fs::file_time_type last = fs::file_time_type::min();
    std::error_code none;
    for (const auto& job : fs::directory_iterator(folder_ / "state/reembed/jobs", none)) {
      const auto written = fs::last_write_time(job.path() / "ledger.db", none);
      if (!none && written >= last) newest = job.path();
      if (!none) last = std::max(last, written);
    }
    return newest;
  }

  std::string Adapted(const std::string& command) const {
    std::string adapted = std::regex_replace(absl::StrReplaceAll(command, words_), std::regex("\\s+# .*$"), "");
    adapted = std::regex_replace(adapted, std::regex("\\bJOB\\b"), NewestJob());
    // Answers to what is asked at a terminal.
    static const std::regex asks("^(reembed (?:restore|rollback|retry-rejects)\\b)(?!.*--yes)");
    adapted = std::regex_replace(adapted, asks, "$1 --yes");
    // Nobody waits for what is measured.
    if (absl::StartsWith(adapted, "reembed bench endpoint")) {
      adapted = std::regex_replace(adapted, std::regex(" --(?:seconds|max-tokens) \\S+"), "");
      adapted += " --seconds 0.02 --max-tokens 20000";
    }
    static const std::regex others("^(reembed bench (?:target|source|all) .*)$");
    return std::regex_replace(adapted, others, "$1 --seconds 0.02");
  }

  ProcessResult Shell(const std::string& script) {
    auto environment = environment_;
    environment["PATH"] = absl::StrCat(folder_ / "bin", ":", std::getenv("PATH"));
    environment["OPENAI_BASE_URL"] = embedder_->base_url();
    for (const char* const name : {"OPENAI_API_KEY", "KEY_ONE", "KEY_TWO", "MY_KEY"}) environment.emplace(name, "any");
    return RunClean("/usr/bin/env", folder_.path(), {"-C", folder_.path(), "bash", "-c", script}, environment);
  }

  // `reembed serve`, at a port of its own choice, until it answers.
  void ExpectServes(const std::string& command) {
    SCOPED_TRACE(command);
    const std::string words = std::regex_replace(command, std::regex("--port \\d+"), "--port 0");
    Process server({"/usr/bin/env", "-C", folder_.path(), "MY_KEY=any", "PATH=" + (folder_ / "bin"), "/bin/sh", "-c",
                    absl::StrCat("exec ", words)});
    static const std::regex listening("listening on http://[^:]*:(\\d+)/");
    std::smatch found;
    std::string said;
    while (found.empty() && server.IsRunning()) {
      said = server.out();
      std::regex_search(said, found, listening);
    }
    ASSERT_FALSE(found.empty()) << server.out() << server.err();
    EXPECT_EQ(RawHttpClient(std::stoi(found[1])).Get("/health").status, 200);
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait().exit_code, 0);
  }

  TempFolder folder_;
  std::map<std::string, std::string> environment_;
  std::vector<std::pair<std::string, std::string>> words_;  // of a reader, for those of the page
  std::unique_ptr<EmbeddingServer> embedder_;
  std::unique_ptr<PostgresServer> postgres_;
  std::unique_ptr<QdrantServer> qdrant_;
  std::unique_ptr<FalkorServer> graph_;
  std::unique_ptr<ValkeyServer> valkey_;
  std::unique_ptr<DialectServer> ollama_;
};

TEST_P(ManualTest, EveryCommandRuns) {
  const std::vector<std::string> commands = CommandsOf(GetParam());
  StartServers(absl::StrJoin(commands, "\n"));
  std::string exports;  // what later lines of the shell know
  for (const std::string& command : commands) {
    const std::string adapted = Adapted(command);
    if (absl::StartsWith(command, "reembed serve")) {
      ExpectServes(adapted);
      continue;
    }
    if (absl::StartsWith(command, "export ")) absl::StrAppend(&exports, command, "\n");
    const ProcessResult result = Shell(absl::StrCat(exports, adapted));
    // Some rows of the samples have no text.
    EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << command << "\n" << adapted << "\n" << result.out << result.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Chapters, ManualTest, ::testing::ValuesIn(Chapters()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace reembed
