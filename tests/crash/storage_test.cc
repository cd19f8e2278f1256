// SPDX-License-Identifier: Apache-2.0
// Disks that fail, and disks that lose power. Of a small job every call that changes the disk fails once, in every way
// that it can; and the power goes before each of them. tests/fakes/storage_faults is that disk.

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/crash/crash_flags.h"
#include "tests/crash/crash_store.h"
#include "tests/crash/expected_table.h"
#include "tests/crash/local_stores.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr int kAnyNumber = 1 << 30;

// A few rows, among them two with the same text and one without.
ExpectedTable SmallTable() {
  ExpectedTable table{.dim = 5};
  for (int i = 0; i < 12; ++i) {
    table.rows.push_back({.key = absl::StrCat(i + 1), .text = absl::StrCat(kRowTextMark, i == 7 ? 2 : i)});
  }
  table.rows[4].text.clear();
  return table;
}

std::string FileNameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What the disk did to one process.
struct DiskLog {
  std::vector<std::string> lines;  // "sync ok /path"
  bool struck = false;

  std::string StruckPath() const {
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
      if (words[1] != "ok") return words[2];
    }
    return "";
  }
  // Numbers, from 1, of the calls of a kind (`any`: that change the disk); without those below a folder, if one is
  // named, but for what was there before, which is kept in it.
  std::vector<int> Calls(const std::string& kind, const std::string& but_below) const {
    std::vector<int> calls;
    int number = 0;
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
      const bool counts = kind == "any" ? words[0] != "open" && words[0] != "mmap" : words[0] == kind;
      if (counts) ++number;
      const bool is_left_out = !but_below.empty() && absl::StartsWith(words[2], but_below);
      if (counts && (!is_left_out || absl::StrContains(words[2], "/undo.db"))) calls.push_back(number);
    }
    return calls;
  }
  // The number among all calls that change the disk of the first one of this kind and path; 0: there is none.
  int FirstCall(const std::string& kind, const std::string& path_end) const {
    int number = 0;
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
      if (words[0] == "open" || words[0] == "mmap") continue;
      ++number;
      if (words[0] == kind && absl::EndsWith(words[2], path_end)) return number;
    }
    return 0;
  }
  // Whether a file of ours was synced again after that had failed. SQLite's own recovery is its own.
  bool SyncedAgain() const {
    std::string failed;
    for (const std::string& line : lines) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
      if (words[0] != "sync") continue;
      if (!failed.empty() && words[2] == failed) return true;
      // Its folders, too: it does not mind when one cannot be synced.
      const bool is_ours = !absl::StrContains(words[2], ".db") && absl::StrContains(FileNameOf(words[2]), ".");
      if (words[1] == "fail" && is_ours) failed = words[2];
    }
    return false;
  }
};

// One small job on a disk that is told what to do.
class StorageJob {
 public:
  StorageJob(const std::string& store, uint64_t seed) : random_(seed), store_(MakeLocalStore(store)) {
    fs::create_directories(root_ + "/data");
    store_->Make(root_ + "/data", table_, &random_);
  }

  // `fault`: of the environment of storage_faults.
  ProcessResult Run(std::map<std::string, std::string> fault) { return Command(RunArgs(), std::move(fault)); }
  ProcessResult RollBack() { return Command({REEMBED_ARMED_BINARY, "rollback", root_ + "/job", "--yes"}, {}); }
  std::string Dump() { return store_->Dump(); }
  void Spoil() { store_->Spoil(); }
  // A file that is in the job's folder before the first run.
  void PutIntoJob(const std::string& name, const std::string& from) {
    fs::create_directory(root_ + "/job");
    fs::permissions(root_ + "/job", fs::perms::owner_all);
    fs::copy_file(from, root_ + "/job/" + name);
    fs::permissions(root_ + "/job/" + name, fs::perms::owner_read | fs::perms::owner_write);
  }

  // The power goes before the n-th call, or when the process ends (0); and comes back. `more`: of the disk.
  ProcessResult RunUntilPowerGoes(int n, uint64_t seed, const std::string& never_synced,
                                  const std::map<std::string, std::string>& more = {}) {
    const std::string after = folder_ / "after";
    fs::remove_all(after);
    std::map<std::string, std::string> fault = {{"STORAGE_FAULT", absl::StrCat("any:", n, ":lose")},
                                                {"STORAGE_FAULT_AFTER", after},
                                                {"STORAGE_FAULT_SEED", absl::StrCat(seed)}};
    if (!never_synced.empty()) fault["STORAGE_FAULT_SKIP"] = never_synced;
    fault.insert(more.begin(), more.end());
    ProcessResult result = Run(std::move(fault));
    if (fs::exists(after)) {
      fs::remove_all(root_);
      fs::rename(after, root_);
    }
    return result;
  }

  // The same command on a good disk; then everything is there, right, and bought once, but for what is said.
  void ExpectCompletes(Findings* findings) {
    const ProcessResult result = Run({});
    if (result.exit_code != 3) {  // a row has no text
      findings->Doubt(
          absl::StrCat("the same command: exit ", result.exit_code, ", signal ", result.signal, ": ", result.err));
      return;
    }
    Check(JobState::kFinished, findings);
    const ProcessResult status = RunProcess({REEMBED_ARMED_BINARY, "status", root_ + "/job", "--json"});
    int64_t said = 0;
    const std::string name = "\"texts_possibly_rebought\":";
    if (const size_t at = status.out.rfind(name); at != std::string::npos) {
      said = std::strtoll(status.out.c_str() + at + name.size(), nullptr, 10);
    }
    if (shop_.twice() > said) findings->Overpay(shop_.twice() - said, absl::StrCat("said at most ", said));
  }

  void Check(JobState state, Findings* findings) {
    CheckLedger(root_ + "/job", table_, state, true, store_->targets(), findings);
    store_->Check(table_, state, true, findings);
  }

  const DiskLog& log() const { return log_; }
  const std::string& root() const { return root_; }

 private:
  std::vector<std::string> RunArgs() const {
    std::vector<std::string> args = {REEMBED_ARMED_BINARY,
                                     "run",
                                     "--api-base",
                                     shop_.api_base(),
                                     "--model",
                                     "fake",
                                     "--dimensions",
                                     absl::StrCat(table_.dim),
                                     "--batch-size",
                                     "4",
                                     "--concurrency",
                                     "1",
                                     "--job",
                                     root_ + "/job",
                                     "--quiet"};
    const std::vector<std::string> places = store_->Args();
    args.insert(args.end(), places.begin(), places.end());
    return args;
  }

  ProcessResult Command(const std::vector<std::string>& args, std::map<std::string, std::string> fault) {
    const std::string log_path = folder_ / "log";
    fs::remove(log_path);
    if (!fault.empty()) {
      fault.insert(
          {{"LD_PRELOAD", REEMBED_STORAGE_FAULTS}, {"STORAGE_FAULT_ROOT", root_}, {"STORAGE_FAULT_LOG", log_path}});
    }
    fault.insert({{"HOME", folder_.path()},
                  {"XDG_STATE_HOME", folder_ / "state"},
                  {"XDG_CONFIG_HOME", folder_ / "config"},
                  {"OPENAI_API_KEY", "sk-disk"},
                  {"OPENAI_BASE_URL", ""}});
    ProcessResult result = RunProcess(args, fault);
    log_ = {};
    std::ifstream log(log_path);
    for (std::string line; std::getline(log, line);) log_.lines.push_back(line);
    log_.struck = !log_.StruckPath().empty();
    return result;
  }

  std::mt19937_64 random_;
  TempFolder folder_;
  const std::string root_ = folder_ / "root";
  const ExpectedTable table_ = SmallTable();
  TextShop shop_{table_.dim};
  std::unique_ptr<CrashStore> store_;
  DiskLog log_;
};

// What an undisturbed job does with the disk: all of it for one target, of the others what concerns their own files and
// undo.db, since the rest of the job's folder is the same everywhere. All of everything with --hours.
std::vector<int> CallsToTry(const std::string& store, uint64_t seed, const std::string& kind) {
  StorageJob job(store, seed);
  const ProcessResult whole = job.Run({{"STORAGE_FAULT", "none:0:none"}});
  EXPECT_EQ(whole.exit_code, 3) << whole.err;
  const bool all = store == "fbin" || TheCrashFlags().hours > 0;
  return job.log().Calls(kind, all ? "" : job.root() + "/job/");
}

struct StorageFault {
  std::string kind, what;

  friend std::ostream& operator<<(std::ostream& out, const StorageFault& fault) {
    return out << fault.kind << " " << fault.what;
  }
};

class StorageFaultTest : public ::testing::TestWithParam<std::tuple<std::string, StorageFault>> {
 protected:
  // Lets the n-th call fail, in a job of its own.
  static void FailCall(const std::string& store, const StorageFault& fault, int n, int* tried, int* as_promised) {
    StorageJob job(store, 7);
    const std::string words = absl::StrCat(fault.kind, ":", n, ":", fault.what);
    const ProcessResult failed = job.Run({{"STORAGE_FAULT", words}});
    if (!job.log().struck) {  // another order of the threads
      EXPECT_EQ(failed.exit_code, 3) << words << " did not strike: " << failed.err;
      return;
    }
    ++*tried;
    Findings findings;
    CheckEnd(fault, failed, &job, &findings);
    if (job.log().SyncedAgain()) findings.Doubt("synced again after that had failed");
    if (!findings.any()) job.ExpectCompletes(&findings);
    EXPECT_FALSE(findings.any()) << words << " of " << job.log().StruckPath() << ": " << findings.Text()
                                 << "\nit said: " << failed.err;
    *as_promised += findings.any() ? 0 : 1;
  }

 private:
  static void CheckEnd(const StorageFault& fault, const ProcessResult& failed, StorageJob* job, Findings* findings) {
    // The few bytes in it are for messages; a disk that does not take them is told as it says.
    const bool is_lock = absl::EndsWith(job->log().StruckPath(), "lock");
    if (failed.exit_code == 3) {  // some calls are not needed
      job->Check(JobState::kFinished, findings);
      return;
    }
    job->Check(JobState::kKilled, findings);
    const bool is_room = fault.what == "full" || fault.what == "ENOSPC";
    if (fault.what == "short" && !is_lock) findings->Doubt("a short write is no failure");
    if (failed.signal != 0) findings->Doubt(absl::StrCat("signal ", failed.signal));
    if (failed.exit_code != 5 && (is_room || failed.exit_code != 1)) {
      findings->Doubt(absl::StrCat("exit ", failed.exit_code));
    }
    if (!absl::StrContains(failed.err, job->root())) findings->Doubt("names no path");
    // How much a file will hold that cannot be made, and what HDF5 and SQLite still want to write of the user's own
    // databases, nobody knows.
    const bool is_known = !absl::StrContains(failed.err, "could not make") && !absl::StrContains(failed.err, ".hdf5") &&
                          !absl::StrContains(failed.err, "data/rows.db: ") &&
                          !absl::StrContains(failed.err, "data/out.db: ");
    if (fault.what == "full" && !is_lock && is_known && !absl::StrContains(failed.err, "bytes")) {
      findings->Doubt("does not say how many bytes are needed");
    }
  }
};

TEST_P(StorageFaultTest, EndsCleanlyAndTheSameCommandCompletes) {
  const auto& [store, fault] = GetParam();
  int tried = 0, as_promised = 0;
  for (const int n : CallsToTry(store, 7, fault.kind)) FailCall(store, fault, n, &tried, &as_promised);
  std::cout << "measure storage faults " << store << ", " << fault.kind << " " << fault.what << ": points " << tried
            << ", as promised " << as_promised << std::endl;
}

class PowerLossTest : public ::testing::TestWithParam<std::string> {
 protected:
  // The power goes once in a job, before its n-th call, for every n, and once more in the job that goes on; `losses`:
  // how often it went. Until there is a finding, or no more calls, or it went `most` times.
  static Findings LosePower(const std::string& store, const std::string& never_synced, int most, int* losses) {
    const uint64_t first = TheCrashFlags().seed.value_or(std::random_device()());
    SCOPED_TRACE(absl::StrCat("seed ", first));
    Findings findings;
    for (const int n : CallsToTry(store, first, "any")) {
      if (*losses >= most || findings.any()) break;
      StorageJob job(store, first);
      const ProcessResult lost = job.RunUntilPowerGoes(n, first + n, never_synced);
      if (lost.signal == 0) {
        EXPECT_EQ(lost.exit_code, 3) << lost.err;
        continue;
      }
      ++*losses;
      job.Check(JobState::kKilled, &findings);
      if (!findings.any()) job.ExpectCompletes(&findings);
      if (findings.any()) findings.Doubt(absl::StrCat("seed ", first, ", power went before call ", n));
    }
    return findings;
  }
};

TEST_P(PowerLossTest, BeforeAnyCallCostsNothing) {
  int losses = 0;
  const Findings findings = LosePower(GetParam(), "", kAnyNumber, &losses);
  EXPECT_FALSE(findings.any()) << GetParam() << ": " << findings.Text();
  std::cout << "measure power losses " << GetParam() << ": " << losses << ", " << findings.Text() << std::endl;
}

TEST_P(PowerLossTest, AfterTheEndCostsNothing) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    StorageJob job(GetParam(), seed);
    const ProcessResult ended = job.RunUntilPowerGoes(0, seed, "");
    ASSERT_EQ(ended.exit_code, 3) << ended.err;
    Findings findings;
    job.Check(JobState::kFinished, &findings);
    if (!findings.any()) job.ExpectCompletes(&findings);
    EXPECT_FALSE(findings.any()) << "seed " << seed << ": " << findings.Text();
  }
}

// On a disk that takes its time for a sync, the shortest run has these all the same. What each is for, the power losses
// above tell; here are no more of them.
TEST(SyncsTest, StartAndEndOfARunHaveNoMoreThanTheyNeed) {
  StorageJob job("fbin", 1);
  ASSERT_EQ(job.Run({{"STORAGE_FAULT", "none:0:none"}}).exit_code, 3);
  std::vector<std::string> synced;
  for (const std::string& line : job.log().lines) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
    if (words[0] == "sync") synced.push_back(words[2]);
  }
  const auto first = std::find(synced.begin(), synced.end(), job.root() + "/job/vectors.f32");
  const auto last = std::find(synced.rbegin(), synced.rend(), job.root() + "/data/out.fbin.partial");
  ASSERT_NE(first, synced.end());
  ASSERT_NE(last, synced.rend());
  EXPECT_LE(first - synced.begin(), 16) << "before the first vectors:\n" << absl::StrJoin(synced, "\n");
  EXPECT_LE(last - synced.rbegin(), 9) << "behind the target's last:\n" << absl::StrJoin(synced, "\n");
}

// What was put back is forgotten for good before anything is overwritten again: contents of two times never mix.
TEST(PowerLossRollbackTest, BeforeAnyCallBehindTheRemovalOfWhatWasPutBack) {
  const auto begin = [](StorageJob* job) {
    ASSERT_EQ(job->Run({}).exit_code, 3);
    ASSERT_EQ(job->RollBack().exit_code, 0);
    job->Spoil();  // somebody else changes some rows
  };
  StorageJob undisturbed("sqlite", 11);
  begin(&undisturbed);
  ASSERT_EQ(undisturbed.Run({{"STORAGE_FAULT", "none:0:none"}}).exit_code, 3);
  const int removal = undisturbed.log().FirstCall("remove", "/undo.db");
  ASSERT_GT(removal, 0);
  for (int n = removal; n < removal + 40; ++n) {
    StorageJob job("sqlite", 11);
    begin(&job);
    const std::string between = job.Dump();
    const ProcessResult lost = job.RunUntilPowerGoes(n, n, "");
    ASSERT_EQ(lost.signal, SIGKILL) << lost.err;
    Findings findings;
    job.ExpectCompletes(&findings);
    ASSERT_FALSE(findings.any()) << "power went before call " << n << ": " << findings.Text();
    ASSERT_EQ(job.RollBack().exit_code, 0);
    ASSERT_EQ(job.Dump(), between) << "power went before call " << n;
  }
}

// The ledger is made under another name. Of its folder any of the changes may last then, not the first ones alone.
class PowerLossLedgerTest : public ::testing::Test {
 protected:
  // The power goes before each call from the first that concerns the new file to a call behind the first commit.
  static void LosePowerWhileItIsMade(const std::function<void(StorageJob*)>& begin) {
    const uint64_t first = TheCrashFlags().seed.value_or(std::random_device()());
    StorageJob undisturbed("fbin", first);
    begin(&undisturbed);
    const ProcessResult whole = undisturbed.Run({{"STORAGE_FAULT", "none:0:none"}});
    ASSERT_EQ(whole.exit_code, 3) << whole.err;
    const int from = undisturbed.log().FirstCall("remove", "/ledger.db.partial-wal");
    const int renamed = undisturbed.log().FirstCall("rename", "/ledger.db");
    const int committed = undisturbed.log().FirstCall("sync", "/ledger.db-wal");
    ASSERT_TRUE(0 < from && from < renamed && renamed < committed) << from << ", " << renamed << ", " << committed;
    for (int n = from; n <= committed + 3; ++n) {
      for (uint64_t seed = first; seed < first + (TheCrashFlags().hours > 0 ? 20 : 1); ++seed) {
        StorageJob job("fbin", first);
        begin(&job);
        const ProcessResult lost = job.RunUntilPowerGoes(n, seed + n, "", {{"STORAGE_FAULT_NAMES", "any"}});
        ASSERT_EQ(lost.signal, SIGKILL) << lost.err;
        Findings findings;
        job.Check(JobState::kKilled, &findings);
        if (!findings.any()) job.ExpectCompletes(&findings);
        ASSERT_FALSE(findings.any()) << "seeds " << first << ", " << seed + n << ", power went before call " << n
                                     << ": " << findings.Text();
      }
    }
  }
};

TEST_F(PowerLossLedgerTest, WhileItsFileIsMadeCostsNothing) {
  LosePowerWhileItIsMade([](StorageJob*) {});
}

// The log of a ledger that somebody has removed would have the rows of that.
TEST_F(PowerLossLedgerTest, BesideTheLogOfAnotherCostsNothing) {
  StorageJob other("fbin", 7);
  ASSERT_EQ(other.Run({{"STORAGE_FAULT", "none:0:none"}}).exit_code, 3);
  const int behind_the_first_batch = other.log().FirstCall("sync", "/vectors.f32") + 12;
  StorageJob killed("fbin", 7);
  ASSERT_EQ(killed.Run({{"STORAGE_FAULT", absl::StrCat("any:", behind_the_first_batch, ":kill")}}).signal, SIGKILL);
  const std::string log = killed.root() + "/job/ledger.db-wal";
  ASSERT_GT(fs::file_size(log), 4096) << "the test has left no log";
  LosePowerWhileItIsMade([&log](StorageJob* job) { job->PutIntoJob("ledger.db-wal", log); });
}

const auto kName = [](const testing::TestParamInfo<std::string>& info) { return info.param; };
const auto kStores = ::testing::Values("sqlite", "sqlite_table", "npy", "fbin", "jsonl", "hdf5", "faiss");
const auto kFaults =
    ::testing::Values(StorageFault{"write", "full"}, StorageFault{"write", "EIO"}, StorageFault{"write", "short"},
                      StorageFault{"sync", "EIO"}, StorageFault{"sync", "ENOSPC"}, StorageFault{"rename", "EIO"},
                      StorageFault{"rename", "ENOSPC"}, StorageFault{"truncate", "EIO"}, StorageFault{"remove", "EIO"},
                      StorageFault{"mmap", "ENOMEM"});
INSTANTIATE_TEST_SUITE_P(Stores, StorageFaultTest, ::testing::Combine(kStores, kFaults), [](const auto& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param).kind, "_", std::get<1>(info.param).what);
});
INSTANTIATE_TEST_SUITE_P(Stores, PowerLossTest, kStores, kName);

// The control: with one kind of sync taken out, a power cut is found to cost something.
class SkippedSyncTest : public PowerLossTest {};

TEST_P(SkippedSyncTest, IsFoundWithin200PowerLosses) {
  int losses = 0;
  Findings findings;
  while (losses < 200 && !findings.any()) findings = LosePower("fbin", GetParam(), 200, &losses);
  EXPECT_TRUE(findings.any());
  std::cout << "measure skipped syncs of " << GetParam() << ": found after " << losses
            << " power losses: " << findings.Text() << std::endl;
}

INSTANTIATE_TEST_SUITE_P(Files, SkippedSyncTest,
                         ::testing::Values("vectors.f32", "out.fbin.partial", "ledger.db", "ledger.db.partial"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{".", "_"}});
                         });

}  // namespace
}  // namespace reembed
