// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/reply_class.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "engine/inside_status.h"

namespace reembed {
namespace {

constexpr const char* kOutOfQuotaWords[] = {"insufficient_quota", "billing_hard_limit_reached",
                                            "AUTHZ_INSUFFICIENT_BALANCE", "budget_exceeded"};
constexpr const char* kOutOfMoneyPhrases[] = {"budget has been exceeded", "exceededbudget"};
constexpr const char* kBadKeyWords[] = {"invalid_api_key",      "API_KEY_INVALID",      "authentication_error",
                                        "AUTH_MISSING_API_KEY", "AUTH_INVALID_API_KEY", "AUTH_INVALID_FORMAT"};

// What holds for every API, first match first. All wordings are those of the vendors' own servers and documents, as of
// 2026; none of them can be taken for something else. Otherwise they belong into the ErrorTraits of the API.
constexpr ErrorRule kRules[] = {
    // The model, and what it can do.
    {.word = "model_not_found", .meaning = ErrorMeaning::kStop},        // OpenAI
    {.word = "INPUT_MODEL_NOT_FOUND", .meaning = ErrorMeaning::kStop},  // Jina, with a 400
    {.word = "DeploymentNotFound", .meaning = ErrorMeaning::kStop},     // Azure
    {.word = "unsupported_country_region_territory", .meaning = ErrorMeaning::kStop},
    {.word = "model", .meaning = ErrorMeaning::kStop},  // as the field that is wrong; likewise the next two
    {.word = "dimensions", .meaning = ErrorMeaning::kStop},
    {.word = "encoding_format", .meaning = ErrorMeaning::kStop},
    {.message = "api key not valid", .meaning = ErrorMeaning::kStop},                           // Gemini, with a 400
    {.message = "does not support specifying dimensions", .meaning = ErrorMeaning::kStop},      // OpenAI
    {.message = "does not support matryoshka representation", .meaning = ErrorMeaning::kStop},  // vLLM
    {.message = "does not support embeddings", .meaning = ErrorMeaning::kStop},                 // llama.cpp, Ollama
    // Money of a gateway (LiteLLM, with a 400 or a 429).
    {.word = "budget_exceeded", .meaning = ErrorMeaning::kStop},
    {.message = "budget has been exceeded", .meaning = ErrorMeaning::kStop},
    {.message = "exceededbudget", .meaning = ErrorMeaning::kStop},
    // A 400 that passes: the next request loads the model again (LM Studio); loading was given up for another model.
    {.message = "model was unloaded", .meaning = ErrorMeaning::kRetry},
    {.message = "operation canceled", .meaning = ErrorMeaning::kRetry},
    // Too much in one request.
    {.word = "max_tokens_per_request", .meaning = ErrorMeaning::kTooManyTokens},       // OpenAI
    {.message = "too many tokens in batch", .meaning = ErrorMeaning::kTooManyTokens},  // Mistral
    // More than the limit of a whole minute: it would wait for ever.
    {.http_status = 429, .message = "request too large", .meaning = ErrorMeaning::kTooManyTokens},
    // TEI says so with 422 where its own documents say 413.
    {.message = "maximum allowed batch size", .meaning = ErrorMeaning::kTooManyTexts},    // and SiliconFlow
    {.message = "requests can be in one batch", .meaning = ErrorMeaning::kTooManyTexts},  // Gemini
    // A text that is too long, whatever the status: llama.cpp says 500, and so would be asked again for ever.
    {.message = "is too large to process", .meaning = ErrorMeaning::kTextTooLong},           // llama.cpp, and
    {.word = "exceed_context_size_error", .meaning = ErrorMeaning::kTextTooLong},            // in other places
    {.message = "larger than the max context size", .meaning = ErrorMeaning::kTextTooLong},  //
    {.message = "exceeds the context length", .meaning = ErrorMeaning::kTextTooLong},        // Ollama
    {.message = "maximum context length is", .meaning = ErrorMeaning::kTextTooLong},         // OpenAI, vLLM
    {.message = "maximum input length is", .meaning = ErrorMeaning::kTextTooLong},           // OpenAI, 2026
    {.message = "inputs` must have less than", .meaning = ErrorMeaning::kTextTooLong},       // TEI, with 413 or 422
    {.message = "does not fit into the model's context", .meaning = ErrorMeaning::kTextTooLong},  // Voyage
    {.message = "exceeds the maximum number of tokens", .meaning = ErrorMeaning::kTextTooLong},   // Gemini
    {.http_status = 400, .message = "too many tokens", .meaning = ErrorMeaning::kTextTooLong},    // Cohere
    {.http_status = 413, .meaning = ErrorMeaning::kTooManyBytes},
};

bool IsOneOf(const ApiError& error, absl::Span<const char* const> words) {
  return std::any_of(words.begin(), words.end(), [&error](absl::string_view word) {
    return error.code == word || error.type == word || error.status == word || error.message == word;
  });
}

bool Matches(const ErrorRule& rule, int http_status, const ApiError& error, absl::string_view lower_message) {
  const absl::string_view word = rule.word;
  return (rule.http_status == 0 || rule.http_status == http_status) &&
         (word.empty() || error.code == word || error.type == word || error.param == word || error.status == word) &&
         absl::StrContains(lower_message, rule.message);
}

std::optional<ErrorMeaning> MeaningByRules(int http_status, const ApiError& error, const ErrorTraits& traits) {
  const std::string message = absl::AsciiStrToLower(error.message);
  const auto find = [&](absl::Span<const ErrorRule> rules) -> std::optional<ErrorMeaning> {
    for (const ErrorRule& rule : rules) {
      if (Matches(rule, http_status, error, message)) return rule.meaning;
    }
    return std::nullopt;
  };
  if (const auto own = find(traits.rules); own.has_value()) return own;
  if (IsOneOf(error, kOutOfQuotaWords) || IsOneOf(error, kBadKeyWords)) return ErrorMeaning::kStop;
  return find(kRules);
}

ErrorMeaning MeaningByStatus(int http_status) {
  switch (http_status) {
    case 400:
    case 422:
      return ErrorMeaning::kBadText;
    case 408:
    case 409:
    case 424:  // TEI: the model failed, not the request
    case 425:
    case 499:  // Ollama, Cohere: cancelled on their side
      return ErrorMeaning::kRetry;
    case 429:
    case 503:
    case 529:
      return ErrorMeaning::kRetryWait;
    case 501:  // llama.cpp: started without embeddings
    case 505:
      return ErrorMeaning::kStop;
    default:
      return http_status >= 500 || http_status < 300 ? ErrorMeaning::kRetry : ErrorMeaning::kStop;
  }
}

// The number that follows one of these words; the first word that has one wins.
int64_t NumberAfter(absl::string_view message, absl::Span<const absl::string_view> words) {
  for (const absl::string_view word : words) {
    for (size_t at = message.find(word); at != absl::string_view::npos; at = message.find(word, at + 1)) {
      const absl::string_view rest = message.substr(at + word.size());
      const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
      int64_t number = 0;
      if (absl::SimpleAtoi(rest.substr(0, digits), &number) && number > 0) return number;
    }
  }
  return 0;
}

// A limit of texts per request, in whatever words: a word for how many, a word for texts, and the number. Each provider
// says it in another way ("batch size is invalid, it should not be larger than 10", "Too many inputs. The max number of
// inputs is 16", "input数组最大不得超过64条"). 0: it is not about that; limits of tokens, characters and bytes are not.
int64_t TextLimitIn(absl::string_view lower_message) {
  constexpr absl::string_view kOthers[] = {"token",   "character", "byte",      "length of",
                                           "context", "dimension", "per minute"};
  constexpr absl::string_view kTexts[] = {"batch",    "inputs",   "input array", "array",     "texts",     "items",
                                          "instance", "elements", "documents",   "sentences", "input数组", "条"};
  constexpr absl::string_view kBounds[] = {"larger than ",
                                           "greater than ",
                                           "more than ",
                                           "at most ",
                                           "up to ",
                                           "exceed ",
                                           "exceeds ",
                                           "exceeding ",
                                           "limit is ",
                                           "limit of ",
                                           "limit: ",
                                           "maximum of ",
                                           "maximum is ",
                                           "max is ",
                                           "max of ",
                                           "max: ",
                                           "maximum: ",
                                           "less than or equal to ",
                                           "maximum length ",
                                           "number of inputs is ",
                                           "maximum batch size ",
                                           "max batch size ",
                                           "batch size is ",
                                           "batch size of ",
                                           "maximum ",
                                           "max ",
                                           "<= ",
                                           "> ",
                                           "不得超过",
                                           "不能超过",
                                           "最大为"};
  const auto said = [lower_message](absl::string_view word) { return absl::StrContains(lower_message, word); };
  if (std::any_of(std::begin(kOthers), std::end(kOthers), said)) return 0;
  if (std::none_of(std::begin(kTexts), std::end(kTexts), said)) return 0;
  return NumberAfter(lower_message, kBounds);
}

ErrorMeaning MeaningOf(int http_status, const ApiError& error, const ErrorTraits& traits) {
  if (http_status == 200) http_status = StatusInside(error);
  if (const auto known = MeaningByRules(http_status, error, traits); known.has_value()) return *known;
  const ErrorMeaning meaning = MeaningByStatus(http_status);
  const bool for_number = meaning == ErrorMeaning::kBadText && TextLimitIn(absl::AsciiStrToLower(error.message)) > 0;
  return for_number ? ErrorMeaning::kTooManyTexts : meaning;
}

}  // namespace

ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts, const ErrorTraits& traits) {
  if (http_status == 200 && error.empty()) return ReplyClass::kOk;
  switch (MeaningOf(http_status, error, traits)) {
    case ErrorMeaning::kRetry:
      return ReplyClass::kRetry;
    case ErrorMeaning::kRetryWait:
      return ReplyClass::kRetryWait;
    case ErrorMeaning::kBadText:
    case ErrorMeaning::kTextTooLong:
    case ErrorMeaning::kTooManyTexts:
    case ErrorMeaning::kTooManyTokens:
    case ErrorMeaning::kTooManyBytes:
      return texts > 1 ? ReplyClass::kSplit : ReplyClass::kRejectText;
    case ErrorMeaning::kStop:
      break;
  }
  return ReplyClass::kStop;
}

bool IsKnownError(int http_status, const ApiError& error, const ErrorTraits& traits) {
  return MeaningByRules(http_status == 200 ? StatusInside(error) : http_status, error, traits).has_value();
}

Excess ExcessOf(int http_status, const ApiError& error, const ErrorTraits& traits) {
  const std::string message = absl::AsciiStrToLower(error.message);
  switch (MeaningOf(http_status, error, traits)) {
    case ErrorMeaning::kTooManyTexts:
      if (const int64_t limit = NumberAfter(message, {"maximum allowed batch size ", "at most "}); limit > 0) {
        return {.measure = Measure::kTexts, .limit = limit, .requested = NumberAfter(message, {"batch size "})};
      }
      return {.measure = Measure::kTexts, .limit = TextLimitIn(message)};
    case ErrorMeaning::kTooManyTokens:
      return {.measure = Measure::kTokens,
              .limit = NumberAfter(message, {"limit ", "batch is ", "max is ", "max "}),
              .requested = NumberAfter(message, {"requested ", "got ", "batch has "})};
    case ErrorMeaning::kTooManyBytes:
      return {.measure = Measure::kBytes};  // no server names bytes in a form that is known
    case ErrorMeaning::kTextTooLong:
      return {.measure = Measure::kTextTokens,
              .limit = NumberAfter(message, {"length is ", "batch size: ", "context size (", "context window of ",
                                             "less than ", "allowed (", "document is "}),
              .requested = NumberAfter(message, {"requested ", "input (", "request (", "given: ", "token count ("})};
    default:
      return {};
  }
}

bool IsOutOfQuota(int http_status, const ApiError& error) {
  const std::string message = absl::AsciiStrToLower(error.message);
  const auto is_said = [&message](const char* phrase) { return absl::StrContains(message, phrase); };
  return http_status == 402 || (http_status == 200 && StatusInside(error) == 402) || IsOneOf(error, kOutOfQuotaWords) ||
         std::any_of(std::begin(kOutOfMoneyPhrases), std::end(kOutOfMoneyPhrases), is_said);
}

bool IsBadKey(int http_status, const ApiError& error) {
  return http_status == 401 || (http_status == 200 && StatusInside(error) == 401) || IsOneOf(error, kBadKeyWords);
}

}  // namespace reembed
