// SPDX-License-Identifier: Apache-2.0
// --quota and --cache: several jobs, a real Valkey, and an API that keeps books.

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/valkey_server.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 16;
constexpr double kPrice = 0.02e-6;  // of text-embedding-3-small, as models.toml has it

// Counts each text that it was asked for, canary and probe apart.
class Seller {
 public:
  explicit Seller(bool other_model = false)
      : other_model_(other_model), server_([this](const ServerRequest& request) { return Answer(request); }) {}
  std::string url() const { return server_.url() + "/v1"; }
  // For vectors, of whatever text.
  int64_t requests() const {
    const std::vector<ServerRequest> all = server_.requests();
    return std::count_if(all.begin(), all.end(),
                         [](const ServerRequest& request) { return request.target == "/v1/embeddings"; });
  }
  std::map<std::string, int> sold() const {
    const std::lock_guard lock(mutex_);
    return sold_;
  }
  double earned() const { return static_cast<double>(tokens_) * kPrice; }

 private:
  ServerReply Answer(const ServerRequest& request) {
    ServerRequest asked = request;
    for (const std::string& text : TextsOf(request.body)) {
      tokens_ += static_cast<int64_t>(text.size()) / 4 + 1;
      const std::lock_guard lock(mutex_);
      if (text.rfind("text ", 0) == 0) ++sold_[text];
    }
    // Another model behind the same name: its vectors are those of other texts.
    if (other_model_) {
      for (size_t at = asked.body.find('e'); at != std::string::npos; at = asked.body.find('e', at + 1)) {
        if (at > asked.body.find("\"input\"") && asked.body.compare(at, 8, "encoding") != 0) asked.body[at] = 'u';
      }
      return OpenAiAnswer(asked, {.dim = kDim, .bytes_per_token = 4});
    }
    return OpenAiAnswer(request, {.dim = kDim, .bytes_per_token = 4});
  }

  const bool other_model_;
  mutable std::mutex mutex_;
  std::map<std::string, int> sold_;
  std::atomic<int64_t> tokens_{0};
  ScriptedServer server_;  // last: its threads use the above
};

class SharingTest : public ::testing::Test {
 protected:
  std::string Rows(const std::string& name, int from, int to) {
    std::ofstream file(folder_ / (name + ".jsonl"));
    for (int i = from; i < to; ++i) {
      file << absl::StrCat(R"({"key":)", i, R"(,"text":"text )", i,
                           R"( of those that are bought, long enough to cost something"})", "\n");
    }
    return "jsonl:" + (folder_ / (name + ".jsonl"));
  }
  std::vector<std::string> Args(const std::string& name, const std::string& source, const std::string& api,
                                const std::vector<std::string>& more) {
    std::vector<std::string> args = {REEMBED_BINARY, "run",
                                     "--source",     source,
                                     "--target",     "jsonl:" + (folder_ / (name + "-vectors.jsonl")),
                                     "--model",      "text-embedding-3-small",
                                     "--job",        folder_ / (name + "-job"),
                                     "--dimensions", absl::StrCat(kDim),
                                     "--batch-size", "16",
                                     "--api-base",   api};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  ProcessResult Run(const std::string& name, const std::string& source, const std::string& api,
                    const std::vector<std::string>& more) {
    return RunProcess(Args(name, source, api, more), environment_);
  }
  std::string Vectors(const std::string& name) const {
    std::ifstream file(folder_ / (name + "-vectors.jsonl"));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  static double Number(const std::string& json, const std::string& name) {
    const std::string key = absl::StrCat("\"", name, "\":");
    const size_t at = json.rfind(key);
    double number = -1;
    if (at == std::string::npos) return number;
    const size_t begin = at + key.size();
    EXPECT_TRUE(absl::SimpleAtod(json.substr(begin, json.find_first_of(",}", begin) - begin), &number));
    return number;
  }

  TempFolder folder_;
  std::map<std::string, std::string> environment_ = {{"HOME", folder_.path()},
                                                     {"XDG_STATE_HOME", folder_ / "state"},
                                                     {"XDG_CONFIG_HOME", folder_ / "config"},
                                                     {"REDIS_PASSWORD", ""},
                                                     {"REDISCLI_AUTH", ""},
                                                     {"OPENAI_API_KEY", ""},
                                                     {"OPENAI_BASE_URL", ""}};
};

TEST_F(SharingTest, JobsAfterEachOtherBuyATextOnce) {
  const ValkeyServer valkey;
  for (const std::string& cache : {valkey.Uri("team"), std::string(folder_ / "cache.db")}) {
    Seller seller;
    const std::string name = cache.substr(0, 5) == "redis" ? "server" : "file";
    const ProcessResult first = Run(name + "1", Rows(name + "1", 0, 100), seller.url(), {"--cache", cache, "--json"});
    ASSERT_EQ(first.exit_code, 0) << first.err;
    const ProcessResult second = Run(name + "2", Rows(name + "2", 50, 150), seller.url(), {"--cache", cache, "--json"});
    ASSERT_EQ(second.exit_code, 0) << second.err;
    EXPECT_EQ(Number(second.out, "rows_embedded"), 100);
    EXPECT_THAT(second.err + second.out, HasSubstr("50 texts were there"));
    EXPECT_EQ(seller.sold().size(), 150);
    for (const auto& [text, times] : seller.sold()) EXPECT_EQ(times, 1) << text;
    // The very same vectors as without a cache.
    Seller fresh;
    const ProcessResult alone = Run(name + "3", Rows(name + "2", 50, 150), fresh.url(), {"--json"});
    ASSERT_EQ(alone.exit_code, 0) << alone.err;
    EXPECT_EQ(Vectors(name + "2"), Vectors(name + "3"));
  }
}

TEST_F(SharingTest, JobsAtOnceBuyATextOnce) {
  const ValkeyServer valkey;
  Seller seller;
  std::vector<std::unique_ptr<Process>> workers;
  for (const std::string name : {"a", "b", "c"}) {
    workers.push_back(std::make_unique<Process>(
        Args(name, Rows(name, 0, 300), seller.url(), {"--cache", valkey.Uri("team"), "--json"}), environment_));
  }
  for (const auto& worker : workers) {
    const ProcessResult result = worker->Wait();
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(seller.sold().size(), 300);
  int times = 0;
  for (const auto& [text, sold] : seller.sold()) times += sold;
  // A claim holds for longer than all of them run, unless this machine stands still.
  EXPECT_LE(times, 330);
  EXPECT_EQ(Vectors("a"), Vectors("b"));
  EXPECT_EQ(Vectors("a"), Vectors("c"));
}

TEST_F(SharingTest, AWorkerWithAnotherModelIsRefused) {
  const ValkeyServer valkey;
  Seller seller, other(/*other_model=*/true);
  const std::vector<std::string> more = {"--cache", valkey.Uri("team"), "--json"};
  ASSERT_EQ(Run("a", Rows("a", 0, 20), seller.url(), more).exit_code, 0);
  const ProcessResult refused = Run("b", Rows("b", 0, 20), other.url(), more);
  EXPECT_EQ(refused.exit_code, 6) << refused.out << refused.err;
  EXPECT_THAT(refused.err + refused.out, AllOf(HasSubstr("/team"), HasSubstr("cosine")));
  EXPECT_TRUE(other.sold().empty());
  EXPECT_EQ(Vectors("b"), "");
  // Without the cache the job is as it was before.
  EXPECT_EQ(Run("b", Rows("b", 0, 20), other.url(), {"--json"}).exit_code, 0);
}

TEST_F(SharingTest, WhatIsWrongIsSaidBeforeAnythingIsBought) {
  const ValkeyServer valkey({.password = "right-password"});
  Seller seller;
  const std::string source = Rows("a", 0, 20);
  struct Case {
    std::string flag, uri, password, words;
    int exit_code;
  };
  const std::string url = seller.url();
  const std::string not_valkey = absl::StrCat("redis://127.0.0.1:", url.substr(17, url.find('/', 17) - 17), "/k");
  std::vector<Case> cases;
  for (const std::string flag : {"--quota", "--cache"}) {
    cases.push_back({flag, valkey.Uri("k"), "wrong-password", "REDIS_PASSWORD", 6});
    cases.push_back({flag, valkey.Uri("k"), "", "REDIS_PASSWORD", 6});
    cases.push_back({flag, valkey.Uri("k") + "?db=77", "right-password", "DB index is out of range", 6});
    cases.push_back({flag, "redis://127.0.0.1:1/k", "right-password", "is the server running there?", 5});
    cases.push_back({flag, not_valkey, "right-password", "127.0.0.1", -1});
    cases.push_back({flag, "redis://me:right-password@127.0.0.1/k", "", "REDIS_PASSWORD", 2});
    cases.push_back({flag, "redis://127.0.0.1/7", "", "/KEY?db=7", 2});
  }
  cases.push_back({"--quota", "nowhere", "", "expected redis://", 2});
  cases.push_back({"--cache", "http://127.0.0.1/x", "", "expected redis://", 2});
  for (const Case& one : cases) {
    environment_["REDIS_PASSWORD"] = one.password;
    const ProcessResult run = Run("a", source, seller.url(), {one.flag, one.uri, "--rpm", "6000"});
    if (one.exit_code >= 0) {
      EXPECT_EQ(run.exit_code, one.exit_code) << one.flag << " " << one.uri << ": " << run.err;
    } else {
      EXPECT_NE(run.exit_code, 0) << one.flag << " " << one.uri;
    }
    EXPECT_THAT(run.err,
                AllOf(HasSubstr(one.words), Not(HasSubstr("right-password")), Not(HasSubstr("wrong-password"))))
        << one.flag << " " << one.uri;
  }
  EXPECT_EQ(seller.requests(), 0);
  environment_["REDIS_PASSWORD"] = "right-password";
  const ProcessResult good =
      Run("a", source, seller.url(), {"--quota", valkey.Uri("k"), "--cache", valkey.Uri("k"), "--rpm", "6000"});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_THAT(good.err, HasSubstr("nobody else so far"));
  // Neither the job nor what it says has the password.
  std::ifstream file(folder_ / "a-job/job.toml");
  std::stringstream toml;
  toml << file.rdbuf();
  EXPECT_THAT(toml.str(), AllOf(HasSubstr("quota = "), Not(HasSubstr("right-password"))));
}

TEST_F(SharingTest, RunsOverTls) {
  const ValkeyServer valkey({.password = "right-password", .tls = true});
  Seller seller;
  environment_["REDIS_PASSWORD"] = "right-password";
  const ProcessResult run = Run("a", Rows("a", 0, 50), seller.url(),
                                {"--quota", valkey.Uri("k"), "--cache", valkey.Uri("k"), "--rpm", "6000"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
}

TEST_F(SharingTest, TheServerGoesAwayAndForgetsAll) {
  ValkeyServer valkey;
  Seller seller;
  Process worker(Args("a", Rows("a", 0, 1000), seller.url(),
                      {"--quota", valkey.Uri("k"), "--cache", valkey.Uri("k"), "--rpm", "600", "--json"}),
                 environment_);
  while (worker.IsRunning() && seller.sold().size() < 100) {
  }
  valkey.Stop();
  while (worker.IsRunning() && seller.sold().size() < 300) {
  }
  EXPECT_TRUE(worker.WaitFor("safe share"));
  valkey.Start();
  const ProcessResult result = worker.Wait();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(Number(result.out, "rows_embedded"), 1000);
  for (const auto& [text, times] : seller.sold()) EXPECT_EQ(times, 1) << text;
}

TEST_F(SharingTest, TheCapHoldsForAllJobsTogether) {
  const ValkeyServer valkey;
  Seller seller;
  // 2,000 texts of about 16 tokens would cost 0.00064 dollars each job.
  const std::vector<std::string> more = {"--quota", valkey.Uri("k"), "--max-spend", "0.0004", "--json"};
  std::vector<std::unique_ptr<Process>> workers;
  for (const std::string name : {"a", "b"}) {
    workers.push_back(std::make_unique<Process>(Args(name, Rows(name, 0, 2000), seller.url(), more), environment_));
  }
  for (const auto& worker : workers) {
    const ProcessResult result = worker->Wait();
    EXPECT_EQ(result.exit_code, 7) << result.err;
  }
  // What was in the air at the end may be dearer than it was estimated: seen are 3 tokens of some 264 a request, with
  // two times 16 at a time.
  EXPECT_LE(seller.earned(), 0.0004 * 1.01);
  EXPECT_GE(seller.earned(), 0.0004 * 0.8);
}

// A cache that takes nothing new is none to fail for; one that never takes anything is known before anything is bought.
TEST_F(SharingTest, ACacheThatIsFullOrReadOnly) {
  const ValkeyServer valkey;
  Seller seller;
  valkey.Ask({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  valkey.Ask({"CONFIG", "SET", "maxmemory", "1"});
  const ProcessResult full = Run("full", Rows("full", 0, 20), seller.url(), {"--cache", valkey.Uri("team")});
  EXPECT_EQ(full.exit_code, 0) << full.err;
  EXPECT_EQ(seller.sold().size(), 20);
  valkey.Ask({"CONFIG", "SET", "maxmemory", "0"});
  valkey.Ask({"REPLICAOF", "127.0.0.1", "1"});
  const int64_t requests = seller.requests();
  const ProcessResult replica = Run("replica", Rows("replica", 0, 20), seller.url(), {"--cache", valkey.Uri("team")});
  EXPECT_EQ(replica.exit_code, 6) << replica.err;
  EXPECT_THAT(replica.err, HasSubstr("READONLY"));
  EXPECT_EQ(seller.requests(), requests);
}

TEST_F(SharingTest, AQuotaIsThatOfOneAccount) {
  const ValkeyServer valkey;
  Seller seller, other;
  std::vector<std::string> args = Args("a", Rows("a", 0, 5), seller.url(), {});
  args.erase(args.end() - 2, args.end());
  args.insert(args.end(), {"--endpoint", seller.url(), "--endpoint", other.url(), "--quota", valkey.Uri("k")});
  const ProcessResult run = RunProcess(args, environment_);
  EXPECT_EQ(run.exit_code, 2) << run.err;
  EXPECT_THAT(run.err, HasSubstr("--quota is that of one account"));
}

}  // namespace
}  // namespace reembed
