// SPDX-License-Identifier: Apache-2.0
// What the servers of the embedding APIs really answer, and what becomes of it.

#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "engine/number/json_text.h"
#include "engine/pace/reply_class.h"
#include "gtest/gtest.h"
#include "io/embed/api_error.h"
#include "io/embed/request_verdict.h"

namespace reembed {
namespace {

struct BodyCase {
  const char* api;
  int status;
  std::string body;
  ReplyClass several;  // for a request of 64 texts
  ReplyClass one;      // for a request of one
  Excess excess = {};
};

void ExpectClasses(const std::vector<BodyCase>& cases, const ErrorTraits& traits = {}) {
  for (const BodyCase& c : cases) {
    SCOPED_TRACE(std::string(c.api) + ": " + c.body);
    const ApiError error = ParseApiError(c.body);
    EXPECT_EQ(ClassifyReply(c.status, error, 64, traits), c.several);
    EXPECT_EQ(ClassifyReply(c.status, error, 1, traits), c.one);
    const Excess excess = ExcessOf(c.status, error, traits);
    EXPECT_EQ(excess.measure, c.excess.measure);
    EXPECT_EQ(excess.limit, c.excess.limit);
    EXPECT_EQ(excess.requested, c.excess.requested);
  }
}

std::string OpenAiBody(const char* message, const char* type, const char* code) {
  const auto text = [](const char* value) { return value == nullptr ? "null" : "\"" + std::string(value) + "\""; };
  return R"({"error":{"message":)" + text(message) + R"(,"type":)" + text(type) + R"(,"param":null,"code":)" +
         text(code) + "}}";
}

constexpr char kCloudflarePage[] = "<!DOCTYPE html><html><head><title>520: Web server is returning an unknown error";

TEST(ErrorBodiesTest, WaitsAtARateLimit) {
  constexpr ReplyClass kWait = ReplyClass::kRetryWait;
  ExpectClasses({
      {"OpenAI", 429,
       OpenAiBody("Rate limit reached for text-embedding-3-small in organization org-x on tokens per min (TPM): Limit "
                  "1000000, Used 999000, Requested 5000. Please try again in 1.2s.",
                  "tokens", "rate_limit_exceeded"),
       kWait, kWait},
      {"Azure", 429,
       R"({"error":{"code":"429","message":"Requests to the Embeddings_Create Operation under Azure OpenAI API version)"
       R"( 2024-10-21 have exceeded call rate limit. Please retry after 7 seconds."}})",
       kWait, kWait},
      // The words of OpenAI's stop, for a limit per minute.
      {"Gemini", 429,
       R"({"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.")"
       R"(,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo",)"
       R"("retryDelay":"34s"}]}})",
       kWait, kWait},
      {"Cohere", 429, R"({"message":"trial token rate limit exceeded, limit is 100000 tokens per minute"})", kWait,
       kWait},
      {"TEI", 429, R"({"error":"Model is overloaded","error_type":"Overloaded"})", kWait, kWait},
      {"infinity", 429, R"({"error":{"message":"model x is currently overloaded","type":null,"code":429}})", kWait,
       kWait},
      {"Mistral", 429, R"({"object":"error","message":"Requests rate limit exceeded","type":"rate_limited"})", kWait,
       kWait},
      {"Ollama", 503, R"({"error":"server busy, please try again.  maximum pending requests exceeded"})", kWait, kWait},
      {"llama.cpp", 503, R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})", kWait,
       kWait},
      {"Gemini", 503, R"([{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}])", kWait,
       kWait},
      {"a gateway", 529, R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})", kWait,
       kWait},
      {"nobody says why", 429, "", kWait, kWait},
  });
}

TEST(ErrorBodiesTest, RepeatsWhatBrokeOnTheWay) {
  constexpr ReplyClass kRetry = ReplyClass::kRetry;
  ExpectClasses({
      {"OpenAI", 500, OpenAiBody("The server had an error while processing your request", "server_error", nullptr),
       kRetry, kRetry},
      {"Cloudflare", 520, kCloudflarePage, kRetry, kRetry},
      {"Cloudflare", 524, kCloudflarePage, kRetry, kRetry},
      {"nginx", 502, "<html><head><title>502 Bad Gateway</title></head></html>", kRetry, kRetry},
      {"nginx", 504, "<html><head><title>504 Gateway Time-out</title></head></html>", kRetry, kRetry},
      {"TEI", 424, R"({"error":"inference failed","error_type":"Backend"})", kRetry, kRetry},
      {"Ollama", 500, R"({"error":"llama runner process has terminated"})", kRetry, kRetry},
      {"Ollama", 499, R"({"error":"request cancelled"})", kRetry, kRetry},
      {"infinity", 500, R"({"error":{"message":"InternalServerError: x","type":null,"code":500}})", kRetry, kRetry},
      {"LM Studio", 400, R"({"error":"Model was unloaded while the request was still in queue.."})", kRetry, kRetry},
      {"LM Studio", 400, R"({"error":{"message":"Failed to load model \"m\". Error: Operation canceled."}})", kRetry,
       kRetry},
      {"a proxy", 408, "", kRetry, kRetry},
      {"OpenAI", 409, "", kRetry, kRetry},
      {"a proxy", 425, "", kRetry, kRetry},
      {"a gateway, inside a 200", 200, OpenAiBody("upstream went away", "server_error", nullptr), kRetry, kRetry},
  });
}

TEST(ErrorBodiesTest, SplitsWhatIsTooMuchAndReadsTheLimit) {
  constexpr ReplyClass kSplit = ReplyClass::kSplit, kReject = ReplyClass::kRejectText;
  ExpectClasses({
      {"OpenAI",
       400,
       OpenAiBody("Requested 453357 tokens, max 300000 tokens per request", "max_tokens_per_request",
                  "max_tokens_per_request"),
       kSplit,
       kReject,
       {Measure::kTokens, 300000, 453357}},
      {"OpenAI",
       429,
       OpenAiBody("Request too large for text-embedding-3-small in organization org-x on tokens per min (TPM): Limit "
                  "30000, Requested 30601. The input or output tokens must be reduced in order to run successfully.",
                  "tokens", "rate_limit_exceeded"),
       kSplit,
       kReject,
       {Measure::kTokens, 30000, 30601}},
      {"Mistral",
       400,
       R"({"object":"error","message":"Too many tokens in batch. Max is 16384 got 17555","type":)"
       R"("invalid_request_error","param":null,"code":null})",
       kSplit,
       kReject,
       {Measure::kTokens, 16384, 17555}},
      {"TEI",
       422,
       R"({"error":"batch size 64 > maximum allowed batch size 32","error_type":"Validation"})",
       kSplit,
       kReject,
       {Measure::kTexts, 32, 64}},
      {"TEI, as its documents say",
       413,
       R"({"message":"batch size 64 > maximum allowed batch size 32","code":413,"type":"Validation"})",
       kSplit,
       kReject,
       {Measure::kTexts, 32, 64}},
      {"Gemini",
       400,
       R"({"error":{"code":400,"message":"* BatchEmbedContentsRequest.requests: at most 100 requests can be in one )"
       R"(batch\n","status":"INVALID_ARGUMENT"}})",
       kSplit,
       kReject,
       {Measure::kTexts, 100, 0}},
      {"an edge",
       413,
       "<html><head><title>413 Request Entity Too Large</title></head></html>",
       kSplit,
       kReject,
       {Measure::kBytes}},
      {"TEI", 413, "length limit exceeded", kSplit, kReject, {Measure::kBytes}},
  });
}

// In everybody's own words, as users have reported them.
TEST(ErrorBodiesTest, ReadsALimitOfTextsInAnyWords) {
  constexpr ReplyClass kSplit = ReplyClass::kSplit, kReject = ReplyClass::kRejectText;
  const auto limit = [](int64_t texts, int64_t got = 0) { return Excess{Measure::kTexts, texts, got}; };
  ExpectClasses({
      {"DashScope", 400,
       R"({"error":{"message":"<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it )"
       R"(should not be larger than 10.: input.contents","type":"InvalidParameter","param":null,"code":"InvalidParameter"}})",
       kSplit, kReject, limit(10)},
      {"SiliconFlow", 413,
       R"({"code":20042,"message":"input batch size 136 > maximum allowed batch size 64","data":null})", kSplit,
       kReject, limit(64, 136)},
      {"Azure", 400, OpenAiBody("Too many inputs. The max number of inputs is 16.", "invalid_request_error", nullptr),
       kSplit, kReject, limit(16)},
      {"OpenAI", 400,
       OpenAiBody("Invalid 'input': array too long. Expected an array with maximum length 2048, but got an array with "
                  "length 3000 instead.",
                  "invalid_request_error", "array_above_max_length"),
       kSplit, kReject, limit(2048)},
      {"Cohere", 400, R"({"message":"invalid request: total number of texts must be at most 96 - received 200"})",
       kSplit, kReject, limit(96)},
      {"Voyage", 400, R"({"detail":"The batch size limit is 1000. Your batch size is 1200."})", kSplit, kReject,
       limit(1000)},
      {"Zhipu", 400, R"({"error":{"code":"1214","message":"input数组最大不得超过64条"}})", kSplit, kReject, limit(64)},
      {"FastAPI", 422, R"({"detail":[{"loc":["body","input"],"msg":"ensure this value has at most 32 items"}]})",
       kSplit, kReject, limit(32)},
      // And what is no such limit.
      {"a length", 400, R"({"message":"each of the inputs must be at most 512 tokens"})", kSplit, kReject},
      {"a length", 400, R"({"message":"texts[3] is longer than 2000 characters"})", kSplit, kReject},
      {"none", 400, R"({"message":"the batch is broken"})", kSplit, kReject},
  });
}

std::string ReasonOf(const std::string& body) { return ParseApiError(body).message; }

// The reason, whatever form it comes in: all were seen.
TEST(ErrorBodiesTest, FindsTheReasonInAnyForm) {
  for (
      const char* body : {
          R"({"error":{"message":"the reason","type":"x"}})",
          R"([{"error":{"code":400,"message":"the reason"}}])",
          R"({"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body"],"msg":"the reason"}]}})",
          R"({"errors":[{"message":"the reason","code":7000}],"success":false})",
          R"({"errors":["the reason"]})",
          R"({"fault":{"faultstring":"the reason","detail":{"errorcode":"policies.ratelimit.QuotaViolation"}}})",
          R"({"type":"about:blank","title":"Bad Request","status":400,"detail":"the reason"})",
          R"({"Message":"the reason"})",
          R"({"code":20042,"msg":"the reason","data":null})",
          R"({"error_code":17,"error_msg":"the reason","id":"as-x"})",
          R"({"vectors":null,"base_resp":{"status_code":1002,"status_msg":"the reason"}})",
          R"({"error":"invalid_request","error_description":"the reason"})",
          R"({"timestamp":"2026-01-01","status":500,"error":"Internal Server Error","message":"the reason","path":"/"})",
          R"({"detail":{"error":{"message":"the reason"}}})",
      }) {
    EXPECT_EQ(ReasonOf(body), "the reason") << body;
  }
  EXPECT_EQ(ReasonOf(R"({"data":[{"index":0,"embedding":[1]}],"message":"success","code":0})"), "");
  EXPECT_EQ(ReasonOf(R"({"embeddings":[[1]],"error":null})"), "");
  EXPECT_EQ(ReasonOf(R"({"data":[{"embedding":[1]}],"error":{"message":"the reason"}})"), "the reason");
}

// Of what is none of these the beginning is shown, clean.
TEST(ErrorBodiesTest, WhatIsNotRecognisedIsShownAsItBegins) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string key = "sk-very-secret-0123456789";
  const std::string text = "what the user wrote in confidence";
  const RequestJudge judge("http://api", "", {key}, {}, {});
  BatchText of_batch;
  of_batch.text = text;
  for (int round = 0; round < 50; ++round) {
    std::string body;
    for (int pieces = 1 + random() % 30; pieces > 0; --pieces) {
      switch (random() % 6) {
        case 0:
          body += key;
          break;
        case 1:
          body += text;
          break;
        case 2:
          body += "{\"a\":[";
          break;
        default:
          for (int bytes = random() % 40; bytes > 0; --bytes) body.push_back(static_cast<char>(random()));
      }
    }
    const RequestVerdict verdict =
        judge.Judge(HttpReply{.status = 500, .body = body}, absl::MakeConstSpan(&of_batch, 1));
    const std::string said(verdict.status.message());
    EXPECT_EQ(said.find("secret"), std::string::npos) << said;
    EXPECT_EQ(said.find("confidence"), std::string::npos) << said;
    EXPECT_LE(said.size(), 300u);
    EXPECT_TRUE(IsValidUtf8(said));
    for (const char c : said) EXPECT_FALSE(absl::ascii_iscntrl(static_cast<unsigned char>(c))) << said;
  }
  const RequestVerdict page = judge.Judge(HttpReply{.status = 404, .body = "\n<html>\x1b[31m<b>no such page</b>"},
                                          absl::MakeConstSpan(&of_batch, 1));
  EXPECT_NE(page.status.message().find("HTTP 404: <html> [31m<b>no such page</b>"), std::string::npos) << page.status;
}

TEST(ErrorBodiesTest, LooksForTheTextThatIsNotTaken) {
  constexpr ReplyClass kSplit = ReplyClass::kSplit, kReject = ReplyClass::kRejectText;
  ExpectClasses({
      {"OpenAI", 400,
       OpenAiBody(
           "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference.",
           "invalid_request_error", nullptr),
       kSplit, kReject},
      {"llama.cpp", 400,
       R"({"error":{"code":400,"message":"Input content cannot be empty","type":"invalid_request_error"}})", kSplit,
       kReject},
      {"TEI", 422, R"({"error":"tokenizer failed","error_type":"Tokenizer"})", kSplit, kReject},
      {"Voyage", 400, R"({"detail":"a limit was exceeded"})", kSplit, kReject},
  });
}

TEST(ErrorBodiesTest, LooksForTheTextThatIsTooLongAndReadsTheFigures) {
  constexpr ReplyClass kSplit = ReplyClass::kSplit, kReject = ReplyClass::kRejectText;
  const auto figures = [](int64_t limit, int64_t requested) {
    return Excess{.measure = Measure::kTextTokens, .limit = limit, .requested = requested};
  };
  ExpectClasses({
      {"OpenAI", 400,
       OpenAiBody("This model's maximum context length is 8192 tokens, however you requested 8610 tokens (8610 in your "
                  "prompt; 0 for the completion). Please reduce your prompt; or completion length.",
                  "invalid_request_error", nullptr),
       kSplit, kReject, figures(8192, 8610)},
      {"OpenAI", 400,
       OpenAiBody("Invalid 'input': maximum context length is 8192 tokens.", "invalid_request_error", nullptr), kSplit,
       kReject, figures(8192, 0)},
      {"OpenAI, 2026", 400,
       OpenAiBody("Invalid 'input[0]': maximum input length is 8192 tokens.", "invalid_request_error", nullptr), kSplit,
       kReject, figures(8192, 0)},
      {"llama.cpp", 500,
       R"x({"error":{"code":500,"message":"input (992 tokens) is too large to process. increase the physical batch )x"
       R"x(size (current batch size: 512)","type":"server_error"}})x",
       kSplit, kReject, figures(512, 992)},
      {"llama.cpp, its context", 400,
       R"({"error":{"code":400,"message":"the request exceeds the available context size. try increasing it","type":)"
       R"("exceed_context_size_error","n_prompt_tokens":1407,"n_ctx":256}})",
       kSplit, kReject, figures(0, 0)},
      {"llama.cpp, older", 500,
       R"({"error":{"code":500,"message":"input is larger than the max context size. skipping","type":"server_error"}})",
       kSplit, kReject, figures(0, 0)},
      {"Ollama", 400, R"({"error":"the input length exceeds the context length"})", kSplit, kReject, figures(0, 0)},
      {"Ollama, older", 500, R"({"error":"input length exceeds the context length"})", kSplit, kReject, figures(0, 0)},
      // "At least 513" is where it stopped counting.
      {"vLLM", 400,
       R"({"object":"error","message":"This model's maximum context length is 512 tokens. However, you requested 0 )"
       R"(output tokens and your prompt contains at least 513 input tokens, for a total of at least 513 tokens.",)"
       R"("type":"BadRequestError","param":null,"code":400})",
       kSplit, kReject, figures(512, 0)},
      {"TEI", 422, R"({"error":"`inputs` must have less than 512 tokens. Given: 700","error_type":"Validation"})",
       kSplit, kReject, figures(512, 700)},
      {"TEI, its route of OpenAI", 413,
       R"({"message":"Input validation error: `inputs` must have less than 512 tokens. Given: 1038","code":413,)"
       R"("type":"Validation"})",
       kSplit, kReject, figures(512, 1038)},
      {"Cohere", 400, R"({"message":"too many tokens"})", kSplit, kReject, figures(0, 0)},
      {"Voyage", 400,
       R"({"detail":"Request to model 'voyage-4-large' failed. The example at index 0 in your batch has too many tokens )"
       R"(and does not fit into the model's context window of 32000 tokens. Please lower the number of tokens in the )"
       R"(listed example(s) or use truncation."})",
       kSplit, kReject, figures(32000, 0)},
      {"Gemini", 400,
       R"({"error":{"code":400,"message":"The input token count (2250) exceeds the maximum number of tokens allowed )"
       R"((2048).","status":"INVALID_ARGUMENT"}})",
       kSplit, kReject, figures(2048, 2250)},
  });
}

// Which refusals may be about the request itself: those that nobody has heard of.
TEST(ErrorBodiesTest, KnowsWhatItKnows) {
  const auto known = [](int status, const std::string& body) { return IsKnownError(status, ParseApiError(body)); };
  EXPECT_TRUE(known(400, R"({"error":"the input length exceeds the context length"})"));
  EXPECT_TRUE(known(413, ""));
  EXPECT_FALSE(known(400, R"({"error":"unknown field `embedding_kind`"})"));
  EXPECT_FALSE(known(422, ""));
}

TEST(ErrorBodiesTest, StopsAtKeyMoneyModelAndAddress) {
  constexpr ReplyClass kStop = ReplyClass::kStop;
  ExpectClasses({
      {"OpenAI", 401, OpenAiBody("Incorrect API key provided", "invalid_request_error", "invalid_api_key"), kStop,
       kStop},
      {"OpenAI", 403, OpenAiBody("Country not supported", "request_forbidden", "unsupported_country_region_territory"),
       kStop, kStop},
      {"OpenAI", 404,
       OpenAiBody("The model `x` does not exist or you do not have access to it.", "invalid_request_error",
                  "model_not_found"),
       kStop, kStop},
      {"OpenAI", 410, OpenAiBody("The model `x` has been retired", "invalid_request_error", nullptr), kStop, kStop},
      {"OpenAI", 429,
       OpenAiBody("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota",
                  "insufficient_quota"),
       kStop, kStop},
      {"OpenAI", 429,
       OpenAiBody("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached"), kStop,
       kStop},
      {"OpenAI", 400,
       OpenAiBody("This model does not support specifying dimensions.", "invalid_request_error", nullptr), kStop,
       kStop},
      {"Azure", 401, R"({"error":{"code":"401","message":"Access denied due to invalid subscription key."}})", kStop,
       kStop},
      {"Azure API Management", 403, R"({"statusCode":403,"message":"Out of call volume quota."})", kStop, kStop},
      {"Azure", 404, R"({"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}})", kStop,
       kStop},
      {"Gemini", 400,
       R"({"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",)"
       R"("details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}})",
       kStop, kStop},
      {"Gemini", 403, R"({"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}})", kStop, kStop},
      {"Jina", 400, R"({"detail":{"code":"INPUT_MODEL_NOT_FOUND","message":"no such model"}})", kStop, kStop},
      {"Jina", 401, R"({"detail":{"code":"AUTH_INVALID_API_KEY","message":"invalid key"}})", kStop, kStop},
      {"Jina", 403, R"({"detail":{"code":"AUTHZ_INSUFFICIENT_BALANCE","message":"no balance"}})", kStop, kStop},
      {"Cohere", 402, R"({"message":"billing limit reached"})", kStop, kStop},
      {"TEI", 401, "", kStop, kStop},
      {"Ollama", 404, R"({"error":"model \"x\" not found, try pulling it first"})", kStop, kStop},
      {"vLLM", 400,
       R"({"object":"error","message":"Model \"BAAI/bge-m3\" does not support matryoshka representation, )"
       R"(changing output dimensions will lead to poor results.","type":"BadRequestError","code":400})",
       kStop, kStop},
      {"llama.cpp", 501,
       R"({"error":{"code":501,"message":"This server does not support embeddings. Start it with `--embeddings`",)"
       R"("type":"not_supported_error"}})",
       kStop, kStop},
      {"a web server", 404, "<html>Not Found</html>", kStop, kStop},
      {"a web server", 301, "", kStop, kStop},
      {"LM Studio, inside a 200", 200, R"x({"error":"Unexpected endpoint or method. (POST /embeddings)"})x", kStop,
       kStop},
      {"LiteLLM", 400,
       OpenAiBody("Budget has been exceeded! Current cost: 26.075, Max budget: 0.25", "budget_exceeded", "400"), kStop,
       kStop},
      {"LiteLLM", 400,
       OpenAiBody("litellm.BadRequestError: OpenAIException - Budget has been exceeded! Team=99c74652", nullptr, "400"),
       kStop, kStop},
      {"LiteLLM", 429, OpenAiBody("LiteLLM User: engineer-1, exceeded budget for model=x", "budget_exceeded", "429"),
       kStop, kStop},
      {"LiteLLM", 401,
       OpenAiBody("ExceededBudget: End User=x over budget. Spend=0.0008, Budget=0.0001", nullptr, "401"), kStop, kStop},
      {"a gateway, inside a 200", 200,
       OpenAiBody("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), kStop, kStop},
  });
}

// Cohere calls a text that it blocks 498, which is nobody else's; and a rule of one API must not hit another.
TEST(ErrorBodiesTest, TheRulesOfOneApiComeFirstAndOnlyThere) {
  static constexpr ErrorRule kOwn[] = {{.http_status = 498, .meaning = ErrorMeaning::kBadText},
                                       {.http_status = 413, .message = "slow", .meaning = ErrorMeaning::kRetryWait}};
  const std::string blocked = R"({"message":"blocked input"})", slow = R"({"message":"Slow down"})";
  ExpectClasses({{"own", 498, blocked, ReplyClass::kSplit, ReplyClass::kRejectText},
                 {"own", 413, slow, ReplyClass::kRetryWait, ReplyClass::kRetryWait},
                 {"own", 413, blocked, ReplyClass::kSplit, ReplyClass::kRejectText, {Measure::kBytes}}},
                {.rules = kOwn});
  ExpectClasses({{"another", 498, blocked, ReplyClass::kStop, ReplyClass::kStop},
                 {"another", 413, slow, ReplyClass::kSplit, ReplyClass::kRejectText, {Measure::kBytes}}});
}

TEST(ErrorBodiesTest, StopsSayWhatToDoNext) {
  const auto next_step = [](int status, const std::string& body) {
    const ApiError error = ParseApiError(body);
    const absl::Status stop = StopStatus(status, error, "http://api", error.message);
    const std::string message(stop.message());
    return std::string(absl::StatusCodeToString(stop.code())) + message.substr(message.rfind("; "));
  };
  const char* const kMoney = "FAILED_PRECONDITION; check the plan and the balance of the account";
  const char* const kKey = "UNAUTHENTICATED; check the API key";
  EXPECT_EQ(next_step(429, OpenAiBody("m", "insufficient_quota", "insufficient_quota")), kMoney);
  EXPECT_EQ(next_step(403, R"({"detail":{"code":"AUTHZ_INSUFFICIENT_BALANCE","message":"m"}})"), kMoney);
  EXPECT_EQ(next_step(402, R"({"message":"m"})"), kMoney);
  EXPECT_EQ(next_step(401, ""), kKey);
  EXPECT_EQ(next_step(400, R"({"error":{"code":400,"message":"m","details":[{"reason":"API_KEY_INVALID"}]}})"), kKey);
  EXPECT_EQ(next_step(403, R"({"message":"m"})"),
            "FAILED_PRECONDITION; check what the API key may use, and the quota of the account");
  EXPECT_EQ(next_step(302, ""), "FAILED_PRECONDITION; check the address of the API");
  EXPECT_EQ(next_step(404, ""),
            "FAILED_PRECONDITION; check the model's name, its dimensions and the address of the API");
}

}  // namespace
}  // namespace reembed
