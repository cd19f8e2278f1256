// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/learned_caps.h"

#include <algorithm>

namespace reembed {
namespace {

// Our count of tokens may be an estimate, so a cap that is computed with it keeps some distance.
constexpr double kEstimateShare = 0.95;
// Our bytes are those of the texts and not of the request, our tokens an estimate.
constexpr double kSurelySmaller = 0.75;
// Twice as many texts take about twice the time, so the next size is still far from the limit.
constexpr double kQuick = 0.25;

struct Size {
  int64_t texts = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

void Add(const BatchText& text, Size* size) {
  ++size->texts;
  size->tokens += text.tokens;
  size->bytes += static_cast<int64_t>(text.text.size());
}

Size SizeOf(absl::Span<const BatchText> texts) {
  Size size;
  for (const BatchText& text : texts) Add(text, &size);
  return size;
}

// The larger of its halves, in each measure: what to try next when the API names no limit.
Size HalfOf(absl::Span<const BatchText> texts) {
  const Size front = SizeOf(texts.first(texts.size() / 2));
  const Size back = SizeOf(texts.subspan(texts.size() / 2));
  return {std::max(front.texts, back.texts), std::max(front.tokens, back.tokens), std::max(front.bytes, back.bytes)};
}

// By what the API named; 0: it named nothing that is of use.
int64_t NamedTokenCap(int64_t tokens, const Excess& excess) {
  if (excess.limit > 0 && excess.requested > excess.limit) {
    const double ours_per_theirs = static_cast<double>(tokens) / static_cast<double>(excess.requested);
    const double cap = static_cast<double>(excess.limit) * ours_per_theirs * kEstimateShare;
    return std::max<int64_t>(1, static_cast<int64_t>(cap));
  }
  // A limit above what we counted says that we count too little.
  return excess.limit > 0 && excess.limit < tokens ? excess.limit : 0;
}

int64_t Pieces(int64_t size, int64_t cap) { return size / cap + (size % cap == 0 ? 0 : 1); }

}  // namespace

void LearnedCaps::Refused(absl::Span<const BatchText> texts, const Excess& excess) {
  const Size size = SizeOf(texts);
  const Size half = HalfOf(texts);
  const bool is_alone = size.texts == 1;
  int64_t named = 0;
  const MutexLock lock(&mutex_);
  switch (excess.measure) {
    case Measure::kNone:
    case Measure::kTextTokens:
      break;
    case Measure::kTexts:
      if (excess.limit > 0 && excess.limit < size.texts) {
        texts_.named = std::min(texts_.named, excess.limit);
      } else {
        texts_.Guess(size.texts, half.texts, is_alone);
      }
      break;
    case Measure::kTokens:
      named = NamedTokenCap(size.tokens, excess);
      if (named > 0) {
        tokens_.named = std::min(tokens_.named, named);
      } else {
        tokens_.Guess(size.tokens, half.tokens, is_alone);
      }
      break;
    case Measure::kBytes:
      bytes_.Guess(size.bytes, half.bytes, is_alone);
      break;
  }
}

void LearnedCaps::Cap::Guess(int64_t size, int64_t half, bool is_alone) {
  if (!is_alone) {
    const bool more_was_taken = static_cast<double>(size) < kSurelySmaller * static_cast<double>(taken);
    if (!more_was_taken) guessed = std::min(guessed, std::max<int64_t>(1, half));
  } else if (size <= guessed) {
    guessed = kNone;
  }
}

int64_t LearnedCaps::TimedOut(absl::Span<const BatchText> texts, bool again) {
  const auto size = static_cast<int64_t>(texts.size());
  const MutexLock lock(&mutex_);
  if (size < 2 || (!again && size <= texts_.taken)) return 0;
  texts_.slow = std::min(texts_.slow, size / 2);
  texts_.taken = std::min(texts_.taken, texts_.slow);
  return texts_.slow;
}

void LearnedCaps::Taken(absl::Span<const BatchText> texts, double time_share) {
  const Size size = SizeOf(texts);
  const MutexLock lock(&mutex_);
  if (texts_.slow != kNone && size.texts >= texts_.slow && time_share < kQuick) texts_.slow *= 2;
  texts_.taken = std::max(texts_.taken, size.texts);
  tokens_.taken = std::max(tokens_.taken, size.tokens);
  bytes_.taken = std::max(bytes_.taken, size.bytes);
}

RequestCaps LearnedCaps::caps() const {
  const MutexLock lock(&mutex_);
  return {.texts = texts_.Value(), .tokens = tokens_.Value(), .bytes = bytes_.Value()};
}

int LearnedCaps::Fitting(absl::Span<const BatchText> texts) const {
  const RequestCaps cap = caps();
  if (cap.texts == kNone && cap.tokens == kNone && cap.bytes == kNone) return static_cast<int>(texts.size());
  // Equal parts, so that none is a leftover that takes a request of its own for little.
  const Size whole = SizeOf(texts);
  const int64_t pieces =
      std::max({Pieces(whole.texts, cap.texts), Pieces(whole.tokens, cap.tokens), Pieces(whole.bytes, cap.bytes)});
  if (pieces <= 1) return static_cast<int>(texts.size());
  const int64_t share = Pieces(whole.texts, pieces);
  Size taken;
  for (const BatchText& text : texts) {
    Add(text, &taken);
    const bool fits = taken.texts <= share && taken.tokens <= cap.tokens && taken.bytes <= cap.bytes;
    if (!fits) return static_cast<int>(std::max<int64_t>(1, taken.texts - 1));
  }
  return static_cast<int>(texts.size());
}

}  // namespace reembed
