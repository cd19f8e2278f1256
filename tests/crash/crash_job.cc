// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/crash_job.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace reembed {
namespace {

using Clock = std::chrono::steady_clock;

// No command of these jobs takes so long on any machine.
constexpr auto kTooLong = std::chrono::minutes(2);

// Waits for the end of the process, at most so long; returns whether it came.
bool EndsWithin(Process* process, Clock::duration time) {
  const auto deadline = Clock::now() + time;
  pollfd none{.fd = -1, .events = 0, .revents = 0};
  while (process->IsRunning()) {
    if (Clock::now() >= deadline) return false;
    poll(&none, 1, 1);
  }
  return true;
}

// How many texts the runs of a job say that they may have bought twice.
int64_t PossiblyRebought(const std::string& status_json) {
  int64_t texts = 0;
  const std::string name = "\"texts_possibly_rebought\":";
  for (size_t at = 0; (at = status_json.find(name, at)) != std::string::npos; at += name.size()) {
    texts += std::strtoll(status_json.c_str() + at + name.size(), nullptr, 10);
  }
  return texts;
}

}  // namespace

CrashJob::CrashJob(CrashStore* store, uint64_t seed, std::map<std::string, std::string> environment, CrashPace* pace,
                   CrashReport* report)
    : store_(store),
      pace_(pace),
      report_(report),
      random_(seed),
      table_(MakeExpectedTable(Below(3) == 0, store->number_keys_only(), &random_)),
      shop_(std::make_unique<TextShop>(table_.dim)),
      environment_(std::move(environment)) {
  environment_.insert({{"HOME", folder_.path()},
                       {"XDG_STATE_HOME", folder_ / "state"},
                       {"XDG_CONFIG_HOME", folder_ / "config"},
                       {"OPENAI_API_KEY", "sk-crash"},
                       {"OPENAI_BASE_URL", ""},
                       {"KILL_POINT_LOG", points_}});
  batch_ = static_cast<int>(1 + Below(40));
  concurrency_ = static_cast<int>(1 + Below(6));
}

std::vector<std::string> CrashJob::RunArgs() const {
  std::vector<std::string> args = {"run",
                                   "--api-base",
                                   shop_->api_base(),
                                   "--model",
                                   "fake",
                                   "--dimensions",
                                   absl::StrCat(table_.dim),
                                   "--batch-size",
                                   absl::StrCat(batch_),
                                   "--concurrency",
                                   absl::StrCat(concurrency_),
                                   "--job",
                                   job_,
                                   "--quiet"};
  const std::vector<std::string> places = store_->Args();
  args.insert(args.end(), places.begin(), places.end());
  return args;
}

void CrashJob::Run() {
  ++report_->jobs;
  std::filesystem::create_directory(folder_ / "data");
  store_->Make(folder_ / "data", table_, &random_);
  others_ = store_->Others();
  const std::string before = store_->Dump();
  const bool saves = !store_->BackupSource().empty() && Below(3) == 0;
  if (saves) Drive(Kind::kOther, {"backup", "--source", store_->BackupSource(), "--to", folder_ / "saved"}, 2);
  if (!Fails()) Drive(Kind::kRun, RunArgs(), static_cast<int>(Below(7)));
  if (!Fails()) GoOn();
  if (!Fails() && Below(3) == 0 && store_->may_retry()) RetryRejects();
  if (!Fails() && !before.empty() && Below(2) == 0) {
    const auto sold = shop_->sold();
    Drive(Kind::kOther, {"rollback", job_, "--yes"}, static_cast<int>(Below(4)));
    if (!Fails()) ExpectSame("after the rollback", before, store_->Dump());
    if (!Fails()) Drive(Kind::kRun, RunArgs(), static_cast<int>(Below(3)));
    if (!Fails()) CheckAll(JobState::kFinished);
    if (shop_->sold() != sold) report_->findings.Overpay(shop_->sold() - sold, "a run after a rollback bought");
  }
  if (!Fails()) CheckPurchases();
  if (!Fails() && saves) {
    store_->Spoil();
    Drive(Kind::kOther, {"restore", folder_ / "saved", "--yes"}, static_cast<int>(Below(4)));
    if (!Fails()) ExpectSame("after the restore", before, store_->Dump());
  }
}

// The same command after the end changes nothing and buys nothing.
void CrashJob::GoOn() {
  CheckAll(JobState::kFinished);
  const int64_t sold = shop_->sold();
  if (!Fails()) Drive(Kind::kRun, RunArgs(), 1);
  if (!Fails()) CheckAll(JobState::kFinished);
  if (shop_->sold() != sold) report_->findings.Overpay(shop_->sold() - sold, "a finished job bought again");
}

void CrashJob::RetryRejects() {
  shop_->Refuse(false);
  all_ = true;
  Drive(Kind::kRun, {"retry-rejects", job_, "--yes", "--quiet"}, static_cast<int>(Below(4)));
  if (!Fails()) CheckAll(JobState::kFinished);
}

bool CrashJob::LiveOnce(const std::vector<std::string>& args, bool spare) {
  const uint64_t way = spare ? 2 : Below(5);
  std::map<std::string, std::string> environment = environment_;
  // Passes near the beginning as often as near the end.
  if (way < 2) environment["KILL_POINT_AT"] = absl::StrCat(1 + Below(1 + Below(std::max(2, pace_->passes))));
  std::vector<std::string> words = args;
  words.insert(words.begin(), REEMBED_ARMED_BINARY);
  std::filesystem::remove(points_);
  const auto start = Clock::now();
  Process process(words, environment);
  const auto moment = std::chrono::microseconds(Below(pace_->whole_run.count()));
  disturbed_ = false;
  if (way == 4 && !EndsWithin(&process, moment)) {
    disturbed_ = store_->Disturb();
    report_->disturbances += disturbed_ ? 1 : 0;
  }
  bool killed = false;
  if ((way == 3 || (way == 4 && !disturbed_)) && !EndsWithin(&process, moment)) {
    process.Signal(SIGKILL);
    killed = true;
  }
  if (!killed && !EndsWithin(&process, kTooLong)) {
    report_->findings.Doubt(absl::StrCat("does not end: ", absl::StrJoin(args, " ")));
    process.Signal(SIGKILL);
  }
  const ProcessResult result = process.Wait();
  int passes = 0;
  std::ifstream points(points_);
  for (std::string name; std::getline(points, name); ++passes) ++report_->points[name];
  if (result.signal == SIGKILL) {
    ++report_->kills;
    report_->kills_at_points += killed ? 0 : 1;
    return false;
  }
  if (spare && args.front() == "run" && passes > 0) {
    pace_->whole_run = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    pace_->passes = passes;
  }
  CheckEnd(args.front() == "run" || args.front() == "retry-rejects" ? Kind::kRun : Kind::kOther, args, result);
  return result.exit_code != 5;
}

void CrashJob::CheckEnd(Kind kind, const std::vector<std::string>& args, const ProcessResult& result) {
  if (disturbed_ && result.exit_code == 5) return;
  // A backup that was killed behind its last step is whole, and never written over.
  if (args.front() == "backup" && result.exit_code == 2 && absl::StrContains(result.err, "is there already")) return;
  const bool rejects = std::any_of(table_.rows.begin(), table_.rows.end(),
                                   [this](const ExpectedRow& row) { return !table_.HasVector(row, all_); });
  const int wanted = kind == Kind::kRun && rejects ? 3 : 0;
  if (result.exit_code == wanted) return;
  report_->findings.Doubt(absl::StrCat("expected exit ", wanted, ", got ", result.exit_code, ", signal ", result.signal,
                                       " of ", absl::StrJoin(args, " "), "\n", result.out, result.err));
}

void CrashJob::Drive(Kind kind, const std::vector<std::string>& args, int most_kills) {
  for (int kills = 0; !Fails(); ++kills) {
    const int before = report_->kills;
    const bool ended = LiveOnce(args, kills >= most_kills);
    if (kind == Kind::kRun) run_kills_ += report_->kills - before;
    if (Fails()) return;
    if (kind == Kind::kRun) CheckAll(JobState::kKilled);
    if (kind == Kind::kRun) ExpectSame("what is nobody's business", others_, store_->Others());
    if (ended) return;
  }
}

void CrashJob::CheckAll(JobState state) {
  CheckLedger(job_, table_, state, all_, store_->targets(), &report_->findings);
  store_->Check(table_, state, all_, &report_->findings);
}

void CrashJob::CheckPurchases() {
  const ProcessResult status = RunProcess({REEMBED_ARMED_BINARY, "status", job_, "--json"}, environment_);
  const int64_t said = PossiblyRebought(status.out), twice = shop_->twice();
  report_->twice += twice;
  report_->said += said;
  if (twice > said) {
    report_->findings.Overpay(twice - said, absl::StrCat("bought twice: ", twice, ", said: at most ", said));
  }
  // So many batches go round at most, see BatchesInFlight().
  const int64_t in_flight = batch_ * (concurrency_ + std::max(4, 3 * concurrency_));
  if (said > run_kills_ * in_flight) {
    report_->findings.Doubt(absl::StrCat("a bound that is none: ", said, " texts after ", run_kills_, " kills"));
  }
}

void CrashJob::ExpectSame(const std::string& what, const std::string& wanted, const std::string& got) {
  if (wanted == got) return;
  const auto at = static_cast<size_t>(
      std::mismatch(got.begin(), got.begin() + std::min(got.size(), wanted.size()), wanted.begin()).first -
      got.begin());
  const size_t from = at < 80 ? 0 : at - 80;
  report_->findings.Mistake(absl::StrCat(what, ": from byte ", at, " wanted:\n", wanted.substr(from, 200), "\ngot:\n",
                                         got.substr(from, 200)));
}

}  // namespace reembed
