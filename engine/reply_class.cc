#include "engine/reply_class.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace reembed {
namespace {

bool IsAnyOf(absl::string_view word, std::initializer_list<absl::string_view> words) {
  return !word.empty() && std::find(words.begin(), words.end(), word) != words.end();
}

// Errors that no other request of this run will escape, whatever their HTTP status is.
bool StopsTheRun(const ApiError& error) {
  return IsAnyOf(error.code, {"insufficient_quota", "billing_hard_limit_reached", "invalid_api_key", "API_KEY_INVALID",
                              "model_not_found", "INPUT_MODEL_NOT_FOUND", "AUTHZ_INSUFFICIENT_BALANCE",
                              "DeploymentNotFound", "unsupported_country_region_territory"}) ||
         IsAnyOf(error.type, {"insufficient_quota", "authentication_error"}) ||
         IsAnyOf(error.param, {"model", "dimensions", "encoding_format"}) ||
         absl::StrContains(error.message, "API key not valid") ||
         absl::StrContains(error.message, "does not support specifying dimensions");
}

ReplyClass SplitOrReject(int texts) { return texts > 1 ? ReplyClass::kSplit : ReplyClass::kRejectText; }

// The HTTP status that a gateway packed into a 200: in `code`, if it is one; otherwise as good as a 500.
int StatusInside(const ApiError& error) {
  int status = 0;
  return absl::SimpleAtoi(error.code, &status) && status >= 400 && status <= 599 ? status : 500;
}

}  // namespace

ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts) {
  if (http_status == 200) return error.empty() ? ReplyClass::kOk : ClassifyReply(StatusInside(error), error, texts);
  if (StopsTheRun(error)) return ReplyClass::kStop;
  switch (http_status) {
    case 413:
    case 400:
    case 422:
      return SplitOrReject(texts);
    case 429:
      // Such a request is above the limit of a whole minute: it would wait for ever.
      return absl::StartsWith(error.message, "Request too large") ? SplitOrReject(texts) : ReplyClass::kRetryWait;
    case 503:
    case 529:
      return ReplyClass::kRetryWait;
    case 408:
    case 409:
    case 425:
      return ReplyClass::kRetry;
    default:
      break;
  }
  // llama.cpp answers a text that is too long with 500.
  if (absl::StrContains(error.message, "too large to process")) return SplitOrReject(texts);
  const bool may_pass = http_status >= 500 || http_status < 300;
  return may_pass ? ReplyClass::kRetry : ReplyClass::kStop;
}

}  // namespace reembed
