// SPDX-License-Identifier: Apache-2.0
// `reembed bench endpoint` as its users meet it.

#include <csignal>
#include <fstream>
#include <map>
#include <string>
#include <vector>

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

class BenchEndpointTest : public ::testing::Test {
 protected:
  std::vector<std::string> Args(const std::vector<std::string>& more, const std::string& seconds = "0.05") {
    std::vector<std::string> args = {REEMBED_BINARY, "bench", "endpoint", "--seconds", seconds};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::map<std::string, std::string> Room() {
    return {{"HOME", folder_.path()}, {"OPENAI_API_KEY", ""}, {"OPENAI_BASE_URL", ""}};
  }
  ProcessResult Bench(const std::vector<std::string>& more) { return RunProcess(Args(more), Room()); }
  // Ends by a bound on tokens, however slow the machine is.
  ProcessResult BenchTokens(const std::string& most, std::vector<std::string> more) {
    more.insert(more.end(), {"--max-tokens", most});
    return RunProcess(Args(more, "600"), Room());
  }

  TempFolder folder_;
};

TEST_F(BenchEndpointTest, MeasuresTheBuiltinEmbedderAndNamesFlags) {
  const ProcessResult bench = Bench({"--embedder", "builtin", "--concurrency", "2", "--batch-size", "32"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("rows/s"), HasSubstr("p99 ms"), HasSubstr("the knee"),
                               HasSubstr("reembed run --concurrency "), HasSubstr(" --batch-size ")));
}

TEST_F(BenchEndpointTest, JsonHasALineForEachCellAndASummary) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 32}); });
  const ProcessResult bench = Bench({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "32",
                                     "--concurrency", "4", "--batch-size", "8", "--max-tokens", "3000", "--json"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  size_t cells = 0;
  for (size_t at = bench.out.find("\"cell\""); at != std::string::npos; at = bench.out.find("\"cell\"", at + 1))
    ++cells;
  EXPECT_EQ(cells, 6u);
  EXPECT_THAT(bench.out, AllOf(HasSubstr("\"p95_ms\":"), HasSubstr("\"knee_concurrency\":"),
                               HasSubstr("\"flags\":\"--concurrency "), HasSubstr("\"exit_code\":0")));
}

TEST_F(BenchEndpointTest, SaysWhichCellsRestOnTooFewRequests) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 32}); });
  // The server counts three tokens a text, so a bound on tokens is one on requests: not 20 for both cells together.
  const std::string texts = folder_ / "texts.txt";
  std::ofstream(texts) << "a\nb\n";
  const std::vector<std::string> args = {"--api-base",    server.url() + "/v1",
                                         "--model",       "m",
                                         "--dimensions",  "32",
                                         "--concurrency", "2",
                                         "--batch-size",  "2",
                                         "--max-tokens",  "64",
                                         "--texts",       texts};
  const ProcessResult few = Bench(args);
  EXPECT_EQ(few.exit_code, 0) << few.err;
  EXPECT_THAT(few.out, AllOf(HasSubstr("  few\n"), HasSubstr("this rests on "), HasSubstr(" on less than 20 requests"),
                             HasSubstr("--max-tokens")));
  std::vector<std::string> json = args;
  json.push_back("--json");
  EXPECT_THAT(Bench(json).out,
              AllOf(HasSubstr(R"("too_few_requests":true)"), HasSubstr(R"("knee_too_few_requests":true)")));
}

TEST_F(BenchEndpointTest, AFileOfTextsIsSent) {
  const std::string path = folder_ / "texts.txt";
  std::ofstream(path) << "first line\n\nsecond line\n";
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 32}); });
  const ProcessResult bench = BenchTokens("64", {"--api-base", server.url() + "/v1", "--model", "m", "--dimensions",
                                                 "32", "--concurrency", "1", "--batch-size", "1", "--texts", path});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(server.requests().at(1).body, HasSubstr("\"first line\""));
  EXPECT_THAT(server.requests().at(2).body, HasSubstr("\"second line\""));
  EXPECT_EQ(Bench({"--embedder", "builtin", "--texts", folder_ / "none"}).exit_code, 2);
}

TEST_F(BenchEndpointTest, ARefusedKeyEndsItAtOnce) {
  ScriptedServer server(
      [](const ServerRequest&) { return OpenAiError(401, "invalid_api_key", "invalid_request_error", "no such key"); });
  const ProcessResult bench = Bench({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "32"});
  EXPECT_EQ(bench.exit_code, 6) << bench.err;
  EXPECT_THAT(bench.err, HasSubstr("no such key"));
  EXPECT_EQ(server.request_count(), 1);
}

TEST_F(BenchEndpointTest, MoreAtATimeIsNotTriedWhereEverythingIsRefused) {
  ScriptedServer server([](const ServerRequest& request) {
    return request.number == 0 ? OpenAiAnswer(request, {.dim = 32})
                               : OpenAiError(429, "rate_limit_exceeded", "tokens", "Rate limit reached");
  });
  const ProcessResult bench = Bench({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "32",
                                     "--concurrency", "16", "--batch-size", "8"});
  EXPECT_EQ(bench.exit_code, 5) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("Rate limit reached"), HasSubstr("nothing could be measured")));
  EXPECT_EQ(server.request_count(), 1 + 2) << "one for each batch size";
}

TEST_F(BenchEndpointTest, CtrlCShowsWhatIsMeasuredSoFar) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 32}); });
  Process bench(
      Args({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "32", "--concurrency", "512"}), Room());
  ASSERT_TRUE(bench.WaitFor("          1      1 ")) << bench.err();
  bench.Signal(SIGINT);
  const ProcessResult result = bench.Wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("the knee"), HasSubstr("tokens were used")));
}

TEST_F(BenchEndpointTest, HelpHasRealCommands) {
  const ProcessResult help = RunProcess({REEMBED_BINARY, "bench", "endpoint", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("reembed bench endpoint --embedder openai"), HasSubstr("--max-tokens"),
                              HasSubstr("--texts"), Not(HasSubstr("--target"))));
}

}  // namespace
}  // namespace reembed
