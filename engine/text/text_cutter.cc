// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_cutter.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"

namespace reembed {
namespace {

// Tokens are not spread evenly over a text, and each piece has some of its own around it.
constexpr double kShareByFigures = 0.95;
constexpr double kShareByEstimate = 0.8;
constexpr double kShareByLimit = 0.9;
constexpr double kHalf = 0.5;
constexpr size_t kSmallestPiece = 16;  // bytes

int64_t Words(absl::string_view text) {
  int64_t words = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool space = absl::ascii_isspace(c);
    words += !space && !in_word;
    in_word = !space;
  }
  return words;
}

int64_t TokensOf(absl::string_view piece, const TextPart& text) {
  const double share = static_cast<double>(piece.size()) / static_cast<double>(text.text.size());
  return std::max<int64_t>(1, std::llround(share * static_cast<double>(text.tokens)));
}

}  // namespace

TextCutter::TextCutter(const CutOptions& options)
    : options_(options), limit_(options.max_tokens), fitting_(options.max_tokens) {}

TextCutter::Length TextCutter::Judge(absl::string_view text, int64_t tokens) const {
  int64_t limit = 0;
  {
    const MutexLock lock(&mutex_);
    if (fitting_ == 0 || tokens <= fitting_) return Length::kFits;
    limit = limit_;
  }
  return limit > 0 && tokens > limit && Words(text) > limit ? Length::kTooLong : Length::kDoubtful;
}

void TextCutter::Taken(int64_t tokens) {
  const MutexLock lock(&mutex_);
  if (fitting_ > 0) fitting_ = std::max(fitting_, tokens);
}

// Of the text, prefix included, that the next try keeps.
double TextCutter::Share(int64_t tokens, const Overlength& said, int cuts) {
  const auto part = [](int64_t of, int64_t whole) { return static_cast<double>(of) / static_cast<double>(whole); };
  const MutexLock lock(&mutex_);
  if (said.limit > 0 && !said.estimated && (limit_ == 0 || said.limit < limit_)) {
    // Only ever lower: what is named may be the limit of a whole request.
    limit_ = said.limit;
    const auto fitting = static_cast<int64_t>(kShareByLimit * static_cast<double>(limit_));
    fitting_ = fitting_ == 0 ? fitting : std::min(fitting_, fitting);
  }
  if (said.limit > 0 && said.tokens > said.limit) {
    return part(said.limit, said.tokens) * (said.estimated ? kShareByEstimate : kShareByFigures);
  }
  if (said.refused && (fitting_ == 0 || tokens <= fitting_)) fitting_ = std::max<int64_t>(1, tokens / 2);
  const double by_limit = fitting_ > 0 && fitting_ < tokens ? kShareByLimit * part(fitting_, tokens) : kShareByLimit;
  const bool limit_helps = limit_ > 0 && cuts == 0;
  return said.refused && !limit_helps ? std::min(kHalf, by_limit) : by_limit;
}

std::vector<TextPart> TextCutter::Cut(const TextPart& text, const Overlength& said, int cuts) {
  const double share = Share(std::max<int64_t>(1, text.tokens), said, cuts);
  const auto prefix = static_cast<double>(options_.prefix_bytes);
  const double most = share * (prefix + static_cast<double>(text.text.size())) - prefix;
  if (most < static_cast<double>(kSmallestPiece)) return {};
  auto bytes = static_cast<size_t>(most);
  if (options_.policy == LongText::kSplit) {
    const size_t parts = (text.text.size() + bytes - 1) / bytes;
    bytes = (text.text.size() + parts - 1) / parts;
  }
  std::vector<TextPart> pieces;
  for (absl::string_view rest = text.text; !rest.empty();) {
    const absl::string_view piece = WholeWords(rest, bytes);
    rest.remove_prefix(piece.size());
    if (!absl::StripAsciiWhitespace(piece).empty()) pieces.push_back({.text = piece, .tokens = TokensOf(piece, text)});
    if (options_.policy == LongText::kTruncate) break;
  }
  return pieces;
}

}  // namespace reembed
