// SPDX-License-Identifier: Apache-2.0
// Heads of replies, line by line as libcurl hands them over, with interim replies and trailers.
#include "io/net/http_head.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/wait_hints.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Lines with their ends; what is behind the last end is a line, too.
std::vector<absl::string_view> LinesOf(absl::string_view text) {
  std::vector<absl::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return lines;
}

// The same, a byte at a time.
void Slowly(absl::string_view line, Headers* headers) {
  if (line.substr(0, 5) == "HTTP/") return headers->clear();
  std::string name, value;
  bool in_value = false;
  for (const char c : line) {
    if (c == ':' && !in_value) {
      in_value = true;
    } else {
      (in_value ? value : name).push_back(in_value ? c : absl::ascii_tolower(static_cast<unsigned char>(c)));
    }
  }
  if (!in_value) return;
  while (!value.empty() && absl::ascii_isspace(static_cast<unsigned char>(value.back()))) value.pop_back();
  while (!value.empty() && absl::ascii_isspace(static_cast<unsigned char>(value.front()))) value.erase(0, 1);
  headers->emplace_back(name, value);
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  Headers headers, slow;
  size_t bytes = 0, sum = 0;
  for (const absl::string_view line : LinesOf({reinterpret_cast<const char*>(data), size})) {
    sum += line.size();
    const bool taken = TakeHttpHeadLine(line, &bytes, &headers);
    Require(taken == (sum <= kMaxHttpHeadBytes), "a head ends where it is too long, and not before");
    if (!taken) {
      Require(headers == slow, "what is too long is not taken");
      Saw("too long");
      return 0;
    }
    Slowly(line, &slow);
    // All of them after each line would take longer the more there are.
    Require(headers.size() == slow.size() && (slow.empty() || headers.back() == slow.back()),
            "a line is split as it is byte by byte");
  }
  Require(headers == slow, "lines change nothing of those before them");
  Saw(absl::StrCat("headers ", headers.size() > 9 ? "many" : std::string(headers.size(), 'h')));
  const std::optional<absl::Duration> wait =
      NamedWait({.headers = headers, .over_quota = true}, absl::FromUnixSeconds(1'800'000'000));
  Require(!wait.has_value() || *wait > absl::ZeroDuration(), "a wait is above zero");
  (void)QuotaOf(headers);
  return 0;
}
