// SPDX-License-Identifier: Apache-2.0
// --max-spend: what is bought, what is kept, what it says, over runs, endpoints, streams and kills.

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 16;
constexpr double kPrice = 0.02e-6;  // of text-embedding-3-small, as models.toml has it
constexpr char kModel[] = "text-embedding-3-small";

// An API that keeps books: a token for every `bytes_per_token` bytes.
class Seller {
 public:
  explicit Seller(int bytes_per_token = 4)
      : bytes_per_token_(bytes_per_token), server_([this](const ServerRequest& request) { return Answer(request); }) {}

  std::string url() const { return server_.url() + "/v1"; }
  ScriptedServer& server() { return server_; }
  double earned() const { return static_cast<double>(tokens_) * kPrice; }
  int64_t texts() const { return texts_; }
  double largest_request() const { return static_cast<double>(largest_) * kPrice; }
  std::atomic<int> stall_from{1 << 30};  // requests from this number on are charged and never answered

 private:
  ServerReply Answer(const ServerRequest& request) {
    const std::vector<std::string> texts = TextsOf(request.body);
    int64_t tokens = 0;
    for (const std::string& text : texts) tokens += static_cast<int64_t>(text.size()) / bytes_per_token_ + 1;
    tokens_ += tokens;
    texts_ += static_cast<int64_t>(texts.size());
    for (int64_t before = largest_; before < tokens && !largest_.compare_exchange_weak(before, tokens);) {
    }
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim, .bytes_per_token = bytes_per_token_});
    if (request.number >= stall_from) reply.fault = ServerFault::kStall;
    return reply;
  }

  const int bytes_per_token_;
  std::atomic<int64_t> tokens_{0}, texts_{0}, largest_{0};
  ScriptedServer server_;  // last: its threads use the above
};

class SpendCapCliTest : public ::testing::Test {
 protected:
  void WriteRows(int rows, int different) {
    std::ofstream file(folder_ / "rows.jsonl");
    for (int i = 0; i < rows; ++i) {
      file << absl::StrCat(R"({"key":)", i, R"(,"text":"text number )", i % different,
                           R"( of those that are bought, long enough to cost something"})", "\n");
    }
  }

  std::vector<std::string> Args(const std::vector<std::string>& more) {
    std::vector<std::string> args = {"--source",     "jsonl:" + (folder_ / "rows.jsonl"),
                                     "--target",     "jsonl:" + (folder_ / "vectors.jsonl"),
                                     "--model",      model_,
                                     "--job",        folder_ / "job",
                                     "--dimensions", absl::StrCat(kDim),
                                     "--batch-size", "64"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ProcessResult Cli(const std::string& command, std::vector<std::string> args) {
    args.insert(args.begin(), {REEMBED_BINARY, command});
    return RunProcess(args, environment_);
  }
  ProcessResult Run(const Seller& seller, const std::string& dollars, std::vector<std::string> more = {"--json"}) {
    std::vector<std::string> args = Args({"--api-base", seller.url()});
    if (!dollars.empty()) more.insert(more.end(), {"--max-spend", dollars});
    args.insert(args.end(), more.begin(), more.end());
    return Cli("run", args);
  }

  // The last number under this name.
  static double Number(const std::string& json, const std::string& name) {
    const std::string key = absl::StrCat("\"", name, "\":");
    const size_t at = json.rfind(key);
    double number = -1;
    if (at == std::string::npos) return number;
    const size_t begin = at + key.size();
    EXPECT_TRUE(absl::SimpleAtod(json.substr(begin, json.find_first_of(",}", begin) - begin), &number));
    return number;
  }

  int64_t StoredRows() const {
    std::ifstream file(folder_ / "vectors.jsonl");
    std::string line;
    int64_t rows = 0;
    while (std::getline(file, line)) ++rows;
    return rows;
  }

  TempFolder folder_;
  std::string model_ = kModel;
  std::map<std::string, std::string> environment_ = {{"HOME", folder_.path()},
                                                     {"XDG_STATE_HOME", folder_ / "state"},
                                                     {"XDG_CONFIG_HOME", folder_ / "config"},
                                                     {"OPENAI_API_KEY", ""},
                                                     {"OPENAI_BASE_URL", ""}};
};

TEST_F(SpendCapCliTest, RowsWithTheSameTextCostOnce) {
  WriteRows(2000, 10);
  Seller seller;
  const ProcessResult run = Run(seller, "0.0005");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Number(run.out, "rows_embedded"), 2000);
  EXPECT_LE(seller.earned(), 0.00001);
  EXPECT_NEAR(Number(run.out, "spent_usd"), seller.earned(), 1e-9);
}

TEST_F(SpendCapCliTest, TheCapHoldsAndAllThatWasPaidForIsThere) {
  WriteRows(3000, 3000);
  Seller seller(/*bytes_per_token=*/2);  // twice what we think
  const double cap = 0.0006;             // a third of what all would cost
  const ProcessResult run = Run(seller, "0.0006", {"--json", "--concurrency", "4"});
  EXPECT_EQ(run.exit_code, 7) << run.err;
  EXPECT_EQ(Number(run.out, "exit_code"), 7);
  EXPECT_EQ(Number(run.err, "exit_code"), 7);
  EXPECT_THAT(run.err, AllOf(HasSubstr("the cap of $0.00060 is reached"), HasSubstr("--max-spend +5"),
                             HasSubstr("of --max-spend"), HasSubstr("are spent, or in the air")));
  // What had left before the first charge had shown what a text costs was estimated at half of it: four requests in the
  // air, and as many whose replies were being read.
  const auto error = [&] { return (4 + 4) * seller.largest_request() / 2; };
  EXPECT_LE(seller.earned(), cap + error());
  EXPECT_GE(seller.earned(), cap - 2 * seller.largest_request());
  EXPECT_NEAR(Number(run.out, "spent_usd"), seller.earned(), 1e-9);
  EXPECT_EQ(Number(run.out, "max_spend_usd"), cap);
  // The canary texts and the probe are no rows.
  const int64_t canary = static_cast<int64_t>(CanaryTexts().size());
  EXPECT_EQ(Number(run.out, "rows_embedded"), seller.texts() - canary - 1);
  EXPECT_EQ(Number(Cli("status", {folder_ / "job", "--json"}).out, "texts_kept"), seller.texts() - canary - 1);

  const int64_t sold = seller.texts();
  const ProcessResult text = Run(seller, "0.0006", {});
  EXPECT_EQ(text.exit_code, 7) << text.err;
  EXPECT_THAT(text.err, HasSubstr("is reached: all runs of the job together have spent"));
  // What is left may be enough for a request by an estimate that has learnt nothing yet; for a second one it is not.
  EXPECT_LE(seller.texts() - sold, canary + 2 * 64);
  EXPECT_LE(seller.earned(), cap + error());

  const ProcessResult more = Run(seller, "+0.0001", {"--json", "--concurrency", "4"});
  EXPECT_EQ(more.exit_code, 7) << more.err;
  EXPECT_LE(seller.earned(), Number(more.out, "max_spend_usd") + error());
  EXPECT_GE(seller.earned(), Number(more.out, "max_spend_usd") - 2 * seller.largest_request());
  EXPECT_GT(seller.texts(), sold + 64);

  const ProcessResult rest = Run(seller, "10");
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(StoredRows(), 3000);
  EXPECT_NEAR(Number(rest.out, "spent_usd"), seller.earned(), 1e-9) << "over all runs";
  const int64_t all = seller.texts();
  EXPECT_LE(all, 3000 + 1 + 4 * canary) << "nothing twice, but for the canaries";
  // There is nothing to buy.
  const ProcessResult done = Run(seller, "0.0000001");
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(seller.texts(), all);
}

TEST_F(SpendCapCliTest, ACapBelowTheProbeBuysNothingAndLeavesNothing) {
  WriteRows(10, 10);
  Seller seller;
  const ProcessResult run = Run(seller, "0.00000001");
  EXPECT_EQ(run.exit_code, 7) << run.err;
  EXPECT_EQ(seller.server().request_count(), 0);
  EXPECT_FALSE(std::ifstream(folder_ / "job/ledger.db").good());
}

TEST_F(SpendCapCliTest, EndpointsShareOneCap) {
  WriteRows(3000, 3000);
  Seller first, second;
  const ProcessResult run =
      Cli("run", Args({"--endpoint", first.url(), "--endpoint", second.url(), "--max-spend", "0.0004", "--json"}));
  EXPECT_EQ(run.exit_code, 7) << run.err;
  const double earned = first.earned() + second.earned();
  EXPECT_LE(earned, 0.0004 * 1.05);
  EXPECT_GE(earned, 0.0004 - 2 * first.largest_request());
  EXPECT_GT(std::min(first.texts(), second.texts()), 64) << "one of them did it all";
  EXPECT_NEAR(Number(run.out, "spent_usd"), earned, 1e-9);
}

TEST_F(SpendCapCliTest, StreamsShareOneCap) {
  SqliteFile db;
  db.Run(
      "CREATE TABLE a(id INTEGER PRIMARY KEY, body TEXT, vector BLOB);"
      "CREATE TABLE b(id INTEGER PRIMARY KEY, body TEXT, vector BLOB);"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
      "INSERT INTO a(body) SELECT 'row ' || i || ' of table a, long enough to cost something' FROM n;"
      "INSERT INTO b(body) SELECT replace(body, 'table a', 'table b') FROM a");
  db.Close();
  std::ofstream(folder_ / "two.toml") << "name = \"two\"\n[model]\nembedder = \"openai\"\nname = \"" << kModel
                                      << "\"\ndimensions = " << kDim
                                      << "\n[[stream]]\nname = \"a\"\ntable = \"a\"\nkey = \"id\"\ntext = \"body\"\n"
                                         "vector = \"vector\"\n[[stream]]\nname = \"b\"\ntable = \"b\"\nkey = \"id\"\n"
                                         "text = \"body\"\nvector = \"vector\"\n";
  Seller seller;
  const auto run = [&](const char* dollars) {
    return Cli("run",
               {"--system", folder_ / "two.toml", "--db", db.path(), "--api-base", seller.url(), "--dimensions",
                absl::StrCat(kDim), "--batch-size", "64", "--job", folder_ / "job", "--json", "--max-spend", dollars});
  };
  // A stream costs about 0.00026.
  const ProcessResult capped = run("0.0004");
  EXPECT_EQ(capped.exit_code, 7) << capped.err;
  EXPECT_LE(seller.earned(), 0.0004 * 1.05);
  EXPECT_GE(seller.earned(), 0.0004 - 2 * seller.largest_request());
  EXPECT_GT(Number(capped.out, "rows_embedded"), 1000) << "the second stream had its share";
  const ProcessResult rest = run("+1");
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_NEAR(Number(rest.out, "spent_usd"), seller.earned(), 1e-8) << "of both streams over both runs";
}

TEST_F(SpendCapCliTest, WhatAKilledRunMayHaveCostCounts) {
  WriteRows(3000, 3000);
  Seller seller;
  seller.stall_from = 12;
  {
    std::vector<std::string> args = Args({"--api-base", seller.url(), "--concurrency", "8"});
    args.insert(args.begin(), {REEMBED_BINARY, "run"});
    Process process(args, environment_);
    seller.server().WaitForStalled(8);  // all that may be in the air have come
    process.Signal(SIGKILL);
    process.Wait();
  }
  const double before = seller.earned();
  const ProcessResult status = Cli("status", {folder_ / "job", "--json"});
  EXPECT_GE(Number(status.out, "unreceipted_usd"), before * 0.95);
  EXPECT_LE(Number(status.out, "unreceipted_usd"), before + 9 * seller.largest_request());
  seller.server().ReleaseStalled();
  seller.stall_from = 1 << 30;
  const ProcessResult run = Run(seller, "0.0006");
  EXPECT_EQ(run.exit_code, 7) << run.err;
  EXPECT_LE(seller.earned(), 0.0006 * 1.05);
  EXPECT_GE(Number(run.out, "spent_usd"), seller.earned() * 0.99);
}

TEST_F(SpendCapCliTest, WithoutAPriceThereIsNoCap) {
  WriteRows(10, 10);
  for (const char* const command : {"run", "plan"}) {
    const ProcessResult run =
        Cli(command, {"--source", "jsonl:" + (folder_ / "rows.jsonl"), "--target", "jsonl:" + (folder_ / "v.jsonl"),
                      "--model", "unheard-of", "--dimensions", "16", "--api-base", "https://api.example.com/v1",
                      "--api-key-file", folder_ / "rows.jsonl", "--max-spend", "1"});
    EXPECT_EQ(run.exit_code, 2) << run.err;
    EXPECT_THAT(run.err, AllOf(HasSubstr("unheard-of"), HasSubstr("usd_per_million_tokens")));
  }
  Seller seller;
  model_ = "unheard-of";
  const ProcessResult free = Cli("run", Args({"--api-base", seller.url(), "--max-spend", "1"}));
  EXPECT_EQ(free.exit_code, 0) << "a model without a price on this machine costs nothing: " << free.err;
  model_ = kModel;
  for (const char* const wrong : {"0", "-1", "ten", "+", "1e400", "5 dollars"}) {
    const ProcessResult run = Run(seller, wrong);
    EXPECT_EQ(run.exit_code, 2) << wrong << run.err;
    EXPECT_THAT(run.err, HasSubstr("--max-spend")) << wrong;
  }
}

// The same estimate and the same price, before and while it is spent.
TEST_F(SpendCapCliTest, PlanAndRunReckonAlike) {
  std::ofstream file(folder_ / "rows.jsonl");
  for (int i = 0; i < 100; ++i) file << R"({"key":)" << i << R"(,"text":"a b c d e f g h i j )" << i << "\"}\n";
  file.close();
  Seller seller;
  const ProcessResult plan = Cli("plan", Args({"--api-base", seller.url(), "--json"}));
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  const double tokens = Number(plan.out, "tokens");
  EXPECT_GE(tokens, Number(plan.out, "tokens_at_least"));
  EXPECT_LE(tokens, Number(plan.out, "tokens_at_most"));
  EXPECT_NEAR(Number(plan.out, "cost_usd"), tokens * kPrice, 1e-12);
  const ProcessResult text = Cli("plan", Args({"--api-base", seller.url()}));
  EXPECT_THAT(text.out, AllOf(HasSubstr("about $0.0000"), HasSubstr("at the list price")));
  const ProcessResult run = Run(seller, "");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NEAR(Number(run.out, "cost_usd"), seller.earned(), 1e-12);
  // What costs nothing costs nothing in both.
  const std::vector<std::string> builtin = {"--source",   "jsonl:" + (folder_ / "rows.jsonl"),
                                            "--target",   "jsonl:" + (folder_ / "v.jsonl"),
                                            "--embedder", "builtin",
                                            "--json"};
  EXPECT_EQ(Number(Cli("plan", builtin).out, "cost_usd"), 0);
  EXPECT_EQ(Number(Cli("run", builtin).out, "cost_usd"), 0);
}

// 100 requests a minute are 100 texts there: a request of half of them, twice a minute.
TEST_F(SpendCapCliTest, GeminisQuotaOfRequestsCountsTexts) {
  WriteRows(150, 150);
  const auto plan = [&](const std::vector<std::string>& quota) {
    std::vector<std::string> args = {"--source",   "jsonl:" + (folder_ / "rows.jsonl"),
                                     "--target",   "jsonl:" + (folder_ / "v.jsonl"),
                                     "--embedder", "gemini",
                                     "--model",    "gemini-embedding-001",
                                     "--json"};
    args.insert(args.end(), quota.begin(), quota.end());
    return Cli("plan", args).out;
  };
  EXPECT_EQ(Number(plan({"--rpm", "100"}), "requests"), 3);
  EXPECT_NEAR(Number(plan({"--rpm", "100"}), "seconds_at_limits"), 90, 1e-6);
  EXPECT_EQ(Number(plan({"--rpm", "3000"}), "requests"), 2);
  EXPECT_NEAR(Number(plan({"--rpm", "3000"}), "seconds_at_limits"), 4, 1e-6);
  EXPECT_NEAR(Number(plan({"--endpoint", "https://example.com/v1beta,rpm=3000"}), "seconds_at_limits"), 4, 1e-6);
}

TEST_F(SpendCapCliTest, AJobOfFewRowsIsNotSaidToHaveBoughtThousandsTwice) {
  WriteRows(6, 6);
  Seller seller;
  seller.stall_from = 2;  // after the probe and the canary
  {
    std::vector<std::string> args = Args({"--api-base", seller.url()});
    args.insert(args.begin(), {REEMBED_BINARY, "run"});
    Process process(args, environment_);
    seller.server().WaitForStalled(1);
    process.Signal(SIGKILL);
    process.Wait();
  }
  seller.server().ReleaseStalled();
  seller.stall_from = 1 << 30;
  const ProcessResult run = Run(seller, "");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Number(run.out, "texts_possibly_rebought"), 6);
  const ProcessResult status = Cli("status", {folder_ / "job"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("at most 6 texts bought a second time"), HasSubstr("at most 6 rows bought")));
}

}  // namespace
}  // namespace reembed
