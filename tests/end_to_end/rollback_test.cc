// SPDX-License-Identifier: Apache-2.0
// The way back: what a job has overwritten is put back byte for byte, also after kills at random moments.

#include <poll.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/rollback_cases.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int kKills = 20;

class RollbackTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    case_ = MakeRollbackCase(GetParam(), folder_);
    before_ = case_->Dump();
    ASSERT_FALSE(before_.empty());
  }

  testing::AssertionResult IsAsBefore() {
    const std::string difference = case_->Difference(before_);
    return difference.empty() ? testing::AssertionSuccess() : testing::AssertionFailure() << difference;
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
    std::vector<std::string> args = {
        "run", "--yes",   "--embedder",   "builtin", "--dimensions", absl::StrCat(RollbackCase::kDim), "--job",
        job_,  "--quiet", "--batch-size", "32"};
    const std::vector<std::string> more = case_->Args();
    args.insert(args.end(), more.begin(), more.end());
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
  std::string job_ = folder_ / "job";
  std::unique_ptr<RollbackCase> case_;
  std::string before_;
};

TEST_P(RollbackTest, PutsBackEveryByte) {
  RunJob();
  const std::string after = case_->Dump();
  ASSERT_FALSE(after == before_);
  Run({"rollback", job_}, 2);  // nobody said yes
  EXPECT_EQ(FirstDifference(after, case_->Dump()), "");
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsAsBefore());
  EXPECT_THAT(Run({"status", job_}, 0).out, HasSubstr("targets hold what they held before"));
  // Once more changes nothing; and the next run has its vectors still.
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsAsBefore());
  std::vector<std::string> again = RunArgs();
  again.push_back("--json");
  const ProcessResult run = RunProcess(Command(again));
  ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"texts_embedded\":0"));
  if (case_->again() == RollbackCase::Again::kSame) {
    EXPECT_EQ(FirstDifference(after, case_->Dump()), "");
  } else if (case_->again() == RollbackCase::Again::kInOtherOrder) {
    EXPECT_EQ(case_->Dump().size(), after.size());
  }
  Run({"rollback", job_, "--yes"}, 0);
  EXPECT_TRUE(IsAsBefore());
}

// The number behind `name` in a line of JSON; of the first line that has it.
int64_t Number(const std::string& json, const std::string& name) {
  const std::string field = absl::StrCat("\"", name, "\":");
  const size_t at = json.find(field);
  return at == std::string::npos ? -1 : std::strtoll(json.c_str() + at + field.size(), nullptr, 10);
}

TEST_P(RollbackTest, PlanSaysWhatIsOverwrittenAndWhatThatTakes) {
  std::vector<std::string> args = RunArgs();
  args[0] = "plan";
  const std::string people = Run(args, 0).out;
  const bool switches = absl::EndsWith(GetParam(), "_wide");
  const bool adds = absl::EndsWith(GetParam(), "_import");
  EXPECT_THAT(people, HasSubstr(absl::StrCat("`reembed rollback ", job_)));
  EXPECT_THAT(people, HasSubstr(switches ? "take their place at the end"
                                : adds   ? "takes away what the run adds"
                                         : "what is overwritten is kept"));
  args.push_back("--json");
  const std::string plan = Run(args, 0).out;
  EXPECT_THAT(plan, HasSubstr(switches ? R"("way_back":"switch")" : R"("way_back":"kept")"));
  EXPECT_TRUE(IsAsBefore());
  RunJob();
  const std::string status = Run({"status", job_, "--json"}, 0).out;
  // Of the last stream, or of all.
  const int64_t planned = Number(plan.substr(plan.rfind("{\"message_type")), "undo_bytes");
  int64_t taken = 0;
  for (const absl::string_view line : absl::StrSplit(status, '\n')) {
    if (absl::StrContains(line, R"("message_type":"undo")")) taken += Number(std::string(line), "bytes");
  }
  EXPECT_GT(taken, 0);
  EXPECT_LT(planned, taken * 3);
  EXPECT_GT(planned * 3, taken);
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
  ASSERT_TRUE(IsAsBefore());
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
    ASSERT_TRUE(rollback.exit_code == 0 || absl::StrContains(rollback.err, "nothing to roll back") ||
                absl::StrContains(rollback.err, "holds no job"))
        << rollback.err;
    ASSERT_TRUE(IsAsBefore());
  }
}

TEST_P(RollbackTest, ARunThatKeepsNothingSaysSo) {
  std::vector<std::string> args = RunArgs();
  args.push_back("--no-undo");
  const ProcessResult run = RunProcess(Command(args));
  ASSERT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
  EXPECT_THAT(Run({"rollback", job_, "--yes"}, 2).err, HasSubstr("nothing to roll back"));
}

INSTANTIATE_TEST_SUITE_P(Targets, RollbackTest, ::testing::ValuesIn(RollbackCaseNames()),
                         [](const auto& info) { return info.param; });

class RollbackCliTest : public ::testing::Test {
 protected:
  ProcessResult Run(std::vector<std::string> args) {
    args.insert(args.begin(), REEMBED_BINARY);
    return RunProcess(args);
  }
  TempFolder folder_;
};

TEST_F(RollbackCliTest, IsRefusedWhileANewerJobHasWrittenTheSamePlace) {
  const std::string db = folder_ / "memory.db";
  ASSERT_EQ(Run({"systems", "agentloop", "--make-sample", db, "--rows", "60"}).exit_code, 0);
  const std::string dump = "SELECT rowid || quote(embedding) || quote(embedding_model) FROM messages ORDER BY 1";
  const std::vector<std::string> before = Query(db, dump);
  const auto run = [&](const char* job, const char* dim) {
    return Run({"run", "--system", "agentloop", "--db", db, "--all", "--embedder", "builtin", "--dimensions", dim,
                "--job", folder_ / job, "--yes"});
  };
  const auto roll_back = [&](const char* job) { return Run({"rollback", folder_ / job, "--yes"}); };
  ASSERT_THAT(run("first", "64").exit_code, AnyOf(0, 3));
  const std::vector<std::string> first = Query(db, dump);
  ASSERT_THAT(run("second", "32").exit_code, AnyOf(0, 3));
  const std::vector<std::string> second = Query(db, dump);
  const ProcessResult refused = roll_back("first");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr(absl::StrCat("reembed rollback ", folder_ / "second")));
  EXPECT_EQ(Query(db, dump), second);
  ASSERT_EQ(roll_back("second").exit_code, 0);
  EXPECT_EQ(Query(db, dump), first);
  ASSERT_EQ(roll_back("first").exit_code, 0);
  EXPECT_EQ(Query(db, dump), before);
}

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
  const int64_t selected =
      std::stoll(Query(db, "SELECT count(*) FROM messages WHERE role IN ('user', 'assistant')")[0]);
  EXPECT_THAT(with("plan", {}).out,
              AllOf(HasSubstr(absl::StrCat("overwrites  ", selected, " vectors in sqlite:")),
                    HasSubstr(absl::StrCat("what is overwritten is kept, and `reembed rollback ", job, "` puts it"))));
  EXPECT_THAT(with("plan", {"--no-undo"}).out, HasSubstr("cannot be restored"));
  const std::string rows = absl::StrCat(R"("rows":)", selected, R"(,"rows_exact":true,"undo_bytes":)");
  EXPECT_THAT(with("plan", {"--json"}).out, AllOf(HasSubstr(rows), HasSubstr(R"("way_back":"kept")")));
  EXPECT_THAT(with("plan", {"--json", "--no-undo"}).out,
              AllOf(HasSubstr(absl::StrCat(rows, R"(0,"way_back":"none")")), HasSubstr(R"("undo_bytes":0)")));
  const ProcessResult asked = with("run", {});
  EXPECT_EQ(asked.exit_code, 2);
  EXPECT_THAT(asked.err, HasSubstr(absl::StrCat("`reembed rollback ", job, "` brings them back")));
  EXPECT_THAT(with("run", {"--no-undo"}).err, HasSubstr("they cannot be restored: make a backup first"));
  ASSERT_THAT(with("run", {"--yes"}).exit_code, AnyOf(0, 3));
  const int64_t kept = std::stoll(Query(db, "SELECT count(*) FROM messages WHERE embedding_model <> 'old'")[0]);
  EXPECT_THAT(Run({"status", job}).out, AllOf(HasSubstr(absl::StrCat("undo      ", kept, " rows as they were, ")),
                                              HasSubstr(absl::StrCat("  ", kept, " rows of sqlite:", db))));
  EXPECT_THAT(Run({"status", job, "--json"}).out,
              AllOf(HasSubstr(absl::StrCat(R"({"message_type":"undo","rows":)", kept, R"(,"bytes":)")),
                    HasSubstr(R"("targets":[{"target":"sqlite:)")));
  // After a rollback the yes is wanted again.
  ASSERT_EQ(Run({"rollback", job, "--yes"}).exit_code, 0);
  EXPECT_THAT(Run({"status", job}).out, HasSubstr("rollback  20"));
  EXPECT_THAT(Run({"status", job, "--json"}).out, HasSubstr(R"({"message_type":"rollback","time":"20)"));
  EXPECT_EQ(with("run", {}).exit_code, 2);
}

// The server is a program of its own, and has room enough.
TEST_F(RollbackCliTest, WithoutRoomForTheLogNothingIsOverwritten) {
  PostgresServer& server = TestPostgres();
  server.Run(
      "DROP TABLE IF EXISTS messages CASCADE; CREATE TABLE messages (id int PRIMARY KEY, content text, embedding "
      "vector); INSERT INTO messages SELECT i, 'text ' || i, ('[' || (SELECT string_agg((((i * 37 + k) % 1000) / "
      "1000.0)::text, ',') FROM generate_series(1, 2000) k) || ']')::vector FROM generate_series(1, 600) i");
  const auto dump = [&] { return server.Ask("SELECT id, content, embedding FROM messages ORDER BY id"); };
  const std::string before = dump(), job = folder_ / "job";
  const std::vector<std::string> run = {"run",
                                        "--source",
                                        server.Uri("table=messages&key=id&text=content&vector=embedding"),
                                        "--all",
                                        "--yes",
                                        "--embedder",
                                        "builtin",
                                        "--dimensions",
                                        "32",
                                        "--job",
                                        job,
                                        "--batch-size",
                                        "16"};
  std::vector<std::string> begin = run;
  begin.insert(begin.end(), {"--limit", "100"});
  ASSERT_EQ(Run(begin).exit_code, 0);
  EXPECT_NE(FirstDifference(before, dump()), "");
  ProcessResult full;
  {
    // The old vectors are 4.8 MB, and all that is bought is far less.
    const FileSizeLimit limit(1'500'000);
    full = Run(run);
  }
  EXPECT_EQ(full.exit_code, 5) << full.err;
  EXPECT_THAT(full.err, AllOf(HasSubstr("undo.db"), HasSubstr("a row that is not in the undo log is not overwritten"),
                              HasSubstr("--no-undo")));
  EXPECT_NE(server.Ask("SELECT count(*) FROM messages WHERE vector_dims(embedding) = 2000"), "0");
  ASSERT_THAT(Run({"rollback", job, "--yes"}).exit_code, 0);
  EXPECT_EQ(FirstDifference(before, dump()), "") << "something was overwritten that was not kept";
  ASSERT_EQ(Run(run).exit_code, 0);
  EXPECT_EQ(server.Ask("SELECT count(*) FROM messages WHERE vector_dims(embedding) = 2000"), "0");
  ASSERT_EQ(Run({"rollback", job, "--yes"}).exit_code, 0);
  EXPECT_EQ(FirstDifference(before, dump()), "");
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
  EXPECT_THAT(rollback.err, HasSubstr("you can remove new files that it made"));
}

}  // namespace
}  // namespace reembed
