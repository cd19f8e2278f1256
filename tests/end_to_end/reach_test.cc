// SPDX-License-Identifier: Apache-2.0
// The command on its way to servers: addresses as people paste them, proxies, headers and fields that an API wants.

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 8;
constexpr int kRows = 5;
constexpr char kKey[] = "sk-very-secret-0123456789";

class ReachTest : public ::testing::Test {
 protected:
  ReachTest() {
    std::ofstream rows(folder_ / "rows.jsonl");
    for (int i = 0; i < kRows; ++i) rows << R"({"id":)" << i << R"(,"text":"row )" << i << "\"}\n";
  }

  void Serve(ScriptedServer::Handler handler) { server_ = std::make_unique<ScriptedServer>(std::move(handler)); }

  // Good answers at this target, and 404 elsewhere.
  void ServeAt(const std::string& target) {
    Serve([target](const ServerRequest& request) {
      if (request.target == target) return OpenAiAnswer(request);
      return ServerReply{.status = 404, .body = R"({"error":{"code":"404","message":"Resource not found"}})"};
    });
  }

  // A new job each time.
  ProcessResult Run(const std::vector<std::string>& more, std::map<std::string, std::string> environment = {},
                    const std::string& command = "run") {
    std::filesystem::remove_all(folder_ / "job");
    std::filesystem::remove(out());
    std::vector<std::string> args = {REEMBED_BINARY, command,
                                     "--source",     absl::StrCat("jsonl:", folder_ / "rows.jsonl"),
                                     "--target",     absl::StrCat("jsonl:", out()),
                                     "--job",        folder_ / "job",
                                     "--model",      "m",
                                     "--dimensions", absl::StrCat(kDim),
                                     "--max-wait",   "0.05",
                                     "--yes",        "--progress",
                                     "off"};
    args.insert(args.end(), more.begin(), more.end());
    for (const char* const name :
         {"OPENAI_BASE_URL", "OLLAMA_BASE_URL", "OLLAMA_HOST", "http_proxy", "all_proxy", "no_proxy", "NO_PROXY"}) {
      environment.emplace(name, "");
    }
    environment.emplace("OPENAI_API_KEY", kKey);
    environment.emplace("AZURE_OPENAI_API_KEY", kKey);
    environment.emplace("HOME", folder_.path());
    environment.emplace("XDG_STATE_HOME", folder_ / "state");
    ProcessResult result = RunProcess(args, environment);
    EXPECT_THAT(result.out + result.err, Not(HasSubstr(kKey)));
    return result;
  }

  std::string out() const { return folder_ / "out.jsonl"; }
  int Vectors() const {
    std::ifstream file(out());
    int lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    return lines;
  }
  std::string JobFile() const {
    std::ifstream file(folder_ / "job/job.toml");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string port() const { return server_->url().substr(server_->url().rfind(':') + 1); }

  TempFolder folder_;
  std::unique_ptr<ScriptedServer> server_;
};

TEST_F(ReachTest, AnAddressIsUnderstoodAsItIsPasted) {
  struct Case {
    const char* embedder;
    const char* pasted;  // behind the host
    const char* target;
  };
  for (const Case& c : {Case{"openai", "/models?api-version=1", "/models/embeddings?api-version=1"},
                        {"openai", "/v1/embeddings", "/v1/embeddings"},
                        {"openai", "/v1/embeddings/", "/v1/embeddings/"},
                        {"azure", "/openai/deployments/dep/embeddings?api-version=2023-05-15",
                         "/openai/deployments/dep/embeddings?api-version=2023-05-15"}}) {
    ServeAt(c.target);
    const ProcessResult run = Run({"--embedder", c.embedder, "--api-base", server_->url() + c.pasted});
    EXPECT_EQ(run.exit_code, 0) << c.pasted << "\n" << run.err;
    EXPECT_EQ(Vectors(), kRows) << c.pasted;
    const ProcessResult endpoint = Run({"--embedder", c.embedder, "--endpoint", server_->url() + c.pasted});
    EXPECT_EQ(endpoint.exit_code, 0) << c.pasted << "\n" << endpoint.err;
  }
}

TEST_F(ReachTest, ASecretInAnAddressIsRefusedAndNotShown) {
  const ProcessResult run = Run({"--api-base", absl::StrCat("http://127.0.0.1:1/v1?key=", kKey)});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("its query has a secret in `key`"));
}

TEST_F(ReachTest, AnAddressOfAnotherApiIsSaid) {
  const ProcessResult run = Run({"--embedder", "openai", "--api-base", "http://127.0.0.1:1/api/embed"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("say --embedder ollama"));
}

TEST_F(ReachTest, OllamaHostIsTakenAsOllamaTakesIt) {
  Serve([](const ServerRequest& request) {
    if (request.target != "/api/embed") return ServerReply{.status = 404};
    std::string vectors;
    for (const std::string& text : TextsOf(request.body)) {
      absl::StrAppend(&vectors, vectors.empty() ? "[" : ",[", absl::StrJoin(TextVector(text, kDim), ","), "]");
    }
    return ServerReply{.body = absl::StrCat(R"({"model":"m","embeddings":[)", vectors, "]}")};
  });
  for (const std::string& host : {absl::StrCat("127.0.0.1:", port()), absl::StrCat("0.0.0.0:", port()),
                                  server_->url() + "/", absl::StrCat("\"127.0.0.1:", port(), "\""),
                                  absl::StrCat(" 127.0.0.1:", port(), " "), absl::StrCat(":", port())}) {
    const ProcessResult run = Run({"--embedder", "ollama"}, {{"OLLAMA_HOST", host}});
    EXPECT_EQ(run.exit_code, 0) << host << "\n" << run.err;
  }
  // A pasted route says itself whose it is.
  const ProcessResult pasted = Run({"--api-base", server_->url() + "/api/embed"});
  EXPECT_EQ(pasted.exit_code, 0) << pasted.err;
  EXPECT_THAT(pasted.err, HasSubstr("--embedder ollama"));
}

TEST_F(ReachTest, ThisMachineIsReachedWithoutAProxy) {
  ServeAt("/v1/embeddings");
  const std::string base = server_->url() + "/v1";
  EXPECT_EQ(Run({"--api-base", base}, {{"http_proxy", "http://127.0.0.1:9"}}).exit_code, 0);
  const ProcessResult asked = Run({"--api-base", base, "--proxy", "http://me:pa55word@127.0.0.1:9"});
  EXPECT_EQ(asked.exit_code, 5);
  EXPECT_THAT(asked.err, AllOf(HasSubstr("through the proxy http://127.0.0.1:9"), Not(HasSubstr("pa55word"))));
}

TEST_F(ReachTest, FieldsThatAnApiWantsAreSent) {
  Serve([](const ServerRequest& request) {
    if (absl::StrContains(request.body, R"("input_type":"passage","truncate":"END")")) return OpenAiAnswer(request);
    return ServerReply{.status = 400, .body = R"({"detail":"'input_type' parameter is required"})"};
  });
  const std::vector<std::string> flags = {"--api-base",         server_->url() + "/v1", "--body-field",
                                          "input_type=passage", "--body-field",         "truncate=END"};
  const ProcessResult run = Run(flags);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Vectors(), kRows);
  EXPECT_THAT(JobFile(), HasSubstr("input_type=passage"));
  // The job remembers them.
  const ProcessResult sample = RunProcess({REEMBED_BINARY, "verify", folder_ / "job", "--sample", "2"},
                                          {{"OPENAI_API_KEY", kKey}, {"HOME", folder_.path()}});
  EXPECT_EQ(sample.exit_code, 0) << sample.out << sample.err;
  // They make other vectors, so they make another job.
  const ProcessResult other = RunProcess({REEMBED_BINARY, "run", folder_ / "job/job.toml", "--job", folder_ / "job",
                                          "--body-field", "input_type=query", "--yes", "--progress", "off"},
                                         {{"OPENAI_API_KEY", kKey}, {"HOME", folder_.path()}});
  EXPECT_NE(other.exit_code, 0) << other.err;
}

// NVIDIA NIM's models for search refuse requests without it; what nobody said is not told.
TEST_F(ReachTest, AnInputTypeThatIsSaidIsTold) {
  Serve([](const ServerRequest& request) {
    if (absl::StrContains(request.body, R"("input_type":"passage")")) return OpenAiAnswer(request);
    return ServerReply{.status = 400, .body = R"({"detail":"'input_type' parameter is required"})"};
  });
  const std::string base = server_->url() + "/v1";
  const ProcessResult run = Run({"--api-base", base, "--input-type", "document"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Vectors(), kRows);
  EXPECT_NE(Run({"--api-base", base}).exit_code, 0);
  EXPECT_FALSE(absl::StrContains(server_->requests().back().body, "input_type"));
}

TEST_F(ReachTest, AFieldOfOursIsNotReplaced) {
  for (const char* command : {"run", "plan"}) {
    const ProcessResult run = Run({"--api-base", "http://127.0.0.1:1/v1", "--body-field", "input=[]"}, {}, command);
    EXPECT_EQ(run.exit_code, 2) << command;
    EXPECT_THAT(run.err, HasSubstr("--body-field input: reembed writes this field itself")) << command;
  }
  EXPECT_EQ(Run({"--api-base", "http://127.0.0.1:1/v1", "--body-field", "nothing"}).exit_code, 2);
  const ProcessResult secret = Run({"--api-base", "http://127.0.0.1:1/v1", "--body-field", absl::StrCat("k=", kKey)});
  EXPECT_EQ(secret.exit_code, 2);
}

TEST_F(ReachTest, AHeaderIsASecretByItsValue) {
  Serve([](const ServerRequest& request) {
    const auto header = request.headers.find("x-portkey-provider");
    if (header != request.headers.end() && header->second == "openai") return OpenAiAnswer(request);
    return ServerReply{.status = 400, .body = "{}"};
  });
  const std::string base = server_->url() + "/v1";
  EXPECT_EQ(Run({"--api-base", base, "--header", "x-portkey-provider: openai"}).exit_code, 0);
  for (const std::string& header :
       {absl::StrCat("x-thing: ", kKey), std::string("x-thing: Bearer abc"), std::string("Authorization: abc")}) {
    const ProcessResult run = Run({"--api-base", base, "--header", header});
    EXPECT_EQ(run.exit_code, 2) << header;
    EXPECT_THAT(run.err, HasSubstr("--header-env")) << header;
  }
}

TEST_F(ReachTest, SearchTakesWhatRunTakes) {
  Serve([](const ServerRequest& request) {
    const bool good = request.headers.count("x-mine") == 1 && request.target == "/v1/embeddings?a=b";
    return good ? OpenAiAnswer(request) : ServerReply{.status = 400, .body = R"({"error":{"message":"no"}})"};
  });
  const std::string base = server_->url() + "/v1?a=b";
  const std::string matrix = absl::StrCat("npy:", folder_ / "rows.npy");
  const ProcessResult run =
      Run({"--api-base", base, "--header", "x-mine: 1", "--body-field", "input_type=passage", "--target", matrix});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ProcessResult search =
      RunProcess({REEMBED_BINARY, "search", "row 1", "--target", matrix, "--embedder", "openai", "--model", "m",
                  "--api-base", base, "--body-field", "input_type=query", "--header", "x-mine: 1"},
                 {{"OPENAI_API_KEY", kKey}, {"HOME", folder_.path()}, {"OPENAI_BASE_URL", ""}});
  EXPECT_EQ(search.exit_code, 0) << search.out << search.err;
  EXPECT_THAT(server_->requests().back().body, HasSubstr(R"("input_type":"query")"));
}

}  // namespace
}  // namespace reembed
