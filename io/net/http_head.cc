// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_head.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace reembed {

bool TakeHttpHeadLine(absl::string_view line, size_t* bytes,
                      std::vector<std::pair<std::string, std::string>>* headers) {
  *bytes += line.size();
  if (*bytes > kMaxHttpHeadBytes) return false;
  if (absl::StartsWith(line, "HTTP/")) {
    headers->clear();
    return true;
  }
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return true;
  headers->emplace_back(absl::AsciiStrToLower(line.substr(0, colon)),
                        absl::StripAsciiWhitespace(line.substr(colon + 1)));
  return true;
}

}  // namespace reembed
