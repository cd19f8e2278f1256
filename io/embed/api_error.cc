#include "io/embed/api_error.h"

#include <simdjson.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

using simdjson::dom::element;

// A string as it is, a number as text, the list of complaints of FastAPI by its first "msg".
std::string TextOf(const simdjson::simdjson_result<element>& value) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  int64_t number = 0;
  if (value.get_int64().get(number) == simdjson::SUCCESS) return absl::StrCat(number);
  if (value.at(0)["msg"].get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  return "";
}

// "details" is a list of objects of several kinds; ErrorInfo has a `reason`, RetryInfo a `retryDelay`.
// Source: google.rpc.Status, as Gemini answers it.
void ReadGoogleDetails(const element& error, ApiError* read) {
  simdjson::dom::array details;
  if (error["details"].get_array().get(details) != simdjson::SUCCESS) return;
  for (const element detail : details) {
    if (read->type.empty()) read->type = TextOf(detail["reason"]);
    if (read->wait.empty()) read->wait = TextOf(detail["retryDelay"]);
  }
}

std::string FirstOf(const std::string& first, const std::string& second) { return first.empty() ? second : first; }

}  // namespace

ApiError ParseApiError(absl::string_view body) {
  constexpr size_t kMaxErrorBytes = 1 << 20;
  if (body.size() > kMaxErrorBytes) return {};
  simdjson::dom::parser parser;
  element top;
  if (parser.parse(body.data(), body.size()).get(top) != simdjson::SUCCESS) return {};
  if (element first; top.at(0).get(first) == simdjson::SUCCESS) top = first;
  element error;
  const bool wrapped = (top["error"].get(error) == simdjson::SUCCESS && error.is_object()) ||
                       (top["detail"].get(error) == simdjson::SUCCESS && error.is_object());
  if (wrapped) {
    ApiError read{.code = FirstOf(TextOf(error["code"]), TextOf(error["status"])),
                  .type = TextOf(error["type"]),
                  .param = TextOf(error["param"]),
                  .message = FirstOf(TextOf(error["message"]), "the API named no reason"),
                  .status = TextOf(error["status"])};
    ReadGoogleDetails(error, &read);
    return read;
  }
  const std::string message = FirstOf(TextOf(top["error"]), FirstOf(TextOf(top["message"]), TextOf(top["detail"])));
  if (message.empty()) return {};
  return {.code = TextOf(top["code"]),
          .type = FirstOf(TextOf(top["type"]), TextOf(top["error_type"])),
          .param = TextOf(top["param"]),
          .message = message};
}

std::string MaskShared(absl::string_view message, absl::string_view secret, size_t shortest) {
  const size_t window = std::min(shortest, secret.size());
  if (window == 0 || message.size() < window) return std::string(message);
  std::vector<char> masked(message.size(), 0);
  for (size_t i = 0; i + window <= message.size(); ++i) {
    if (secret.find(message.substr(i, window)) == absl::string_view::npos) continue;
    std::fill_n(&masked[i], window, 1);
  }
  std::string out;
  for (size_t i = 0; i < message.size(); ++i) {
    if (!masked[i]) {
      out.push_back(message[i]);
    } else if (i == 0 || !masked[i - 1]) {
      out.append("[...]");
    }
  }
  return out;
}

std::string Shorten(absl::string_view message, size_t max_bytes) {
  const bool cut = message.size() > max_bytes;
  if (cut) {
    while (max_bytes > 0 && (static_cast<unsigned char>(message[max_bytes]) & 0xC0) == 0x80) --max_bytes;
    message = message.substr(0, max_bytes);
  }
  std::string out(message);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return absl::ascii_iscntrl(c); }, ' ');
  if (cut) out.append("...");
  return out;
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
    return absl::UnauthenticatedError(message(hints.key.empty() ? "check the API key" : hints.key));
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
