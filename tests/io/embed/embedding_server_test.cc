// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server.h"

#include <simdjson.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/text/lexical_embedder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/raw_http.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Vectors = std::vector<std::vector<float>>;

std::unique_ptr<EmbeddingServer> StartServer(const EmbeddingServerOptions& options = {}) {
  absl::StatusOr<std::unique_ptr<EmbeddingServer>> server = EmbeddingServer::Start(options);
  EXPECT_THAT(server, IsOk());
  return *std::move(server);
}

RawHttpReply Ask(const EmbeddingServer& server, absl::string_view body) {
  return RawHttpClient(server.port()).Post("/v1/embeddings", body);
}

std::vector<float> Expected(absl::string_view text, int dim = 512) {
  std::vector<float> vector(dim);
  EmbedLexically(text, absl::MakeSpan(vector));
  return vector;
}

// The vectors of a reply, by a parser that knows nothing of how it was written; their order must be that of `index`.
Vectors VectorsOf(const RawHttpReply& reply) {
  EXPECT_EQ(reply.status, 200) << reply.body.substr(0, 300);
  Vectors vectors;
  simdjson::dom::parser parser;
  simdjson::dom::element document;
  if (parser.parse(reply.body).get(document) != simdjson::SUCCESS) return vectors;
  EXPECT_EQ(std::string_view(document["object"]), "list");
  for (const simdjson::dom::element item : document["data"]) {
    EXPECT_EQ(int64_t(item["index"]), static_cast<int64_t>(vectors.size()));
    EXPECT_EQ(std::string_view(item["object"]), "embedding");
    std::vector<float>& vector = vectors.emplace_back();
    if (item["embedding"].is_string()) {
      std::string bytes;
      EXPECT_TRUE(absl::Base64Unescape(std::string(std::string_view(item["embedding"])), &bytes));
      vector.resize(bytes.size() / sizeof(float));
      std::memcpy(vector.data(), bytes.data(), vector.size() * sizeof(float));
    } else {
      for (const double value : item["embedding"].get_array()) vector.push_back(static_cast<float>(value));
    }
  }
  return vectors;
}

std::string ErrorOf(const RawHttpReply& reply) {
  simdjson::dom::parser parser;
  const simdjson::dom::element error = parser.parse(reply.body)["error"];
  const auto text = [&error](const char* name) {
    const simdjson::dom::element value = error[name];
    return value.is_null() ? std::string("null") : std::string(std::string_view(value));
  };
  EXPECT_NE(text("message"), "null");
  return absl::StrCat(reply.status, " ", text("type"), " ", text("param"), " ", text("code"));
}

TEST(EmbeddingServerTest, EmbedsOneText) {
  const auto server = StartServer();
  const RawHttpReply reply = Ask(*server, R"({"input":"hello world","model":"m"})");
  EXPECT_THAT(VectorsOf(reply), ElementsAre(Expected("hello world")));
  EXPECT_EQ(reply.Header("content-type"), "application/json");
  EXPECT_THAT(reply.body, HasSubstr(R"("model":"m","usage":{"prompt_tokens":2,"total_tokens":2}})"));
}

TEST(EmbeddingServerTest, EmbedsListsInBothEncodingsExactly) {
  const auto server = StartServer();
  const char* const inputs = R"(["one", "two \"quoted\" \\", "\u00e9\ud83d\ude00\n" ])";
  const Vectors expected = {Expected("one", 96), Expected("two \"quoted\" \\", 96),
                            Expected("\xC3\xA9\xF0\x9F\x98\x80\n", 96)};
  for (const char* const format : {R"("float")", R"("base64")", "null"}) {
    const RawHttpReply reply = Ask(*server, absl::StrCat(R"({"user":{"a":[1,{}]},"encoding_format":)", format,
                                                         R"(,"model":"x","dimensions":96,"input":)", inputs, "}"));
    EXPECT_EQ(VectorsOf(reply), expected) << format;
  }
}

TEST(EmbeddingServerTest, EchoesAnyModelName) {
  const auto server = StartServer();
  EXPECT_THAT(Ask(*server, R"({"input":"a","model":"text-embedding-3-\"large\""})").body,
              HasSubstr(R"("model":"text-embedding-3-\"large\"")"));
}

TEST(EmbeddingServerTest, ServesTheBarePathsAndTheOtherEndpoints) {
  const auto server = StartServer();
  RawHttpClient client(server->port());
  EXPECT_EQ(client.Post("/embeddings?x=1", R"({"input":"a","model":"m"})").status, 200);
  EXPECT_EQ(client.Get("/health").body, R"({"status":"ok"})");
  for (const char* const path : {"/v1/models", "/models"}) {
    EXPECT_THAT(client.Get(path).body, HasSubstr(R"("id":"reembed-lexical-1")"));
  }
  const RawHttpReply wrong_method = client.Get("/v1/embeddings");
  EXPECT_EQ(ErrorOf(wrong_method), "405 invalid_request_error null method_not_allowed");
  EXPECT_EQ(wrong_method.Header("allow"), "POST");
  EXPECT_EQ(client.Post("/v1/models", "{}").status, 405);
  EXPECT_EQ(ErrorOf(client.Get("/v1/chat/completions")), "404 invalid_request_error null unknown_url");
  client.Send("HEAD /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  EXPECT_EQ(client.ReceiveHead().status, 200);
}

TEST(EmbeddingServerTest, RefusesWhatOpenAiRefuses) {
  const auto list_of = [](int n) {
    return absl::StrCat("[", absl::StrJoin(std::vector<std::string>(n, R"("t")"), ","), "]");
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"model":"m","input":""})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":["a","" ,"b"]})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":[]})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":[1,2,3]})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":[[1,2],[3]]})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":["a",null]})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":{"text":"a"}})", "400 invalid_request_error input null"},
      {R"({"model":"m","input":7})", "400 invalid_request_error input null"},
      {absl::StrCat(R"({"model":"m","input":)", list_of(2049), "}"), "400 invalid_request_error input null"},
      {R"({"model":"m"})", "400 invalid_request_error input missing_required_parameter"},
      {R"({"input":"a"})", "400 invalid_request_error model missing_required_parameter"},
      {R"({"model":7,"input":"a"})", "400 invalid_request_error model null"},
      {R"({"model":"m","input":"a","dimensions":31})", "400 invalid_request_error dimensions null"},
      {R"({"model":"m","input":"a","dimensions":4097})", "400 invalid_request_error dimensions null"},
      {R"({"model":"m","input":"a","dimensions":"64"})", "400 invalid_request_error dimensions null"},
      {R"({"model":"m","input":"a","encoding_format":"int8"})", "400 invalid_request_error encoding_format null"},
      {"", "400 invalid_request_error null null"},
      {"[]", "400 invalid_request_error null null"},
      {R"({"model":"m","input":"a"} x)", "400 invalid_request_error null null"},
      {R"({"model":"m","input":"a"} {})", "400 invalid_request_error null null"},
      {R"({"model":"m","input":"a")", "400 invalid_request_error null null"},
      {R"({"model":"m","input":["a"})", "400 invalid_request_error null null"},
      {"{\"model\":\"m\",\"input\":\"\xFF\"}", "400 invalid_request_error null null"},
  };
  for (const EmbeddingServerMode mode : {EmbeddingServerMode::kLexical, EmbeddingServerMode::kPrepared}) {
    EmbeddingServerOptions options;
    options.mode = mode;
    const auto server = StartServer(options);
    RawHttpClient client(server->port());
    for (const auto& [body, error] : cases) EXPECT_EQ(ErrorOf(client.Post("/v1/embeddings", body)), error) << body;
    EXPECT_EQ(server->counts().refused, static_cast<int64_t>(cases.size()));
    EXPECT_EQ(server->counts().texts, 0);
    EXPECT_EQ(client.Post("/v1/embeddings", absl::StrCat(R"({"model":"m","input":)", list_of(2048), "}")).status, 200);
  }
}

TEST(EmbeddingServerTest, SurvivesDeepNesting) {
  const auto server = StartServer();
  RawHttpClient client(server->port());
  const std::string deep(100000, '[');
  EXPECT_EQ(client.Post("/v1/embeddings", absl::StrCat(R"({"model":"m","input":)", deep, "}")).status, 400);
  EXPECT_EQ(client.Post("/v1/embeddings", absl::StrCat(R"({"model":"m","x":)", deep, R"(,"input":"a"})")).status, 400);
}

TEST(EmbeddingServerTest, AsksForItsKeyEverywhereButForHealth) {
  EmbeddingServerOptions options;
  options.api_key = "sk-right";
  const auto server = StartServer(options);
  RawHttpClient client(server->port());
  const char* const body = R"({"input":"a","model":"m"})";
  EXPECT_EQ(client.Post("/v1/embeddings", body, "Authorization: Bearer sk-right\r\n").status, 200);
  EXPECT_EQ(client.Post("/v1/embeddings", body, "Authorization: bEARER  sk-right\r\n").status, 200);
  for (const char* const header : {"", "Authorization: Bearer sk-wrong\r\n", "Authorization: sk-right\r\n"}) {
    const RawHttpReply reply = client.Post("/v1/embeddings", body, header);
    EXPECT_EQ(ErrorOf(reply), "401 invalid_request_error null invalid_api_key");
    EXPECT_THAT(reply.body, Not(HasSubstr("sk-")));
  }
  EXPECT_EQ(client.Get("/v1/models").status, 401);
  EXPECT_EQ(client.Get("/health").status, 200);
}

// A web page whose name leads to this machine knows no key; a proxy before the server may hand on its own name.
TEST(EmbeddingServerTest, WithoutAKeyItIsAskedByTheNamesOfThisMachineAlone) {
  for (const std::string key : {"", "sk-right"}) {
    EmbeddingServerOptions options;
    options.api_key = key;
    const auto server = StartServer(options);
    RawHttpClient client(server->port());
    client.Send("GET /v1/models HTTP/1.1\r\nhost: some.example\r\nauthorization: Bearer sk-right\r\n\r\n");
    EXPECT_EQ(client.Receive().status, key.empty() ? 403 : 200);
  }
}

TEST(EmbeddingServerTest, PreparedRepliesHaveAsManyUnitVectorsAsInputs) {
  EmbeddingServerOptions options;
  options.mode = EmbeddingServerMode::kPrepared;
  const auto server = StartServer(options);
  const char* const two = R"({"model":"m","dimensions":64,"encoding_format":"base64","input":["a]\",\"","b"]})";
  const Vectors vectors = VectorsOf(Ask(*server, two));
  ASSERT_THAT(vectors, SizeIs(2));
  EXPECT_NE(vectors[0], vectors[1]);
  for (const std::vector<float>& vector : vectors) {
    double square = 0;
    for (const float value : vector) square += double{value} * value;
    EXPECT_NEAR(square, 1, 1e-6);
  }
  EXPECT_EQ(VectorsOf(Ask(*server, two)), vectors);
  EXPECT_EQ(VectorsOf(Ask(*server, R"({"model":"n","dimensions":64,"input":["other","texts"]})")), vectors);
  EXPECT_THAT(VectorsOf(Ask(*server, R"({"model":"n","input":"one"})")), ElementsAre(SizeIs(512)));
  EXPECT_EQ(server->counts().texts, 7);
}

TEST(EmbeddingServerTest, LatencyDelaysRepliesAndLetsThemOverlap) {
  EmbeddingServerOptions options;
  options.speed.latency = absl::Milliseconds(60);
  const auto server = StartServer(options);  // one thread
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(std::make_unique<RawHttpClient>(server->port()));
  const std::string body = R"({"model":"m","input":"a"})";
  const auto begin = std::chrono::steady_clock::now();
  for (auto& client : clients) {
    client->Send(absl::StrCat("POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ", body.size(),
                              "\r\n\r\n", body));
  }
  for (auto& client : clients) EXPECT_EQ(client->Receive().status, 200);
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(elapsed, std::chrono::milliseconds(60));
  EXPECT_LT(elapsed, std::chrono::milliseconds(60 * 50));  // one after the other
}

TEST(EmbeddingServerTest, RefusesBeyondItsQuota) {
  EmbeddingServerOptions options;
  options.limits.requests_per_minute = 3;
  options.limits.tokens_per_minute = 100;
  const auto server = StartServer(options);
  RawHttpClient client(server->port());
  const char* const body = R"({"model":"m","input":"abcdefgh"})";
  const RawHttpReply first = client.Post("/v1/embeddings", body);
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(first.Header("x-ratelimit-limit-requests"), "3");
  EXPECT_EQ(first.Header("x-ratelimit-remaining-requests"), "2");
  EXPECT_EQ(first.Header("x-ratelimit-remaining-tokens"), "98");
  const RawHttpReply too_large =
      client.Post("/v1/embeddings", absl::StrCat(R"({"model":"m","input":")", std::string(1000, 'x'), R"("})"));
  EXPECT_EQ(ErrorOf(too_large), "429 tokens null rate_limit_exceeded");
  EXPECT_THAT(too_large.body, HasSubstr("Request too large for m on tokens per min (TPM): Limit 100, Requested 250."));
  EXPECT_EQ(too_large.Header("retry-after"), "");
  EXPECT_EQ(client.Post("/v1/embeddings", body).status, 200);
  EXPECT_EQ(client.Post("/v1/embeddings", body).status, 200);
  const RawHttpReply refused = client.Post("/v1/embeddings", body);
  EXPECT_EQ(ErrorOf(refused), "429 requests null rate_limit_exceeded");
  int retry_after = 0;
  EXPECT_TRUE(absl::SimpleAtoi(refused.Header("retry-after"), &retry_after));
  EXPECT_THAT(retry_after, Gt(10));
}

TEST(EmbeddingServerTest, TellsItsAddressAndWhatIsWrongWithIt) {
  const auto server = StartServer();
  EXPECT_EQ(server->base_url(), absl::StrCat("http://127.0.0.1:", server->port(), "/v1"));
  EmbeddingServerOptions options;
  options.dim = 31;
  EXPECT_THAT(EmbeddingServer::Start(options).status(), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("31")));
  options = {};
  options.port = server->port();
  EXPECT_THAT(EmbeddingServer::Start(options).status(),
              HasError(absl::StatusCode::kUnavailable, StartsWith("127.0.0.1:")));
}

TEST(EmbeddingServerTest, WorksForManyThreads) {
  EmbeddingServerOptions options;
  options.threads = 3;
  const auto server = StartServer(options);
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 64; ++i) clients.push_back(std::make_unique<RawHttpClient>(server->port()));
  for (int i = 0; i < 64; ++i) {
    const std::string body = absl::StrCat(R"({"model":"m","encoding_format":"base64","input":"text )", i, R"("})");
    clients[i]->Send(absl::StrCat("POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ", body.size(),
                                  "\r\n\r\n", body));
  }
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(VectorsOf(clients[i]->Receive()), Vectors{Expected(absl::StrCat("text ", i))});
  }
}

}  // namespace
}  // namespace reembed
