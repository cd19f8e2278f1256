// SPDX-License-Identifier: Apache-2.0
// Promises 1, 2 and 3 in the manner of RocksDB's crash test: an expected table beside random jobs of the real command,
// which is killed at random moments from outside and at compiled-in kill points, and given again until it ends.

#include <signal.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/crash/crash_flags.h"
#include "tests/crash/crash_job.h"
#include "tests/crash/crash_store.h"
#include "tests/crash/local_stores.h"
#include "tests/crash/server_stores.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKillsOfStore = 16;  // in the normal run
constexpr int kMostCrashes = 2;    // of a server by itself

void Print(const std::string& store, const CrashReport& report) {
  std::cout << "measure crash " << store << ": jobs " << report.jobs << ", kills " << report.kills
            << " (at kill points " << report.kills_at_points << "), servers stopped " << report.disturbances
            << ", lost " << report.findings.lost << ", foreign " << report.findings.foreign << ", bought twice "
            << report.twice << ", said at most " << report.said << ", beyond that " << report.findings.twice
            << ", other findings " << report.findings.wrong << std::endl;
}

// Jobs of one store until there were so many kills, or a finding, or the time is over.
class CrashTest : public ::testing::TestWithParam<std::string> {
 protected:
  void RunJobs(CrashStore* store) {
    const uint64_t first = TheCrashFlags().seed.value_or(std::random_device()());
    const auto share = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
        TheCrashFlags().hours * 3600 / static_cast<double>(LocalStores().size() + ServerStores().size())));
    const auto end = Clock::now() + share;
    CrashReport report;
    CrashPace pace;
    const auto goes_on = [&] {
      if (TheCrashFlags().seed.has_value()) return report.jobs == 0;
      return TheCrashFlags().hours > 0 ? Clock::now() < end : report.kills < kKillsOfStore;
    };
    uint64_t seed = first;
    for (int crashes = 0; goes_on() && !report.findings.any(); ++seed) {
      const CrashReport before = report;
      CrashJob(store, seed, {}, &pace, &report).Run();
      if (!store->TakesNewServer()) continue;
      std::cout << "measure crash " << GetParam() << ": the server crashed by itself in the job of seed " << seed
                << ", which does not count" << std::endl;
      report = before;
      ASSERT_LE(++crashes, kMostCrashes) << "the server crashes too often: is it the command's fault?";
    }
    Print(GetParam(), report);
    EXPECT_FALSE(report.findings.any()) << "seed " << seed - 1 << ": " << report.findings.Text()
                                        << "\nagain: crash_test "
                                        << "--seed " << seed - 1 << " --gtest_filter='*" << GetParam() << "'";
  }
};

class LocalCrashTest : public CrashTest {};
class ServerCrashTest : public CrashTest {};

TEST_P(LocalCrashTest, NothingIsLostForeignOrBoughtTwice) { RunJobs(MakeLocalStore(GetParam()).get()); }
TEST_P(ServerCrashTest, NothingIsLostForeignOrBoughtTwice) { RunJobs(MakeServerStore(GetParam()).get()); }

const auto kName = [](const testing::TestParamInfo<std::string>& info) { return info.param; };
INSTANTIATE_TEST_SUITE_P(Stores, LocalCrashTest, ::testing::ValuesIn(LocalStores()), kName);
INSTANTIATE_TEST_SUITE_P(Stores, ServerCrashTest, ::testing::ValuesIn(ServerStores()), kName);

// The proof that it can fail: a mistake of each kind, made by the command that is tested, is found.
class PlantedBugTest : public ::testing::TestWithParam<std::string> {};

TEST_P(PlantedBugTest, IsFoundWithin200Kills) {
  const auto store = MakeLocalStore("files");
  CrashReport report;
  CrashPace pace;
  const uint64_t first = TheCrashFlags().seed.value_or(std::random_device()());
  for (uint64_t seed = first; report.kills < 200 && !report.findings.any(); ++seed) {
    CrashJob(store.get(), seed, {{"PLANTED_BUG", GetParam()}}, &pace, &report).Run();
  }
  std::cout << "measure planted bug " << GetParam() << ": found after " << report.kills << " kills in job "
            << report.jobs << ": " << report.findings.Text() << std::endl;
  EXPECT_TRUE(report.findings.any()) << "seed " << first;
}

INSTANTIATE_TEST_SUITE_P(Bugs, PlantedBugTest, ::testing::Values("swap", "drop", "forget", "rebuy"), kName);

// Rows are taken back before they are tried: a kill between must not leave them without a vector, a reason and a word.
TEST(RetryRejectsKillTest, TheSameCommandGoesOnBehindItsCommit) {
  const TempFolder folder;
  std::mt19937_64 random(3);
  ExpectedTable table{.dim = 4};
  for (int i = 0; i < 30; ++i) {
    table.rows.push_back(
        {absl::StrCat(i + 1), absl::StrCat(kRowTextMark, i, i % 9 == 4 ? " refused" : ""), i % 9 == 4});
  }
  TextShop shop(table.dim);
  const auto store = MakeLocalStore("sqlite");
  store->Make(folder.path(), table, &random);
  const std::string job = folder / "job";
  std::vector<std::string> run = {"run",          "--api-base", shop.api_base(), "--model", "fake",
                                  "--dimensions", "4",          "--job",         job};
  const std::vector<std::string> places = store->Args();
  run.insert(run.end(), places.begin(), places.end());
  const auto command = [&](std::vector<std::string> args, const std::string& kill_at) {
    args.insert(args.begin(), REEMBED_ARMED_BINARY);
    return RunProcess(args, {{"HOME", folder.path()},
                             {"XDG_STATE_HOME", folder / "state"},
                             {"XDG_CONFIG_HOME", folder / "config"},
                             {"OPENAI_API_KEY", "sk-crash"},
                             {"OPENAI_BASE_URL", ""},
                             {"KILL_POINT_AT", kill_at}});
  };
  ASSERT_EQ(command(run, "").exit_code, 3);
  shop.Refuse(false);
  const std::vector<std::string> retry = {"retry-rejects", job, "--yes"};
  ASSERT_EQ(command(retry, "retry: committed:1").signal, SIGKILL);
  const ProcessResult again = command(retry, "");
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  Findings findings;
  CheckLedger(job, table, JobState::kFinished, true, store->targets(), &findings);
  store->Check(table, JobState::kFinished, true, &findings);
  EXPECT_FALSE(findings.any()) << findings.Text();
  const ProcessResult done = command(retry, "");
  EXPECT_EQ(done.out, "no row of this job is rejected\n") << done.err;
}

// What is for tests alone is in the command of the tests alone.
TEST(KillPointTest, TheShippedCommandHasNone) {
  const auto bytes_of = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  };
  for (const std::string word : {"KILL_POINT_AT", "PLANTED_BUG"}) {
    EXPECT_FALSE(absl::StrContains(bytes_of(REEMBED_BINARY), word));
    EXPECT_TRUE(absl::StrContains(bytes_of(REEMBED_ARMED_BINARY), word)) << "this test looks for nothing";
  }
}

// A kill point that nobody passes proves nothing.
TEST(KillPointTest, AreAllPassedByJobsOnThisMachine) {
  std::set<std::string> wanted = {"sink: written",
                                  "sink: flushed",
                                  "sink: position of the end saved",
                                  "sink: completed",
                                  "sink: finished",
                                  "store: vectors written",
                                  "store: vectors durable",
                                  "ledger: before the commit",
                                  "ledger: committed",
                                  "ledger: file made",
                                  "ledger: file named",
                                  "undo: before the commit",
                                  "undo: committed",
                                  "undo: one of its files removed",
                                  "retry: before the commit",
                                  "retry: committed",

                                  "file: before the sync",
                                  "file: renamed",
                                  "file: folder synced",
                                  "index: before a rename",
                                  "sqlite: before the commit",
                                  "sqlite: committed",
                                  "sqlite: rows put back"};
  for (const std::string name : {"sqlite", "files"}) {
    const auto store = MakeLocalStore(name);
    CrashReport report;
    CrashPace pace;
    for (uint64_t seed = 1; seed <= 15 && !report.findings.any() && !wanted.empty(); ++seed) {
      CrashJob(store.get(), seed, {}, &pace, &report).Run();
      for (const auto& [point, passes] : report.points) wanted.erase(point);
    }
    EXPECT_FALSE(report.findings.any()) << report.findings.Text();
  }
  EXPECT_TRUE(wanted.empty()) << *wanted.begin();
}

}  // namespace
}  // namespace reembed
