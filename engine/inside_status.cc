// SPDX-License-Identifier: Apache-2.0
#include "engine/inside_status.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace reembed {
namespace {

// First match first: "daily request limit reached" is no pace.
struct StatusWords {
  const char* words;  // in lower case
  int status;
};
constexpr StatusWords kWords[] = {
    {"insufficient balance", 402},
    {"insufficient_balance", 402},
    {"insufficient credit", 402},
    {"not enough balance", 402},
    {"arrears", 402},
    {"overdue", 402},
    {"quota exhausted", 402},
    {"quota exceeded", 402},
    {"exceeded your current quota", 402},
    {"daily request limit", 402},
    {"daily limit", 402},
    {"per day", 402},
    {"total request limit", 402},
    {"invalid api key", 401},
    {"invalid api-key", 401},
    {"incorrect api key", 401},
    {"api key", 401},
    {"api secret key", 401},
    {"access token invalid", 401},
    {"access token expired", 401},
    {"invalid token", 401},
    {"unauthorized", 401},
    {"authentication", 401},
    {"login fail", 401},
    {"not authorized", 401},
    {"unexpected endpoint", 404},
    {"no such endpoint", 404},
    {"unsupported openapi method", 404},
    {"unknown path", 404},
    {"rate limit", 429},
    {"ratelimit", 429},
    {"request limit reached", 429},
    {"too many requests", 429},
    {"limit reached", 429},
    {"throttl", 429},
    {"tpm", 429},
    {"rpm", 429},
    {"qps", 429},
    {"server is busy", 503},
    {"high load", 503},
    {"overload", 503},
    {"model is loading", 503},
    {"loading model", 503},
};

}  // namespace

int StatusInside(const ApiError& error) {
  int status = 0;
  if (absl::SimpleAtoi(error.code, &status) && status >= 400 && status <= 599) return status;
  const std::string said = absl::AsciiStrToLower(absl::StrCat(error.message, " ", error.type, " ", error.code));
  const auto* const found = std::find_if(std::begin(kWords), std::end(kWords), [&said](const StatusWords& entry) {
    const size_t at = said.find(entry.words);
    // A word, not a part of one: "rpm" is in "wrpm".
    return at != std::string::npos && (at == 0 || !absl::ascii_isalnum(said[at - 1]));
  });
  return found == std::end(kWords) ? 500 : found->status;
}

}  // namespace reembed
