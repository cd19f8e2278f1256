// SPDX-License-Identifier: Apache-2.0
// `reembed launch slurm` on a real Slurm of two nodes.

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/slurm_cluster.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/valkey_server.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SlurmTest : public ::testing::Test {
 protected:
  // One for all tests of this process: it takes seconds to come.
  static void TearDownTestSuite() { cluster_.reset(); }

  SlurmTest() {
    if (cluster_ == nullptr) cluster_ = std::make_unique<SlurmCluster>();
  }
  static const SlurmCluster& cluster() { return *cluster_; }

  ProcessResult Launch(const std::vector<std::string>& more, const std::string& shards = "4") {
    std::vector<std::string> args = {"launch", "slurm", "--job", job_, "--shards", shards, "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args, cluster().environment());
  }
  // Launches, and waits until all has ended; the number of the job.
  std::string LaunchAndWait(const std::vector<std::string>& more, const std::string& shards = "4") {
    const ProcessResult result = Launch(more, shards);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const int64_t id = LastNumber(result, "slurm_job");
    EXPECT_GT(id, 0) << result.out;
    started_ = Text(result, "started");
    cluster().WaitForEndOf(absl::StrCat(id));
    return absl::StrCat(id);
  }
  static std::string Text(const ProcessResult& result, const std::string& name) {
    const std::string field = "\"" + name + "\":\"";
    const size_t at = result.out.rfind(field);
    if (at == std::string::npos) return "nothing of that name";
    const size_t begin = at + field.size();
    return result.out.substr(begin, result.out.find('"', begin) - begin);
  }
  std::string Log(int shard) const { return ReadFile(absl::StrCat(job_, "/launch/log/shard-000", shard, ".log")); }

  // A command whose shard i ends with codes[i][0] the first time, codes[i][1] the second, ...; the last one stays. It
  // marks a shard that ends with 0 as complete.
  std::vector<std::string> EndingWith(const std::vector<std::vector<int>>& codes) {
    std::string script = "#!/bin/bash\ni=$SLURM_ARRAY_TASK_ID\ncd '" + folder_.path() + "' || exit 2\ncase $i in\n";
    for (size_t i = 0; i < codes.size(); ++i) {
      absl::StrAppend(&script, "  ", i, ") codes=(", absl::StrJoin(codes[i], " "), ") ;;\n");
    }
    absl::StrAppend(&script, "esac\nn=$(cat began$i 2>/dev/null | wc -l)\necho $SLURMD_NODENAME >>began$i\n",
                    "code=${codes[n]:-${codes[-1]}}\necho \"time $((n + 1)), exit code $code\"\n", "folder='", job_,
                    "'/shard-000$i-of-000", codes.size(),
                    "\n[ $code != 0 ] || { mkdir -p \"$folder\" && touch \"$folder/complete\"; }\nexit $code\n");
    const std::string path = folder_ / "command";
    std::ofstream(path) << script;
    chmod(path.c_str(), 0755);
    return {"--program", path, "--source", "jsonl:rows.jsonl", "--embedder", "builtin"};
  }
  // How often the shards were begun: "1 1 2 1".
  std::string Begun(int shards) const {
    std::vector<int64_t> counts;
    for (int i = 0; i < shards; ++i) {
      const std::string lines = ReadFile(folder_ / absl::StrCat("began", i));
      counts.push_back(std::count(lines.begin(), lines.end(), '\n'));
    }
    return absl::StrJoin(counts, " ");
  }

  static std::unique_ptr<SlurmCluster> cluster_;
  TempFolder folder_;
  std::string job_ = folder_ / "job";
  std::string started_;  // by the last launch
};

std::unique_ptr<SlurmCluster> SlurmTest::cluster_;

TEST_F(SlurmTest, ExitCodesSayWhatBecomesOfAShard) {
  // Done; temporary, locked, done; its time was up twice; rejected by all tries.
  const std::string id = LaunchAndWait(EndingWith({{0}, {5, 11, 0}, {10, 10, 10, 0}, {5}}));
  EXPECT_EQ(started_, "0-3");
  EXPECT_EQ(Begun(4), "1 3 4 6");
  EXPECT_EQ(cluster().StatesOf(id), "0 COMPLETED\n1 COMPLETED\n2 COMPLETED\n3 FAILED\n");
  EXPECT_THAT(Log(1), HasSubstr("time 1, exit code 5"));
  EXPECT_THAT(Log(1), HasSubstr("time 3, exit code 0"));  // all in one log
  EXPECT_THAT(Log(3), HasSubstr("it has been started again 5 times"));
}

TEST_F(SlurmTest, TheSameCommandStartsWhatHasFailedAndNothingElse) {
  std::vector<std::string> command = EndingWith({{0}, {8, 0}, {0}, {4, 0}});
  LaunchAndWait(command);
  EXPECT_EQ(Begun(4), "1 1 1 1");
  const std::string id = LaunchAndWait(command);
  EXPECT_EQ(started_, "1,3");
  EXPECT_EQ(Begun(4), "1 2 1 2");
  EXPECT_EQ(cluster().StatesOf(id), "1 COMPLETED\n3 COMPLETED\n");
  const ProcessResult nothing = Launch(command);
  EXPECT_EQ(nothing.exit_code, 0);
  EXPECT_EQ(Text(nothing, "started"), "");
  EXPECT_EQ(Text(nothing, "complete"), "0-3");
  command.push_back("--complete");
  LaunchAndWait(command);
  EXPECT_EQ(started_, "0-3");
}

TEST_F(SlurmTest, WhatIsWrongForAllStartsNoMore) {
  std::vector<std::string> command = EndingWith({{6}, {0}, {0}, {0}, {0}, {0}});
  command.insert(command.end(), {"--at-once", "1"});
  LaunchAndWait(command, "6");
  // The others wait for the first, whose key is refused.
  EXPECT_EQ(Begun(6), "1 0 0 0 0 0");
  EXPECT_THAT(Log(0), HasSubstr("removed from the queue"));
}

TEST_F(SlurmTest, ShardsUnderWayAreLeftAlone) {
  // Ends when the file is there.
  const std::string program = folder_ / "command";
  std::ofstream(program) << "#!/bin/bash\nwhile [ ! -e '" << (folder_ / "go")
                         << "' ]; do read -r -t 0.1 <> <(:); done\n";
  chmod(program.c_str(), 0755);
  const std::vector<std::string> command = {"--program", program, "--source", "jsonl:rows.jsonl", "--at-once", "2"};
  const ProcessResult first = Launch(command);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string id = absl::StrCat(LastNumber(first, "slurm_job"));
  EXPECT_EQ(Text(first, "held"), "");
  // One that waits is held, as Slurm itself holds what it could not launch.
  cluster().Ask({"scontrol", "hold", id + "_3"});
  const ProcessResult second = Launch(command);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(Text(second, "started"), "");
  EXPECT_EQ(Text(second, "under_way"), "0-3");
  EXPECT_EQ(Text(second, "held"), "3");
  cluster().Ask({"scontrol", "release", id + "_3"});
  std::ofstream(folder_ / "go").close();
  cluster().WaitForEndOf(id);
}

TEST_F(SlurmTest, NamesComeOutAsTheyWentIn) {
  job_ = folder_ / "it's a \"job\" $HOME %a #1";
  std::vector<std::string> command = EndingWith({{0}});
  const std::string name = "it's \"5\" \\ #2 $(id) %a";
  command.insert(command.end(), {"--name", name});
  // The stub's own quoting is not what is tested here.
  const std::string program = folder_ / "plain";
  std::ofstream(program) << "#!/bin/bash\necho here\n";
  chmod(program.c_str(), 0755);
  command[1] = program;
  const std::string id = LaunchAndWait(command, "1");
  EXPECT_EQ(cluster().Ask({"squeue", "--noheader", "--states=all", "--job=" + id, "--format=%j"}), name + "\n");
  EXPECT_EQ(cluster().Ask({"squeue", "--noheader", "--states=all", "--job=" + id, "--format=%k"}),
            "reembed " + job_ + "\n");
  EXPECT_EQ(Log(0), "here\n");
}

TEST_F(SlurmTest, WhatSlurmRefusesIsSaid) {
  std::vector<std::string> command = EndingWith({{0}});
  command.insert(command.end(), {"--partition", "nowhere"});
  const ProcessResult refused = Launch(command, "1");
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_THAT(refused.err, HasSubstr("partition"));
  const ProcessResult many = Launch(EndingWith({{0}}), "5000");
  EXPECT_EQ(many.exit_code, 2);
  EXPECT_THAT(many.err, HasSubstr("fewer --shards than MaxArraySize"));
}

TEST_F(SlurmTest, PrintDoesNothing) {
  std::vector<std::string> command = EndingWith({{0}});
  command.push_back("--print");
  const ProcessResult printed = Launch(command, "1");
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.out, HasSubstr("#SBATCH --array=0\n"));
  EXPECT_FALSE(std::filesystem::exists(job_));
}

TEST_F(SlurmTest, KeysOfTheEnvironmentAreNotInTheScript) {
  const std::string key = "sk-proj-0123456789abcdefABCDEF0123456789";
  std::vector<std::string> args = {"launch", "slurm", "--job", job_, "--shards", "1", "--print", "--source", "jsonl:a"};
  const std::map<std::string, std::string> environment = {{"OPENAI_API_KEY", key}, {"REDIS_PASSWORD", key}};
  const ProcessResult printed = RunClean(REEMBED_BINARY, folder_.path(), args, environment);
  EXPECT_EQ(printed.exit_code, 0);
  EXPECT_THAT(printed.out, Not(HasSubstr(key)));
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--header", "Authorization: Bearer " + key},
                                               {"--setup", "export A='" + key + "'"},
                                               {"--sbatch=--export=A=" + key},
                                               {"--api-key-cmd", "echo " + key}}) {
    std::vector<std::string> with = args;
    with.insert(with.end(), more.begin(), more.end());
    const ProcessResult refused = RunClean(REEMBED_BINARY, folder_.path(), with, environment);
    EXPECT_EQ(refused.exit_code, 2) << more[0];
    EXPECT_THAT(refused.out + refused.err, Not(HasSubstr(key)));
  }
}

// The processes that do a shard of this job.
std::vector<pid_t> ShardsAtWork(const std::string& job) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = ReadFile(entry.path().string() + "/cmdline");
    if (words.find(REEMBED_BINARY) != 0 || words.find("--job=" + job) == std::string::npos) continue;
    found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

// How much of it: 50 kills and 10 stops are a matter of minutes (tests/README.md).
int CountOf(const char* variable, int otherwise) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoi(value);
}

// An API that takes its time, and counts what it sells. Some texts stand in many rows, of all shards.
class SlowShop {
 public:
  static std::string TextOf(int row) {
    return row % 10 == 0 ? absl::StrCat("shared by many ", row / 10 % kSharedTexts) : absl::StrCat("row ", row);
  }
  static constexpr int kSharedTexts = 20;

  SlowShop() : server_([this](const ServerRequest& request) { return Answer(request); }) {}
  std::string url() const { return server_.url() + "/v1"; }
  // Of both kinds, since the last call.
  struct Sold {
    int64_t own = 0, shared = 0;
  };
  Sold TakeSold() {
    const std::lock_guard lock(mutex_);
    return std::exchange(sold_, {});
  }

 private:
  ServerReply Answer(const ServerRequest& request) {
    poll(nullptr, 0, 100);
    {
      const std::lock_guard lock(mutex_);
      for (const std::string& text : TextsOf(request.body)) {
        sold_.own += absl::StartsWith(text, "row ") ? 1 : 0;
        sold_.shared += absl::StartsWith(text, "shared ") ? 1 : 0;
      }
    }
    return OpenAiAnswer(request, {.dim = 64, .bytes_per_token = 4});
  }

  std::mutex mutex_;
  Sold sold_;
  ScriptedServer server_;  // last: its threads use the above
};

// Workers are killed, and stopped for a while; the server of their quota and their cache loses all it has, twice.
TEST_F(SlurmTest, ShardsThatAreKilledMakeWhatOneMachineMakes) {
  constexpr int kShards = 4, kRestarts = 2;
  const int kills_wanted = CountOf("REEMBED_ARRAY_KILLS", 8), stops_wanted = CountOf("REEMBED_ARRAY_STOPS", 2);
  const int rows = 250 * kills_wanted;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  SlowShop shop;
  ValkeyServer valkey;
  std::ofstream lines(folder_ / "rows.jsonl");
  for (int i = 0; i < rows; ++i) lines << absl::StrCat(R"({"key":)", i, R"(,"text":")", SlowShop::TextOf(i), "\"}\n");
  lines.close();
  const auto words = [&](const std::string& target) -> std::vector<std::string> {
    return {"--source",      "jsonl:" + (folder_ / "rows.jsonl"),
            "--target",      "fbin:" + target + ".fbin",
            "--target",      "jsonl:" + target + ".jsonl",
            "--api-base",    shop.url(),
            "--model",       "lexical",
            "--dimensions",  "64",
            "--batch-size",  "8",
            "--concurrency", "2"};
  };
  std::vector<std::string> one = {"run", "--job", folder_ / "one"};
  const std::vector<std::string> of_one = words(folder_ / "one");
  one.insert(one.end(), of_one.begin(), of_one.end());
  const ProcessResult alone = RunClean(REEMBED_BINARY, folder_.path(), one);
  ASSERT_EQ(alone.exit_code, 0) << alone.err;
  const int own_texts = rows - rows / 10;
  EXPECT_EQ(shop.TakeSold().own, own_texts);

  std::vector<std::string> command = words(folder_ / "all");
  command.insert(command.end(), {"--retries", "100", "--rpm", "2400", "--quota", valkey.Uri("account"), "--cache",
                                 valkey.Uri("team")});
  const ProcessResult launched = Launch(command, absl::StrCat(kShards));
  ASSERT_EQ(launched.exit_code, 0) << launched.err;
  const std::string id = absl::StrCat(LastNumber(launched, "slurm_job"));
  int kills = 0, stops = 0, restarts = 0;
  std::vector<std::pair<pid_t, int>> stopped;  // with the looks that are left
  for (int looks = 0; (kills < kills_wanted || stops < stops_wanted || !stopped.empty()) && looks < 24000; ++looks) {
    for (auto& [pid, left] : stopped) {
      if (--left == 0) kill(pid, SIGCONT);
    }
    std::erase_if(stopped, [](const auto& process) { return process.second == 0; });
    const std::vector<pid_t> at_work = ShardsAtWork(job_);
    // One of them, at some moment of its work.
    if (!at_work.empty() && random() % 8 == 0) {
      const pid_t chosen = at_work[random() % at_work.size()];
      if (kills < kills_wanted &&
          random() % static_cast<unsigned>(kills_wanted + stops_wanted) >= static_cast<unsigned>(stops_wanted)) {
        if (kill(chosen, SIGKILL) == 0) ++kills;
      } else if (stops < stops_wanted && kill(chosen, SIGSTOP) == 0) {
        stopped.emplace_back(chosen, 1 + static_cast<int>(random() % 160));
        ++stops;
      }
    }
    if (restarts < kRestarts && kills >= kills_wanted * (restarts + 1) / (kRestarts + 1)) {
      valkey.Stop();
      valkey.Start();
      ++restarts;
    }
    if (at_work.empty() && cluster().Ask({"squeue", "--noheader", "--job=" + id}).empty()) break;
    poll(nullptr, 0, 50);
  }
  for (const auto& [pid, left] : stopped) kill(pid, SIGCONT);
  cluster().WaitForEndOf(id);
  const SlowShop::Sold sold = shop.TakeSold();
  const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", job_, "--json"});
  const int64_t bound = LastNumber(status, "texts_possibly_rebought");
  std::cout << "measure array job: seed " << seed << ", " << kills << " kills, " << stops << " stops, " << restarts
            << " times without its data, " << rows << " rows; of " << own_texts << " texts in one row " << sold.own
            << " bought, of " << SlowShop::kSharedTexts << " in many " << sold.shared << "; at most " << bound
            << " twice" << std::endl;
  EXPECT_EQ(kills, kills_wanted);
  EXPECT_EQ(stops, stops_wanted);
  EXPECT_EQ(restarts, kRestarts);
  EXPECT_EQ(cluster().StatesOf(id), "0 COMPLETED\n1 COMPLETED\n2 COMPLETED\n3 COMPLETED\n");
  EXPECT_EQ(LastNumber(status, "shards_complete"), kShards) << status.out << status.err;
  // A text that is in all shards may be bought for each where the cache has lost it.
  const int64_t for_each = std::max<int64_t>(0, sold.shared - kShards * SlowShop::kSharedTexts);
  EXPECT_GE(sold.own, own_texts);
  EXPECT_LE(sold.own - own_texts + for_each, bound);
  const ProcessResult merged = RunClean(REEMBED_BINARY, folder_.path(), {"merge", job_});
  ASSERT_EQ(merged.exit_code, 0) << merged.err << Log(0) << Log(1) << Log(2) << Log(3);
  for (const char* const end : {".fbin", ".fbin.keys.jsonl", ".jsonl"}) {
    EXPECT_TRUE(ReadFile(folder_ / "all" + end) == ReadFile(folder_ / "one" + end)) << end;
  }
  EXPECT_EQ(ReadFile(folder_ / "one.fbin").size(), size_t{8} + static_cast<size_t>(rows) * 64 * sizeof(float));

  const ProcessResult again = Launch(command);
  EXPECT_EQ(Text(again, "started"), "");
  EXPECT_EQ(Text(again, "complete"), "0-3");
  const ProcessResult other = Launch(command, "8");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("--shards 4"));
}

TEST_F(SlurmTest, AJobThatIsCancelledIsNotStartedAgainAndGoesOnWhenItIsLaunched) {
  auto server = EmbeddingServer::Start({.dim = 64, .speed = {.latency = absl::Milliseconds(100)}});
  ASSERT_THAT(server, IsOk());
  std::ofstream rows(folder_ / "rows.jsonl");
  for (int i = 0; i < 2000; ++i) rows << absl::StrCat(R"({"key":)", i, R"(,"text":"a row with number )", i, "\"}\n");
  rows.close();
  const std::vector<std::string> command = {"--source",      "jsonl:" + (folder_ / "rows.jsonl"),
                                            "--target",      "jsonl:" + (folder_ / "all.jsonl"),
                                            "--api-base",    (*server)->base_url(),
                                            "--model",       "lexical",
                                            "--dimensions",  "64",
                                            "--batch-size",  "8",
                                            "--concurrency", "1"};
  const ProcessResult launched = Launch(command, "2");
  ASSERT_EQ(launched.exit_code, 0) << launched.err;
  const std::string id = absl::StrCat(LastNumber(launched, "slurm_job"));
  while ((*server)->counts().texts < 100) poll(nullptr, 0, 20);
  cluster().Ask({"scancel", id});
  cluster().WaitForEndOf(id);
  EXPECT_EQ(cluster().StatesOf(id), "0 CANCELLED\n1 CANCELLED\n");
  // Each was told, ended by itself, and its end is known.
  for (const char* const note : {"/launch/slurm/0000", "/launch/slurm/0001"}) {
    EXPECT_EQ(ReadFile(job_ + note), "143 0\n") << Log(0) << Log(1);
  }
  const ProcessResult again = Launch(command, "2");
  EXPECT_EQ(Text(again, "started"), "0-1");
  cluster().WaitForEndOf(absl::StrCat(LastNumber(again, "slurm_job")));
  EXPECT_EQ(LastNumber(RunClean(REEMBED_BINARY, folder_.path(), {"status", job_, "--json"}), "shards_complete"), 2);
}

}  // namespace
}  // namespace reembed
