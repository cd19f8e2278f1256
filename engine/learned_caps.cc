#include "engine/learned_caps.h"

#include <algorithm>

namespace reembed {
namespace {

// Our count of tokens may be an estimate, so a cap that is computed with it keeps some distance.
constexpr double kEstimateShare = 0.95;

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

int64_t TokenCap(int64_t tokens, int64_t half, const Excess& excess) {
  if (excess.limit > 0 && excess.requested > excess.limit) {
    const double ours_per_theirs = static_cast<double>(tokens) / static_cast<double>(excess.requested);
    return static_cast<int64_t>(static_cast<double>(excess.limit) * ours_per_theirs * kEstimateShare);
  }
  // A limit above what we counted says that we count too little.
  return excess.limit > 0 && excess.limit < tokens ? excess.limit : half;
}

int64_t Pieces(int64_t size, int64_t cap) { return size / cap + (size % cap == 0 ? 0 : 1); }

}  // namespace

void LearnedCaps::Refused(absl::Span<const BatchText> texts, const Excess& excess) {
  const Size size = SizeOf(texts);
  const Size half = HalfOf(texts);
  const auto lower = [](int64_t* cap, int64_t to) { *cap = std::min(*cap, std::max<int64_t>(1, to)); };
  const std::lock_guard lock(mutex_);
  switch (excess.measure) {
    case Measure::kNone:
    case Measure::kTextTokens:
      break;
    case Measure::kTexts:
      lower(&texts_, excess.limit > 0 && excess.limit < size.texts ? excess.limit : half.texts);
      break;
    case Measure::kTokens:
      lower(&tokens_, TokenCap(size.tokens, half.tokens, excess));
      break;
    case Measure::kBytes:
      lower(&bytes_, half.bytes);
      break;
  }
}

int LearnedCaps::Fitting(absl::Span<const BatchText> texts) const {
  Size cap;
  {
    const std::lock_guard lock(mutex_);
    cap = {texts_, tokens_, bytes_};
  }
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
