#include "engine/long_text.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

// Where white space begins in the second half of a prefix that is too good to break a word; its end if nowhere.
size_t BreakBefore(absl::string_view prefix) {
  for (size_t i = prefix.size() - 1; i > prefix.size() / 2; --i) {
    if (absl::ascii_isspace(prefix[i]) && !absl::ascii_isspace(prefix[i - 1])) return i;
  }
  return prefix.size();
}

absl::Status TooLong(const TextLimit& limit, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("the text has ", limit.meter->exact() ? "" : "at least ",
                                                 limit.meter->AtLeast(text), " tokens, more than the model's limit of ",
                                                 limit.max_tokens,
                                                 "; --long-text truncate or split gives it a vector all the same"));
}

}  // namespace

bool IsTooLong(const TextLimit& limit, absl::string_view text) {
  if (limit.meter == nullptr || limit.max_tokens <= 0) return false;
  // A token has at least a byte.
  if (static_cast<int64_t>(text.size()) <= limit.max_tokens) return false;
  return limit.meter->AtLeast(text) > limit.max_tokens;
}

absl::StatusOr<std::vector<absl::string_view>> FitText(const TextLimit& limit, absl::string_view text, int max_parts) {
  if (limit.policy == LongText::kReject) return TooLong(limit, text);
  std::vector<absl::string_view> parts;
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t fits = limit.meter->FittingPrefix(rest, limit.max_tokens);
    if (fits == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the text cannot be cut: the limit of ", limit.max_tokens, " tokens is below one character"));
    }
    absl::string_view part = rest.substr(0, fits);
    if (limit.policy == LongText::kTruncate) return std::vector<absl::string_view>{part};
    if (fits < rest.size()) {
      const absl::string_view whole_words = part.substr(0, BreakBefore(part));
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
