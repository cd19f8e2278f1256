// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_CRASH_JOB_H_
#define REEMBED_TESTS_CRASH_CRASH_JOB_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/crash/crash_store.h"
#include "tests/crash/expected_table.h"
#include "tests/crash/text_shop.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {

// Sums over jobs.
struct CrashReport {
  int jobs = 0;
  int kills = 0;                      // of processes, by SIGKILL
  int kills_at_points = 0;            // of them, at kill points
  int disturbances = 0;               // of servers
  int64_t twice = 0;                  // texts bought twice
  int64_t said = 0;                   // so many at most, says the command
  std::map<std::string, int> points;  // passes, by name
  Findings findings;
};

// What the times of killed processes depend on; learned from job to job of one store.
struct CrashPace {
  std::chrono::microseconds whole_run{250000};
  int passes = 60;  // of kill points, in a whole run
};

// One random job, from its making to its end: the same command is given again after each kill, and everything that is
// on the disk is compared with the expected table after each of them. Then what a user may do with a finished job:
// once more, retry-rejects, rollback, restore, each killed, too.
class CrashJob {
 public:
  // All follows from `seed` but for the moments of kills from outside. `environment`: of the command.
  CrashJob(CrashStore* store, uint64_t seed, std::map<std::string, std::string> environment, CrashPace* pace,
           CrashReport* report);

  // Stops at the first finding.
  void Run();

 private:
  enum class Kind { kRun, kOther };

  // Gives the command until it ends by itself, with at most so many kills.
  void Drive(Kind kind, const std::vector<std::string>& args, int most_kills);
  // One process; whether it ended by itself.
  bool LiveOnce(const std::vector<std::string>& args, bool spare);
  void CheckEnd(Kind kind, const std::vector<std::string>& args, const ProcessResult& result);
  void CheckAll(JobState state);
  void CheckPurchases();
  void GoOn();
  void RetryRejects();
  void ExpectSame(const std::string& what, const std::string& wanted, const std::string& got);
  std::vector<std::string> RunArgs() const;
  bool Fails() const { return report_->findings.any(); }
  uint64_t Below(uint64_t n) { return random_() % n; }

  CrashStore* const store_;
  CrashPace* const pace_;
  CrashReport* const report_;
  std::mt19937_64 random_;
  TempFolder folder_;
  const std::string job_ = folder_ / "job";
  const std::string points_ = folder_ / "points";
  ExpectedTable table_;
  std::unique_ptr<TextShop> shop_;
  std::map<std::string, std::string> environment_;
  bool all_ = false;        // the server refuses none any more
  bool disturbed_ = false;  // a server was stopped while this process ran
  int batch_ = 1, concurrency_ = 1;
  int run_kills_ = 0;  // of commands that buy
  std::string others_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_CRASH_JOB_H_
