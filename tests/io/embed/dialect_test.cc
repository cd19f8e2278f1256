// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect.h"

#include <future>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/api_client.h"
#include "tests/fakes/dialect_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;

constexpr int kDim = DialectServer::kDim;

ApiOptions OptionsFor(const std::string& dialect, const std::string& api_base) {
  return {.dialect = dialect,
          .api_base = api_base,
          .api_key = DialectServer::kKey,
          .model = {.name = DialectServer::kModel, .dim = kDim},
          .retry = {.max_attempts = 3, .first_backoff = absl::Milliseconds(1), .max_wait = absl::Milliseconds(20)},
          .seed = 1};
}

// The texts of one batch on their way through a client.
struct Sent {
  std::unique_ptr<Batch> batch;
  absl::Status status;  // of Send, else of Decode
  ClientStats stats;

  std::vector<float> vector(int i) const {
    const auto row = batch->vectors().subspan(i * batch->dim(), batch->dim());
    return {row.begin(), row.end()};
  }
  const absl::Status& reject(int i) const { return batch->texts()[i].reject; }
};

Sent SendAll(const ApiOptions& options, const std::vector<std::string>& texts) {
  Sent sent;
  sent.batch = std::make_unique<Batch>(BatchLimits{.max_texts = 8192, .max_rows = 8192}, options.model.dim);
  for (size_t i = 0; i < texts.size(); ++i) {
    sent.batch->AddRowWithText(i, KeyView(static_cast<int64_t>(i)), i, texts[i], DialectServer::Tokens(texts[i]));
  }
  const auto client = MakeApiClient(options);
  sent.status = client.status();
  if (!sent.status.ok()) return sent;
  std::promise<absl::Status> answered;
  (*client)->Send(sent.batch.get(), Done([&](absl::Status status) { answered.set_value(std::move(status)); }));
  sent.status = answered.get_future().get();
  if (sent.status.ok()) sent.status = (*client)->Decode(sent.batch.get());
  sent.stats = (*client)->stats();
  return sent;
}

void ExpectVectorsOf(const Sent& sent, const std::vector<std::string>& texts) {
  ASSERT_THAT(sent.status, IsOk());
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_THAT(sent.reject(i), IsOk());
    ASSERT_EQ(sent.vector(i), TextVector(texts[i], sent.batch->dim())) << "text " << i;
  }
}

std::vector<std::string> Texts(int count) {
  std::vector<std::string> texts = {"a \"quoted\"\n\\ text", "\xc3\xbcn\xc3\xaf", "</script> \x01 \xf0\x9f\x98\x80"};
  while (static_cast<int>(texts.size()) < count) texts.push_back(absl::StrCat("text number ", texts.size()));
  texts.resize(count);
  return texts;
}

std::string LongText() {
  std::string text = "a long text:";
  while (text.size() <= DialectServer::kMaxTextBytes) text.append(" and so on");
  return text;
}

// ---- Every dialect ----

class DialectTest : public ::testing::TestWithParam<std::string> {
 protected:
  DialectTest() : server_(GetParam()), options_(OptionsFor(GetParam(), server_.api_base())) {}
  const Dialect& dialect() const { return *FindDialect(GetParam()); }

  DialectServer server_;
  ApiOptions options_;
};

TEST_P(DialectTest, GivesEachTextItsVector) {
  const std::vector<std::string> texts = Texts(7);
  const Sent sent = SendAll(options_, texts);
  ExpectVectorsOf(sent, texts);
  EXPECT_EQ(server_.refusals(), 0);
  EXPECT_EQ(sent.stats.requests, 1);
  // TEI and Gemini charge nothing that a reply shows; then it is our own count, which here is the same.
  EXPECT_EQ(sent.stats.tokens, server_.tokens());
}

TEST_P(DialectTest, TakesNumbersToo) {
  options_.encoding = ReplyFormat::kFloat;
  ExpectVectorsOf(SendAll(options_, Texts(5)), Texts(5));
}

TEST_P(DialectTest, AsksForAnotherWidthByItsOwnName) {
  options_.model.dim = 5;
  options_.dimensions = 5;
  const Sent sent = SendAll(options_, Texts(3));
  if (dialect().resizes) {
    ExpectVectorsOf(sent, Texts(3));
  } else {
    EXPECT_THAT(sent.status, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("another width")));
    EXPECT_THAT(server_.requests(), IsEmpty());
  }
}

TEST_P(DialectTest, MoreTextsThanARequestTakesAreSplitBeforeTheyAreSent) {
  const int most = dialect().limits.inputs > 0 ? dialect().limits.inputs : 300;
  const std::vector<std::string> texts = Texts(most + 1);
  const Sent sent = SendAll(options_, texts);
  ExpectVectorsOf(sent, texts);
  EXPECT_EQ(server_.refusals(), 0);
  EXPECT_EQ(sent.stats.requests_retried, 0);
  EXPECT_EQ(sent.stats.requests, dialect().limits.inputs > 0 ? 2 : 1);
}

TEST_P(DialectTest, QueriesHaveAFormOfTheirOwnWhereTheApiKnowsIt) {
  ExpectVectorsOf(SendAll(options_, Texts(1)), Texts(1));
  options_.use = InputUse::kQuery;
  ExpectVectorsOf(SendAll(options_, Texts(1)), Texts(1));
  const std::vector<ServerRequest> requests = server_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].body != requests[1].body, dialect().knows_use);
}

// Trap 1: a vector of half a text is worse than none.
TEST_P(DialectTest, TrapOneNoTextIsCutUnlessThatIsWanted) {
  const std::vector<std::string> texts = {"short", LongText(), "also short"};
  // The limit that models.toml would know.
  if (dialect().long_input == LongInput::kCutSilently) options_.refused_tokens = DialectServer::kMaxTextBytes / 4;
  const Sent sent = SendAll(options_, texts);
  ASSERT_THAT(sent.status, IsOk());
  EXPECT_THAT(sent.reject(0), IsOk());
  EXPECT_THAT(sent.reject(1), Not(IsOk()));
  EXPECT_THAT(sent.reject(2), IsOk());
  EXPECT_EQ(sent.vector(0), TextVector(texts[0], kDim));
  EXPECT_EQ(sent.vector(1), std::vector<float>(kDim, 0));
  EXPECT_EQ(sent.vector(2), TextVector(texts[2], kDim));
  EXPECT_THAT(std::string(sent.reject(1).message()), Not(HasSubstr("and so on and so on")));
}

using CuttingDialectTest = DialectTest;
TEST_P(CuttingDialectTest, TextsAreCutWhereThatIsWanted) {
  options_.truncate = true;
  const Sent sent = SendAll(options_, {LongText()});
  ExpectVectorsOf(sent, {LongText().substr(0, DialectServer::kMaxTextBytes)});
}

TEST_P(DialectTest, AWrongKeyEndsTheRunAndIsNotShown) {
  options_.api_key = "sk-9876543210";
  const Sent sent = SendAll(options_, Texts(4));
  EXPECT_THAT(sent.status, HasError(absl::StatusCode::kUnauthenticated, HasSubstr("check the API key")));
  EXPECT_THAT(std::string(sent.status.message()), Not(HasSubstr("987654")));
  EXPECT_EQ(sent.stats.requests, 1);
}

using ModelDialectTest = DialectTest;
TEST_P(ModelDialectTest, AMissingModelEndsTheRunWithTheFirstRequest) {
  options_.model.name = "no-such-model";
  const Sent sent = SendAll(options_, Texts(4));
  EXPECT_THAT(sent.status, HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("check the model's name")));
  EXPECT_EQ(sent.stats.requests, 1);
}

TEST_P(DialectTest, TheProbeSeesWidthAndEncoding) {
  const absl::StatusOr<ApiProbe> probe = ProbeApi(options_);
  ASSERT_THAT(probe, IsOk());
  EXPECT_EQ(probe->width, kDim);
  EXPECT_EQ(probe->base64, dialect().base64);
  EXPECT_GT(probe->norm, 0);
  EXPECT_EQ(probe->stats.requests, 1);
  EXPECT_EQ(server_.requests().size(), 1u);
}

std::vector<std::string> Names(bool (*wanted)(const Dialect&)) {
  std::vector<std::string> names;
  for (const Dialect& dialect : Dialects()) {
    if (wanted(dialect)) names.push_back(dialect.name);
  }
  return names;
}

std::string NameOf(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

INSTANTIATE_TEST_SUITE_P(Apis, DialectTest, ::testing::ValuesIn(Names([](const Dialect&) { return true; })), NameOf);

// vLLM refuses long texts unless it is asked to cut them; the others that refuse know no such switch.
INSTANTIATE_TEST_SUITE_P(Apis, CuttingDialectTest, ::testing::ValuesIn(Names([](const Dialect& dialect) {
                           return dialect.long_input != LongInput::kRefused || dialect.name == std::string("vllm");
                         })),
                         NameOf);

// A TEI server has one model, and its requests name none.
INSTANTIATE_TEST_SUITE_P(Apis, ModelDialectTest, ::testing::ValuesIn(Names([](const Dialect& dialect) {
                           return dialect.name != std::string("tei");
                         })),
                         NameOf);

// ---- The table ----

TEST(DialectTableTest, NamesAreUniqueAndLimitsMakeSense) {
  std::set<std::string> names;
  for (const Dialect& dialect : Dialects()) {
    EXPECT_TRUE(names.insert(dialect.name).second) << dialect.name;
    EXPECT_EQ(FindDialect(dialect.name), &dialect);
    EXPECT_GT(dialect.limits.default_inputs, 0) << dialect.name;
    if (dialect.limits.inputs > 0) {
      EXPECT_LE(dialect.limits.default_inputs, dialect.limits.inputs) << dialect.name;
    }
    // Keys go to strangers only where there is TLS.
    EXPECT_TRUE(dialect.self_hosted || *dialect.api_base == '\0' || absl::StartsWith(dialect.api_base, "https://"));
  }
  EXPECT_EQ(FindDialect("openal"), nullptr);
}

// ---- Traps ----

std::string BodyOf(const std::string& dialect, const std::vector<std::string>& texts) {
  DialectServer server(dialect);
  ExpectVectorsOf(SendAll(OptionsFor(dialect, server.api_base()), texts), texts);
  return server.requests().at(0).body;
}

// Several parts of one content become one vector, and nobody says so.
TEST(DialectTrapTest, TwoGeminiGetsOneContentForEachText) {
  EXPECT_EQ(BodyOf("gemini", {"one", "two"}),
            R"({"requests":[)"
            R"({"model":"models/fake-model","content":{"parts":[{"text":"one"}]},"taskType":"RETRIEVAL_DOCUMENT"},)"
            R"({"model":"models/fake-model","content":{"parts":[{"text":"two"}]},"taskType":"RETRIEVAL_DOCUMENT"}]})");
}

TEST(DialectTrapTest, TwoFewerVectorsThanTextsAreNotTaken) {
  ScriptedServer server(
      [](const ServerRequest&) { return ServerReply{.body = R"({"embeddings":[{"values":[1,0,0,0,0,0,0,0]}]})"}; });
  const Sent sent = SendAll(OptionsFor("gemini", server.url()), {"one", "two"});
  EXPECT_THAT(sent.status, HasError(absl::StatusCode::kDataLoss, HasSubstr("expected 2")));
}

TEST(DialectTrapTest, ThreeAPermanent500OfLlamaCppIsNotRetried) {
  DialectServer server("llamacpp");
  const Sent sent = SendAll(OptionsFor("llamacpp", server.api_base()), {LongText()});
  ASSERT_THAT(sent.status, IsOk());
  EXPECT_THAT(sent.reject(0), Not(IsOk()));
  EXPECT_EQ(sent.stats.requests, 1);
}

// A trial key that has had its calls of this month.
TEST(DialectTrapTest, FiveA429OfCohereMayMeanTheEndOfTheMonth) {
  ScriptedServer server([](const ServerRequest&) {
    return ServerReply{
        .status = 429,
        .body = R"({"message":"You are using a Trial key, which is limited to 1000 API calls / month."})"};
  });
  const Sent sent = SendAll(OptionsFor("cohere", server.url()), Texts(2));
  EXPECT_THAT(sent.status, HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("Trial key")));
  EXPECT_EQ(sent.stats.requests, 1);
}

// What TEI calls concurrent requests are inputs: its defaults and ours must fit into each other.
TEST(DialectTrapTest, FourTheDefaultsStayBelowTheInputsThatTeiTakesAtATime) {
  const DialectLimits& limits = FindDialect("tei")->limits;
  EXPECT_LE(limits.default_inputs * limits.default_concurrency, 512);
}

// x-ratelimit-reset-* says when the quota will be whole again. Who takes it for a wait waits six hours here.
TEST(DialectTrapTest, SixTheTimeToAWholeQuotaIsNoWait) {
  ScriptedServer server([](const ServerRequest& request) {
    ServerReply reply =
        request.number == 0
            ? OpenAiError(429, "rate_limit_exceeded", "", "Rate limit reached")
            : ServerReply{.body = OpenAiReply(TextsOf(request.body), VectorFormat::kBase64, {.dim = kDim})};
    reply.headers.insert(reply.headers.end(), {{"x-ratelimit-limit-requests", "600000"},
                                               {"x-ratelimit-remaining-requests", "599000"},
                                               {"x-ratelimit-reset-requests", "6h0m0s"},
                                               {"x-ratelimit-reset-tokens", "6h0m0s"}});
    if (request.number == 0) reply.headers.emplace_back("retry-after-ms", "1");
    return reply;
  });
  ApiOptions options = OptionsFor("openai", server.url());
  options.retry.max_wait = absl::Hours(12);
  const int texts = 3 * FindDialect("openai")->limits.inputs;
  ExpectVectorsOf(SendAll(options, Texts(texts)), Texts(texts));
  EXPECT_EQ(server.request_count(), 4);
}

TEST(DialectTrapTest, SevenTokensAreCountedWithoutPromptTokens) {
  for (const char* const dialect : {"voyage", "cohere", "ollama"}) {
    DialectServer server(dialect);
    // Our own count is wrong here, so it can only be the server's.
    ApiOptions options = OptionsFor(dialect, server.api_base());
    options.text_prefix = "a prefix that we do not count: ";
    const Sent sent = SendAll(options, Texts(3));
    ASSERT_THAT(sent.status, IsOk());
    EXPECT_EQ(sent.stats.tokens, server.tokens()) << dialect;
  }
}

// Where a reply has no index, several requests of a batch must still find their places.
TEST(DialectTrapTest, EightWithoutAnIndexTheOrderHolds) {
  for (const char* const dialect : {"tei", "ollama", "cohere", "gemini"}) {
    DialectServer server(dialect);
    ApiOptions options = OptionsFor(dialect, server.api_base());
    const int most = std::max(1, FindDialect(dialect)->limits.inputs);
    ExpectVectorsOf(SendAll(options, Texts(3 * most)), Texts(3 * most));
  }
}

TEST(DialectTrapTest, NineAServerThatKnowsNoBase64AnswersNumbers) {
  ScriptedServer server([](const ServerRequest& request) {
    return ServerReply{.body = OpenAiReply(TextsOf(request.body), VectorFormat::kFloat, {.dim = kDim})};
  });
  const ApiOptions options = OptionsFor("openai", server.url());
  ExpectVectorsOf(SendAll(options, Texts(4)), Texts(4));
  const absl::StatusOr<ApiProbe> probe = ProbeApi(options);
  ASSERT_THAT(probe, IsOk());
  EXPECT_FALSE(probe->base64);
}

TEST(DialectTrapTest, NineAServerThatRefusesBase64IsAskedForNumbers) {
  for (const char* const param : {"", "encoding_format"}) {
    ScriptedServer server([&](const ServerRequest& request) {
      if (!absl::StrContains(request.body, "base64")) return OpenAiAnswer(request, {.dim = kDim});
      return ServerReply{.status = 400,
                         .body = absl::StrCat(R"({"error":{"message":"bad encoding_format","type":"x","param":")",
                                              param, R"(","code":null}})")};
    });
    const absl::StatusOr<ApiProbe> probe = ProbeApi(OptionsFor("openai", server.url()));
    ASSERT_THAT(probe, IsOk());
    EXPECT_EQ(probe->encoding, ReplyFormat::kFloat);
    EXPECT_EQ(probe->width, kDim);
  }
}

// With late chunking the vector of a text would depend on its neighbours in the request.
TEST(DialectTrapTest, TenJinaIsAskedForNoLateChunking) {
  EXPECT_THAT(BodyOf("jina", {"one"}), HasSubstr(R"("late_chunking":false)"));
}

TEST(DialectTrapTest, VllmIsToldTheByteOrder) {
  EXPECT_THAT(BodyOf("vllm", {"one"}), HasSubstr(R"("endianness":"little")"));
}

// RFC 1952 with one stored block (RFC 1951, 3.2.4); for texts below 64 KB.
std::string Gzip(const std::string& text) {
  uint32_t crc = 0xffffffffu;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
  }
  const auto little = [](uint32_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
    return out;
  };
  const auto size = static_cast<uint32_t>(text.size());
  return absl::StrCat(absl::string_view("\x1f\x8b\x08\0\0\0\0\0\0\xff\x01", 11), little(size, 2), little(~size, 2),
                      text, little(~crc, 4), little(size, 4));
}

// Numbers are less than half as long in gzip; base64 is hardly shorter, and unpacking it costs time.
TEST(DialectTrapTest, FourteenNumbersFromFarAwayMayComeCompressedAndBase64DoesNot) {
  ScriptedServer gemini([](const ServerRequest& request) {
    std::string values =
        absl::StrCat("[",
                     absl::StrJoin(TextVector("one", kDim), ",",
                                   [](std::string* out, float v) { absl::StrAppendFormat(out, "%.9g", v); }),
                     "]");
    const std::string body = absl::StrCat("{\"embeddings\":[{\"values\":", values, "}]}");
    const auto accepted = request.headers.find("accept-encoding");
    if (accepted == request.headers.end() || !absl::StrContains(accepted->second, "gzip"))
      return ServerReply{.body = body};
    return ServerReply{.headers = {{"Content-Encoding", "gzip"}}, .body = Gzip(body)};
  });
  ExpectVectorsOf(SendAll(OptionsFor("gemini", gemini.url()), {"one"}), {"one"});
  EXPECT_THAT(gemini.requests().at(0).headers, Contains(Key("accept-encoding")));
  for (const char* const dialect : {"openai", "ollama"}) {
    DialectServer server(dialect);
    ExpectVectorsOf(SendAll(OptionsFor(dialect, server.api_base()), {"one"}), {"one"});
    EXPECT_THAT(server.requests().at(0).headers, Not(Contains(Key("accept-encoding")))) << dialect;
  }
}

// ---- Headers and prefixes ----

TEST(ApiHeadersTest, FurtherHeadersAreSentAndTheirSecretsNotShown) {
  ScriptedServer server([](const ServerRequest& request) {
    return OpenAiError(401, "", "", absl::StrCat("bad gateway key ", request.headers.at("x-gateway-key")));
  });
  ApiOptions options = OptionsFor("openai", server.url());
  options.headers = {"X-Team: memory", "X-Gateway-Key: gw-secret-123456"};
  options.header_secrets = {"gw-secret-123456"};
  const Sent sent = SendAll(options, Texts(1));
  EXPECT_THAT(std::string(sent.status.message()), Not(HasSubstr("gw-secret")));
  EXPECT_EQ(server.requests().at(0).headers.at("x-team"), "memory");
  EXPECT_EQ(server.requests().at(0).headers.at("authorization"), absl::StrCat("Bearer ", DialectServer::kKey));
  options.headers = {"X-Team: memory\r\nX-Evil: 1"};
  EXPECT_THAT(MakeApiClient(options), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("one line")));
}

TEST(ApiHeadersTest, ThePrefixOfAModelIsSentButNotStored) {
  DialectServer server("ollama");
  ApiOptions options = OptionsFor("ollama", server.api_base());
  options.text_prefix = "search_document: ";
  const Sent sent = SendAll(options, {"a \"text\""});
  ASSERT_THAT(sent.status, IsOk());
  EXPECT_EQ(sent.vector(0), TextVector("search_document: a \"text\"", kDim));
  EXPECT_THAT(server.requests().at(0).body, HasSubstr(R"("search_document: a \"text\"")"));
  EXPECT_EQ(sent.batch->texts()[0].text, "a \"text\"");
}

}  // namespace
}  // namespace reembed
