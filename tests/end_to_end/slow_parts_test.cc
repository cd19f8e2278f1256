// SPDX-License-Identifier: Apache-2.0
// What the command says of a part that is slow, and what becomes of a run whose process or clock stands still or jumps.

#include <signal.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 0.10;

// When the shim has made a call wait, in milliseconds of the monotonic clock.
struct Delay {
  std::string path;
  int64_t begin = 0, end = 0;
};

class SlowPartsTest : public FaultTest {
 protected:
  SlowPartsTest() { batch_size_ = 16; }

  // `texts` texts of so many bytes; `name` with `slow` in it is read slowly.
  std::string MakeLines(const std::string& name, int texts, int bytes) {
    std::ofstream lines(folder_ / name);
    for (int i = 0; i < texts; ++i) {
      const std::string text = absl::StrCat("text ", i, " ");
      lines << "{\"id\":" << i << ",\"text\":\"" << text << std::string(bytes - text.size(), 'x') << "\"}\n";
    }
    return absl::StrCat("jsonl:", folder_ / name, "?key=id&text=text");
  }

  ProcessResult RunSlow(const std::string& source, const std::string& target, const std::vector<std::string>& more,
                        const std::map<std::string, std::string>& slow) {
    server_ = std::make_unique<ScriptedServer>(
        [](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kWidth}); },
        ScriptedServer::Recording::kOff);
    std::vector<std::string> args = {REEMBED_BINARY,
                                     "run",
                                     "--source",
                                     source,
                                     "--target",
                                     target,
                                     "--api-base",
                                     server_->url() + "/v1",
                                     "--model",
                                     "fake",
                                     "--dimensions",
                                     absl::StrCat(kWidth),
                                     "--batch-size",
                                     absl::StrCat(batch_size_),
                                     "--concurrency",
                                     "8",
                                     "--job",
                                     job(),
                                     "--json",
                                     "--progress",
                                     "off",
                                     "--canary-interval",
                                     "off"};
    args.insert(args.end(), more.begin(), more.end());
    std::map<std::string, std::string> environment = {{"HOME", folder_.path()},
                                                      {"XDG_STATE_HOME", folder_ / "state"},
                                                      {"XDG_CONFIG_HOME", folder_ / "config"},
                                                      {"OPENAI_BASE_URL", ""},
                                                      {"OPENAI_API_KEY", kKey},
                                                      {"LD_PRELOAD", REEMBED_HELD_CALLS},
                                                      {"ASAN_OPTIONS", "verify_asan_link_order=0"},
                                                      {"REEMBED_DELAY_LOG", folder_ / "delays"}};
    environment.insert(slow.begin(), slow.end());
    ProcessResult result = RunProcess(args, environment);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }

  std::vector<Delay> Delays() const {
    std::vector<Delay> delays;
    std::ifstream log(folder_ / "delays");
    for (Delay delay; log >> delay.path >> delay.begin >> delay.end;) delays.push_back(delay);
    return delays;
  }

  // The share of the part in what a run waited for, as its summary says.
  static double ShareOf(const ProcessResult& result, const std::string& part) {
    const size_t summary = result.out.rfind("\"message_type\":\"summary\"");
    const size_t at = result.out.find(absl::StrCat("{\"part\":\"", part, "\""), summary);
    if (at == std::string::npos) return 0;
    return std::strtod(result.out.c_str() + result.out.find("\"share\":", at) + 8, nullptr);
  }

  static double ElapsedMilliseconds(const ProcessResult& result) {
    double seconds = 0;
    EXPECT_TRUE(absl::SimpleAtod(Summary(result, "elapsed_seconds"), &seconds)) << result.out;
    return 1000 * seconds;
  }

  static constexpr int kWidth = 256;
};

// What delays cover of [begin, end].
double Covered(std::vector<Delay> delays, int64_t begin, int64_t end) {
  std::sort(delays.begin(), delays.end(), [](const Delay& a, const Delay& b) { return a.begin < b.begin; });
  int64_t covered = 0, until = begin;
  for (const Delay& delay : delays) {
    covered += std::max<int64_t>(0, std::min(delay.end, end) - std::max(delay.begin, until));
    until = std::max(until, delay.end);
  }
  return static_cast<double>(covered);
}

TEST_F(SlowPartsTest, ASlowDiskIsNamedAndGetsLargeCommits) {
  const ProcessResult result =
      RunSlow(MakeLines("rows.jsonl", 6000, 40), "fbin:" + folder_ / "out.fbin", {}, {{"REEMBED_SLOW_SYNC", "200"}});
  std::vector<Delay> disk;
  int64_t begin = 0, end = 0;
  int commits = 0;
  for (const Delay& delay : Delays()) {
    const bool vectors = absl::StrContains(delay.path, "vectors.f32");
    if (vectors && begin == 0) begin = delay.begin;
    if (vectors) ++commits;
    if (vectors || absl::StrContains(delay.path, "ledger.db")) disk.push_back(delay);
    if (absl::StrContains(delay.path, "out.fbin")) end = std::max(end, delay.end);
  }
  ASSERT_GT(commits, 0);
  // What the run took, for the truth and for the looks alike.
  const double truth = Covered(disk, begin, end) / static_cast<double>(end - begin);
  EXPECT_GT(truth, 0.5);
  EXPECT_NEAR(ShareOf(result, "disk"), truth, kTolerance) << result.out;
  // Two halves that wait for each other would be 12 batches of 16 texts each.
  EXPECT_GT(6000 / commits, 13 * 16) << commits << " commits";
}

TEST_F(SlowPartsTest, ASlowTargetIsNamed) {
  const std::string target = "fbin:" + folder_ / "slow.fbin";
  const ProcessResult result = RunSlow(MakeLines("rows.jsonl", 6000, 40), target, {}, {{"REEMBED_SLOW_WRITE", "400"}});
  const std::vector<Delay> delays = Delays();
  ASSERT_FALSE(delays.empty());
  // The file's header waits before the run's clock starts; its last write is what the run ends with.
  int64_t end = 0;
  for (const Delay& delay : delays) end = std::max(end, delay.end);
  const double elapsed = ElapsedMilliseconds(result);
  const double truth = Covered(delays, end - static_cast<int64_t>(elapsed), end) / elapsed;
  EXPECT_GT(truth, 0.4);
  EXPECT_NEAR(ShareOf(result, "target"), truth, kTolerance) << result.out;
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("{\"part\":\"target\",\"target\":\"", target, "\"")));
}

TEST_F(SlowPartsTest, ASlowSourceIsNamed) {
  // Long rows and delays, since each costs time of a processor, of which a busy machine has little to give.
  const ProcessResult result =
      RunSlow(MakeLines("slow.jsonl", 128, 6000), "fbin:" + folder_ / "out.fbin", {}, {{"REEMBED_SLOW_READ", "30"}});
  // What is read before the job is made is read for the plan; the run's clock starts then.
  const auto age = std::chrono::file_clock::now() - std::filesystem::last_write_time(job() + "/job.toml");
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t begin =
      now.tv_sec * 1000 + now.tv_nsec / 1000000 - std::chrono::duration_cast<std::chrono::milliseconds>(age).count();
  double delayed = 0;
  for (const Delay& delay : Delays()) {
    if (delay.begin >= begin) delayed += static_cast<double>(delay.end - delay.begin);
  }
  const double truth = delayed / ElapsedMilliseconds(result);
  EXPECT_GT(truth, 0.5);
  EXPECT_NEAR(ShareOf(result, "source"), truth, kTolerance) << result.out;
}

TEST_F(SlowPartsTest, AQuotaIsNamed) {
  batch_size_ = 1;
  const Moment begin = MonotonicNow();
  const ProcessResult result =
      RunSlow(MakeLines("rows.jsonl", 8, 40), "fbin:" + folder_ / "out.fbin", {"--rpm", "60"}, {});
  EXPECT_GT(MonotonicNow() - begin, absl::Seconds(4));
  // The answers of a server beside it and its writes are nothing beside a second.
  EXPECT_GT(ShareOf(result, "quota"), 1 - kTolerance) << result.out;
}

// ---- Time ----

class TimeTest : public FaultTest {
 protected:
  std::vector<std::string> Args(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {
        REEMBED_BINARY,  "run",
        "--source",      absl::StrCat("sqlite:", db(), "?table=notes&key=id&text=body&vector=embedding"),
        "--api-base",    server_->url() + "/v1",
        "--model",       "fake",
        "--dimensions",  absl::StrCat(kDim),
        "--batch-size",  absl::StrCat(batch_size_),
        "--concurrency", absl::StrCat(concurrency_),
        "--job",         job(),
        "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::map<std::string, std::string> Environment() const {
    return {{"HOME", folder_.path()},
            {"XDG_STATE_HOME", folder_ / "state"},
            {"XDG_CONFIG_HOME", folder_ / "config"},
            {"OPENAI_BASE_URL", ""},
            {"OPENAI_API_KEY", kKey},
            {"LD_PRELOAD", REEMBED_HELD_CALLS},
            {"ASAN_OPTIONS", "verify_asan_link_order=0"},
            {"REEMBED_CLOCK_SHIFT", folder_ / "shift"}};
  }
  int64_t Number(const ProcessResult& result, const std::string& name) {
    int64_t number = -1;
    EXPECT_TRUE(absl::SimpleAtoi(Summary(result, name), &number)) << name << ": " << result.out;
    return number;
  }
  // In no second more than the quota of one, and what a bucket holds.
  void ExpectNoBurst(int per_second) {
    const std::vector<Moment> when = arrivals();
    for (size_t i = 0; i + per_second + 2 < when.size(); ++i) {
      EXPECT_GT(when[i + per_second + 2] - when[i], absl::Seconds(0.8)) << i;
    }
  }
};

TEST_F(TimeTest, AProcessThatWasStoppedBuysNoMoreThanItSaysAndNothingInABurst) {
  MakeNotes(120);
  batch_size_ = 2;
  concurrency_ = 4;
  Serve([this](int number, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    // In the air when the process is stopped, and answered while it is.
    if (number >= 8 && number < 12) reply.fault = ServerFault::kStall;
    return reply;
  });
  Process run(Args({"--rpm", "600", "--timeout", "1"}), Environment());
  server_->WaitForStalled(4);
  run.Signal(SIGSTOP);
  const Moment stopped = MonotonicNow();
  server_->ReleaseStalled();
  // Longer than requests may take, and than the quota of many requests.
  while (MonotonicNow() - stopped < absl::Seconds(3)) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  run.Signal(SIGCONT);
  const ProcessResult result = run.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ExpectComplete();
  EXPECT_LE(SoldTexts() - notes_, Number(result, "texts_possibly_rebought")) << result.out;
  EXPECT_LE(Number(result, "texts_possibly_rebought"), concurrency_ * batch_size_) << result.out;
  ExpectNoBurst(10);
}

TEST_F(TimeTest, AClockThatJumpsADayChangesNothing) {
  for (const int64_t seconds : {int64_t{86400}, int64_t{-86400}}) {
    SCOPED_TRACE(seconds);
    std::filesystem::remove_all(job());
    std::filesystem::remove(folder_ / "shift");
    std::filesystem::remove(db());
    MakeNotes(60);
    batch_size_ = 2;
    Serve([this, seconds](int number, const ServerRequest& request) {
      if (number == 10) std::ofstream(folder_ / "shift") << seconds;
      return Sell(request);
    });
    const Moment begin = MonotonicNow();
    const ProcessResult result = RunProcess(Args({"--rpm", "600"}), Environment());
    EXPECT_EQ(result.exit_code, 0) << result.err;
    ExpectComplete();
    EXPECT_EQ(Number(result, "texts_possibly_rebought"), 0) << result.out;
    EXPECT_EQ(Number(result, "requests_retried"), 0) << result.out;
    double elapsed = 0;
    ASSERT_TRUE(absl::SimpleAtod(Summary(result, "elapsed_seconds"), &elapsed)) << result.out;
    EXPECT_GT(elapsed, 0);
    EXPECT_LE(elapsed, absl::ToDoubleSeconds(MonotonicNow() - begin));
    EXPECT_EQ(Ledger("SELECT count(*) FROM receipts WHERE ended < started OR ended > started + 600000"), 0);
    ExpectNoBurst(10);
  }
}

}  // namespace
}  // namespace reembed
