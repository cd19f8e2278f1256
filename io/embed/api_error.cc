// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_error.h"

#include <simdjson.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/setting.h"

namespace reembed {
namespace {

using simdjson::dom::element;

constexpr int kDeepest = 6;  // levels of an error that are looked at

// What APIs and gateways call the reason, the most telling first.
constexpr const char* kReasonNames[] = {
    "message",    "Message", "msg",     "error_msg",   "error_message",     "errorMessage", "errmsg",
    "status_msg", "detail",  "details", "description", "error_description", "reason",       "faultstring",
    "title",      "errors",  "error",   "fault",       "base_resp",         "error_info"};
constexpr const char* kCodeNames[] = {"code", "error_code", "errorCode", "errcode", "status_code"};
constexpr const char* kTypeNames[] = {"type", "error_type", "__type"};
// Where the error is, if it is not the whole body.
constexpr const char* kErrorNames[] = {"error", "detail", "errors", "fault", "base_resp", "message"};
// What a reply with vectors has.
constexpr const char* kVectorNames[] = {"data", "embeddings", "embedding", "predictions"};

std::string FirstOf(const std::string& first, const std::string& second) { return first.empty() ? second : first; }

// A string or a number as text; empty for all else.
std::string Scalar(const element& value) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  int64_t number = 0;
  if (value.get_int64().get(number) == simdjson::SUCCESS) return absl::StrCat(number);
  return "";
}

std::string ScalarIn(const element& object, absl::Span<const char* const> names) {
  for (const char* const name : names) {
    element value;
    if (object[name].get(value) != simdjson::SUCCESS) continue;
    if (std::string text = Scalar(value); !text.empty()) return text;
  }
  return "";
}

// The first reason anywhere in it, in the order of the names.
std::string ReasonIn(const element& value, int depth = 0) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  if (depth > kDeepest) return "";
  simdjson::dom::array list;
  if (value.get_array().get(list) == simdjson::SUCCESS) {
    for (const element one : list) {
      if (std::string reason = ReasonIn(one, depth + 1); !reason.empty()) return reason;
    }
    return "";
  }
  if (!value.is_object()) return "";
  for (const char* const name : kReasonNames) {
    element inner;
    if (value[name].get(inner) != simdjson::SUCCESS) continue;
    if (std::string reason = ReasonIn(inner, depth + 1); !reason.empty()) return reason;
  }
  return "";
}

// "details" is a list of objects of several kinds; ErrorInfo has a `reason`, RetryInfo a `retryDelay`.
// Source: google.rpc.Status, as Gemini answers it.
void ReadGoogleDetails(const element& error, ApiError* read) {
  simdjson::dom::array details;
  if (error["details"].get_array().get(details) != simdjson::SUCCESS) return;
  for (const element detail : details) {
    if (!detail.is_object()) continue;
    if (read->type.empty()) read->type = ScalarIn(detail, {"reason"});
    if (read->wait.empty()) read->wait = ScalarIn(detail, {"retryDelay"});
  }
}

// The object that says the most of the error: what `top` wraps, or itself.
element ErrorIn(const element& top) {
  for (const char* const name : kErrorNames) {
    element inner;
    if (top[name].get(inner) != simdjson::SUCCESS) continue;
    if (element first; inner.is_array() && inner.at(0).get(first) == simdjson::SUCCESS) inner = first;
    if (inner.is_object()) return inner;
  }
  return top;
}

bool HasVectors(const element& top) {
  return std::any_of(std::begin(kVectorNames), std::end(kVectorNames), [&top](const char* name) {
    simdjson::dom::array list;
    simdjson::dom::object object;
    const simdjson::simdjson_result<element> value = top[name];
    return (value.get_array().get(list) == simdjson::SUCCESS && list.size() > 0) ||
           (value.get_object().get(object) == simdjson::SUCCESS && object.size() > 0);
  });
}

enum class ErrorField { kNone, kWords, kBare };  // kBare: it says that there is an error, as {} or true

ErrorField ErrorFieldOf(const element& top) {
  element error;
  if (top["error"].get(error) != simdjson::SUCCESS || error.is_null()) return ErrorField::kNone;
  bool yes = false;
  if (error.is_object() || (error.get_bool().get(yes) == simdjson::SUCCESS && yes)) return ErrorField::kBare;
  return ReasonIn(error).empty() ? ErrorField::kNone : ErrorField::kWords;
}

}  // namespace

ApiError ParseApiError(absl::string_view body) {
  constexpr size_t kMaxErrorBytes = 1 << 20;
  if (body.size() > kMaxErrorBytes) return {};
  simdjson::dom::parser parser;
  element top;
  if (parser.parse(body.data(), body.size()).get(top) != simdjson::SUCCESS) return {};
  if (element first; top.at(0).get(first) == simdjson::SUCCESS) top = first;
  if (!top.is_object()) return {};
  const element error = ErrorIn(top);
  ApiError read{.code = FirstOf(ScalarIn(error, kCodeNames), ScalarIn(error, {"status"})),
                .type = ScalarIn(error, kTypeNames),
                .param = ScalarIn(error, {"param"}),
                .message = FirstOf(ReasonIn(error), ReasonIn(top)),
                .status = ScalarIn(error, {"status"})};
  // Mistral and others keep the words that classify beside the object with the reason, or in `error` itself.
  if (read.code.empty()) read.code = ScalarIn(top, kCodeNames);
  if (read.type.empty()) read.type = ScalarIn(top, kTypeNames);
  if (read.param.empty()) read.param = ScalarIn(top, {"param"});
  if (read.code.empty() && ScalarIn(top, {"error"}) != read.message) read.code = ScalarIn(top, {"error"});
  ReadGoogleDetails(error, &read);
  const ErrorField field = ErrorFieldOf(top);
  if (field == ErrorField::kNone && HasVectors(top)) return {};  // "message":"success" beside the vectors
  if (read.message.empty() && field == ErrorField::kNone) return {};
  if (read.message.empty()) read.message = "the API named no reason";
  return read;
}

absl::Status StopStatus(int http_status, const ApiError& error, absl::string_view where, absl::string_view what,
                        const ReachHints& hints) {
  const auto message = [&](absl::string_view next_step) {
    return absl::StrCat(where, ": HTTP ", http_status, ": ", what, "; ", next_step);
  };
  if (IsOutOfQuota(http_status, error)) {
    return absl::FailedPreconditionError(message("check the plan and the balance of the account"));
  }
  if (IsBadKey(http_status, error)) {
    return WithSetting(absl::UnauthenticatedError(message(hints.key.empty() ? "check the API key" : hints.key)),
                       Setting::kApiKey);
  }
  if (http_status == 407) {
    return absl::FailedPreconditionError(message(
        "the proxy wants a user name and a password: https_proxy=http://USER:PASSWORD@HOST:PORT, or http_proxy"));
  }
  // Not kPermissionDenied, which is for files of the user: nothing that he typed is wrong.
  if (http_status == 403) {
    return absl::FailedPreconditionError(message("check what the API key may use, and the quota of the account"));
  }
  const auto with_hint = [&hints](absl::string_view next_step) {
    return hints.address.empty() ? std::string(next_step) : absl::StrCat(hints.address, " ", next_step);
  };
  if (http_status >= 300 && http_status < 400) {
    return absl::FailedPreconditionError(message(with_hint("check the address of the API")));
  }
  return absl::FailedPreconditionError(
      message(with_hint("check the model's name, its dimensions and the address of the API")));
}

}  // namespace reembed
