// SPDX-License-Identifier: Apache-2.0
#include "engine/text/long_text.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/setting.h"

namespace reembed {
namespace {

absl::Status TooLong(const TextLimit& limit, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the text has ", limit.meter->exact() ? "" : "at least ", limit.prefix_tokens + limit.meter->AtLeast(text),
      " tokens", limit.prefix_tokens > 0 ? " with the prefix" : "", ", more than the model's limit of ",
      limit.max_tokens, "; ", kLongTextAdvice));
}

}  // namespace

absl::string_view WholeWords(absl::string_view text, size_t bytes) {
  const absl::string_view prefix = text.substr(0, CharacterBoundary(text, bytes));
  if (prefix.size() == text.size()) return text;
  for (size_t i = prefix.size(); i > prefix.size() / 2; --i) {
    if (absl::ascii_isspace(text[i]) && !absl::ascii_isspace(text[i - 1])) return text.substr(0, i);
  }
  return prefix;
}

bool IsTooLong(const TextLimit& limit, absl::string_view text) {
  if (limit.meter == nullptr || limit.max_tokens <= 0) return false;
  // A token has at least a byte.
  if (limit.prefix_tokens + static_cast<int64_t>(text.size()) <= limit.max_tokens) return false;
  return limit.prefix_tokens + limit.meter->AtLeast(text) > limit.max_tokens;
}

absl::StatusOr<std::vector<absl::string_view>> FitText(const TextLimit& limit, absl::string_view text, int max_parts) {
  if (limit.policy == LongText::kReject) return TooLong(limit, text);
  std::vector<absl::string_view> parts;
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t fits = limit.meter->FittingPrefix(rest, std::max<int64_t>(0, limit.max_tokens - limit.prefix_tokens));
    if (fits == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text cannot be cut: the limit of ", limit.max_tokens, " tokens is below one character"));
    }
    absl::string_view part = rest.substr(0, fits);
    if (limit.policy == LongText::kTruncate) return std::vector<absl::string_view>{part};
    if (fits < rest.size()) {
      const absl::string_view whole_words = WholeWords(rest, fits);
      if (!IsTooLong(limit, whole_words)) part = whole_words;
    }
    rest.remove_prefix(part.size());
    if (absl::StripAsciiWhitespace(part).empty()) continue;
    if (static_cast<int>(parts.size()) == max_parts) {
      return absl::InvalidArgumentError(absl::StrCat("the text has ", text.size(), " bytes, more than ", max_parts,
                                                     " parts of ", limit.max_tokens,
                                                     " tokens, and so many go into one request"));
    }
    parts.push_back(part);
  }
  if (parts.empty()) return absl::InvalidArgumentError("the text is too long, and has nothing but white space");
  return parts;
}

}  // namespace reembed
