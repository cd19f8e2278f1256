// SPDX-License-Identifier: Apache-2.0
// The command over several endpoints that serve, die, refuse, come back, and change their model.

#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;

// An endpoint that answers well until the test says otherwise, and counts the texts it has given vectors.
class Endpoint {
 public:
  using Script = std::function<ServerReply(const ServerRequest&, ServerReply good)>;

  explicit Endpoint(Script script = {})
      : script_(std::move(script)), server_([this](const ServerRequest& request) { return Answer(request); }) {}

  std::string url() const { return server_.url() + "/v1"; }
  ScriptedServer& server() { return server_; }
  std::atomic<bool> swapped{false};  // another model answers

  std::map<std::string, int> bought() const {
    const std::lock_guard lock(mutex_);
    return bought_;
  }

 private:
  ServerReply Answer(const ServerRequest& request) {
    std::vector<std::string> texts = TextsOf(request.body);
    const std::vector<std::string> asked = texts;
    if (swapped) {
      for (std::string& text : texts) text += " by another model";
    }
    ServerReply good{.body = OpenAiReply(texts, VectorFormat::kBase64, {.dim = kDim})};
    ServerReply reply = script_ ? script_(request, std::move(good)) : std::move(good);
    const std::lock_guard lock(mutex_);
    if (reply.status == 200 && reply.fault == ServerFault::kNone) {
      for (const std::string& text : asked) ++bought_[text];
    }
    return reply;
  }

  const Script script_;
  mutable std::mutex mutex_;
  std::map<std::string, int> bought_;
  ScriptedServer server_;  // last: its threads use the above
};

class EndpointsCliTest : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& endpoints, const std::vector<std::string>& more = {},
                    std::map<std::string, std::string> environment = {}) {
    std::vector<std::string> args = {REEMBED_BINARY, "run",       "--source",     absl::StrCat("jsonl:", rows_path_),
                                     "--target",     target_,     "--embedder",   "openai",
                                     "--model",      "fake",      "--dimensions", absl::StrCat(kDim),
                                     "--batch-size", batch_size_, "--job",        folder_ / "job",
                                     "--json"};
    for (const std::string& endpoint : endpoints) {
      args.push_back("--endpoint");
      args.push_back(endpoint);
    }
    args.insert(args.end(), more.begin(), more.end());
    environment.emplace("HOME", folder_.path());
    environment.emplace("OPENAI_API_KEY", "");
    environment.emplace("OPENAI_BASE_URL", "");
    return RunProcess(args, environment);
  }

  void MakeRows(int count) {
    std::ofstream file(rows_path_);
    for (int i = 0; i < count; ++i) file << "{\"id\":" << i << ",\"text\":\"" << Text(i) << "\"}\n";
    rows_ = count;
  }
  static std::string Text(int row) { return absl::StrCat("the text of row number ", row); }

  // Each row was bought once, by one of them.
  void ExpectEachTextBoughtOnce(const std::vector<const Endpoint*>& endpoints) {
    std::map<std::string, int> bought;
    for (const Endpoint* const endpoint : endpoints) {
      for (const auto& [text, count] : endpoint->bought()) bought[text] += count;
    }
    for (int i = 0; i < rows_; ++i) EXPECT_EQ(bought[Text(i)], 1) << Text(i);
  }

  static std::string Summary(const ProcessResult& result, const std::string& name) {
    const std::string key = absl::StrCat("\"", name, "\":");
    const size_t at = result.out.rfind(key);
    if (at == std::string::npos) return "(no summary)";
    const size_t begin = at + key.size();
    return result.out.substr(begin, result.out.find_first_of(",}", begin) - begin);
  }

  static int RowsOf(const Endpoint& endpoint) {
    int rows = 0;
    for (const auto& [text, count] : endpoint.bought()) rows += text.rfind("the text of row", 0) == 0 ? count : 0;
    return rows;
  }

  TempFolder folder_;
  int rows_ = 0;
  std::string batch_size_ = "8";
  const std::string rows_path_ = folder_ / "rows.jsonl";
  const std::string target_ = absl::StrCat("npy:", folder_ / "rows.npy");
};

TEST_F(EndpointsCliTest, OneDiesMidRunAndTheOtherDoesAllTheRest) {
  MakeRows(800);
  Endpoint dying([](const ServerRequest& request, ServerReply good) {
    if (request.number >= 12) good.fault = ServerFault::kClose;
    return good;
  });
  Endpoint healthy;
  const ProcessResult run = Run({dying.url() + ",concurrency=3", healthy.url() + ",concurrency=3"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Summary(run, "rows_embedded"), "800");
  EXPECT_THAT(run.err, HasSubstr(absl::StrCat(dying.url(), " is not used for now")));
  EXPECT_THAT(run.out, AllOf(HasSubstr("\"endpoints\":[{"), HasSubstr("\"state\":\"failing\""),
                             HasSubstr("\"state\":\"working\"")));
  EXPECT_GT(RowsOf(dying), 0);
  ExpectEachTextBoughtOnce({&dying, &healthy});
}

TEST_F(EndpointsCliTest, ARefusedKeyIsLeftOutAndNeverShown) {
  MakeRows(200);
  Endpoint refusing([](const ServerRequest& request, const ServerReply&) {
    return OpenAiError(401, "invalid_api_key", "invalid_request_error",
                       absl::StrCat("Incorrect API key provided: ", request.headers.at("authorization")));
  });
  Endpoint healthy([](const ServerRequest& request, ServerReply good) {
    EXPECT_EQ(request.headers.at("authorization"), "Bearer sk-second-9876543210");
    return good;
  });
  const ProcessResult run = Run({refusing.url() + ",key-env=KEY_ONE", healthy.url() + ",key-env=KEY_TWO"}, {},
                                {{"KEY_ONE", "sk-first-0123456789"}, {"KEY_TWO", "sk-second-9876543210"}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr(refusing.url()), HasSubstr("is not used any more"), Not(HasSubstr("sk-first"))));
  EXPECT_EQ(RowsOf(refusing), 0);
  ExpectEachTextBoughtOnce({&healthy});
  std::ifstream job(folder_ / "job/job.toml");
  std::ostringstream text;
  text << job.rdbuf();
  EXPECT_THAT(text.str(), AllOf(HasSubstr("key-env=KEY_ONE"), Not(HasSubstr("sk-"))));
}

TEST_F(EndpointsCliTest, AllDeadIsTemporaryAndAllRefusedIsFatal) {
  MakeRows(50);
  std::atomic<int> status{503};
  const auto script = [&](const ServerRequest&, const ServerReply&) { return ServerReply{.status = status}; };
  Endpoint one(script), two(script);
  const ProcessResult dead = Run({one.url(), two.url()});
  EXPECT_EQ(dead.exit_code, 5) << dead.err;
  status = 401;
  const ProcessResult refused = Run({one.url(), two.url()});
  EXPECT_EQ(refused.exit_code, 6) << refused.err;
  status = 200;
}

TEST_F(EndpointsCliTest, DyingTogetherMidRunIsResumable) {
  MakeRows(400);
  std::atomic<bool> dead{false};
  const auto script = [&](const ServerRequest& request, ServerReply good) {
    if (request.number >= 10 && dead) good.fault = ServerFault::kClose;
    return good;
  };
  dead = true;
  Endpoint one(script), two(script);
  const ProcessResult first = Run({one.url() + ",concurrency=8", two.url() + ",concurrency=8"});
  EXPECT_EQ(first.exit_code, 5) << first.err;
  dead = false;
  const ProcessResult second = Run({two.url()});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  ExpectEachTextBoughtOnce({&one, &two});
}

TEST_F(EndpointsCliTest, TwoModelsAreNotMixed) {
  MakeRows(50);
  Endpoint one, two;
  two.swapped = true;
  const ProcessResult run = Run({one.url(), two.url()});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr(one.url()), HasSubstr(two.url()), HasSubstr("cosine")));
  EXPECT_EQ(RowsOf(one) + RowsOf(two), 0);
}

TEST_F(EndpointsCliTest, AModelThatIsSwappedMidRunStopsIt) {
  MakeRows(2000);
  Endpoint* serving = nullptr;
  std::atomic<int> rows_since_swap{0};
  Endpoint endpoint([&](const ServerRequest& request, ServerReply good) {
    if (request.number == 60) serving->swapped = true;
    if (!serving->swapped) return good;
    if (absl::StrContains(request.body, "the text of row")) {
      rows_since_swap += 8;
      rows_since_swap.notify_all();
    } else {
      // The check is answered when some vectors of the other model have been received.
      for (int rows = rows_since_swap; rows < 80; rows = rows_since_swap) rows_since_swap.wait(rows);
    }
    return good;
  });
  serving = &endpoint;
  // Each request is followed by a check.
  const ProcessResult run = Run({endpoint.url() + ",concurrency=2"}, {"--canary-interval", "1ns"});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err,
              AllOf(HasSubstr("was changed during the run"), HasSubstr("doubtful"), HasSubstr(endpoint.url())));
  EXPECT_LT(endpoint.server().request_count(), 60 + 40);
  // The job remembers what its model was.
  const int before = RowsOf(endpoint);
  const ProcessResult again = Run({endpoint.url()});
  EXPECT_EQ(again.exit_code, 6) << again.err;
  EXPECT_THAT(again.err, HasSubstr("this job began with"));
  EXPECT_EQ(RowsOf(endpoint), before);
}

// All work is done before a check comes due: the last check, at the end of the run, sees it.
TEST_F(EndpointsCliTest, AModelThatIsSwappedNearTheEndIsNoticedAtTheEnd) {
  MakeRows(40);
  Endpoint* serving = nullptr;
  Endpoint endpoint([&](const ServerRequest& request, ServerReply good) {
    if (absl::StrContains(request.body, "row number 39")) serving->swapped = true;
    return good;
  });
  serving = &endpoint;
  const ProcessResult run = Run({endpoint.url() + ",concurrency=1"}, {"--canary-interval", "1ns"});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, HasSubstr("was changed during the run"));
}

TEST_F(EndpointsCliTest, AModelThatIsSwappedBetweenRunsIsNoticed) {
  MakeRows(100);
  Endpoint endpoint;
  const ProcessResult first = Run({endpoint.url()}, {"--limit", "40"});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  endpoint.swapped = true;
  const ProcessResult second = Run({endpoint.url()});
  EXPECT_EQ(second.exit_code, 6) << second.err;
  EXPECT_EQ(RowsOf(endpoint), 40);
  // Whoever says so goes on all the same.
  const ProcessResult third = Run({endpoint.url()}, {"--canary-interval", "off"});
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_EQ(RowsOf(endpoint), 100);
}

TEST_F(EndpointsCliTest, NothingToDoSendsNothing) {
  MakeRows(30);
  Endpoint endpoint;
  EXPECT_EQ(Run({endpoint.url()}).exit_code, 0);
  const int before = endpoint.server().request_count();
  EXPECT_EQ(Run({endpoint.url()}).exit_code, 0);
  EXPECT_EQ(endpoint.server().request_count(), before);
}

TEST_F(EndpointsCliTest, WrongWordsAreNamed) {
  MakeRows(1);
  const auto error = [&](const std::vector<std::string>& endpoints, const std::vector<std::string>& more = {}) {
    const ProcessResult run = Run(endpoints, more);
    EXPECT_EQ(run.exit_code, 2) << run.err;
    return run.err;
  };
  EXPECT_THAT(error({"127.0.0.1:1"}), HasSubstr("expected http://HOST/v1"));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1,rmp=5"}), HasSubstr("did you mean rpm?"));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1,rpm=fast"}), HasSubstr("expected a number above 0, got fast"));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1,key=sk-abcdefgh"}), Not(HasSubstr("sk-abcdefgh")));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1/"}), HasSubstr("given twice"));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1"}, {"--api-base", "http://127.0.0.1:2/v1"}), HasSubstr("--api-base"));
  EXPECT_THAT(error({"http://127.0.0.1:1/v1"}, {"--canary-interval", "soon"}), HasSubstr("--canary-interval soon"));
}

}  // namespace
}  // namespace reembed
