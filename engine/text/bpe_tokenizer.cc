// SPDX-License-Identifier: Apache-2.0
#include "engine/text/bpe_tokenizer.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr int32_t kNoRank = std::numeric_limits<int32_t>::max();
// Up to this length looking at all pairs for each union is faster than a heap.
constexpr size_t kShortPiece = 96;

size_t PairOf(const char* bytes) {
  return size_t{static_cast<unsigned char>(bytes[0])} << 8 | static_cast<unsigned char>(bytes[1]);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> BpeTokenizer::Make(std::string name,
                                                                 const std::vector<std::string>& tokens) {
  std::unique_ptr<BpeTokenizer> made(new BpeTokenizer(std::move(name)));
  size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  made->bytes_.reserve(bytes);  // views into it stay valid
  made->ranks_.reserve(tokens.size());
  made->pair_ranks_.assign(65536, kNoRank);
  std::fill(std::begin(made->byte_ranks_), std::end(made->byte_ranks_), kNoRank);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& token = tokens[i];
    if (token.empty()) return absl::InvalidArgumentError(absl::StrCat("the token of rank ", i, " is empty"));
    const size_t begin = made->bytes_.size();
    made->bytes_.append(token);
    const auto rank = static_cast<int32_t>(i);
    if (!made->ranks_.emplace(absl::string_view(made->bytes_).substr(begin), rank).second) {
      return absl::InvalidArgumentError(absl::StrCat("the token of rank ", i, " is there a second time"));
    }
    if (token.size() == 1) made->byte_ranks_[static_cast<unsigned char>(token[0])] = rank;
    if (token.size() == 2) made->pair_ranks_[PairOf(token.data())] = rank;
    made->longest_ = std::max(made->longest_, token.size());
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (made->byte_ranks_[byte] == kNoRank) {
      return absl::InvalidArgumentError(absl::StrCat("no token is the single byte ", byte));
    }
  }
  return made;
}

inline int32_t BpeTokenizer::RankOf(absl::string_view bytes) const {
  if (bytes.size() > longest_) return kNoRank;
  const auto found = ranks_.find(bytes);
  return found == ranks_.end() ? kNoRank : found->second;
}

inline int32_t BpeTokenizer::RankOfPair(const char* bytes) const { return pair_ranks_[PairOf(bytes)]; }

template <typename Sink>
void BpeTokenizer::EncodeShort(absl::string_view piece, Sink sink) const {
  struct Part {
    uint32_t begin;
    int32_t rank;  // of the union with the next part
  };
  Part parts[kShortPiece + 1];
  size_t count = piece.size();  // parts[count] ends the last
  for (size_t i = 0; i + 1 < count; ++i) parts[i] = {static_cast<uint32_t>(i), RankOfPair(&piece[i])};
  parts[count - 1] = {static_cast<uint32_t>(count - 1), kNoRank};
  parts[count] = {static_cast<uint32_t>(count), kNoRank};
  const auto union_rank = [&](size_t i) {
    return i + 2 <= count ? RankOf(piece.substr(parts[i].begin, parts[i + 2].begin - parts[i].begin)) : kNoRank;
  };
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (parts[i].rank < parts[best].rank) best = i;
    }
    if (parts[best].rank == kNoRank) break;
    std::copy(parts + best + 2, parts + count + 1, parts + best + 1);
    --count;
    parts[best].rank = union_rank(best);
    if (best > 0) parts[best - 1].rank = union_rank(best - 1);
  }
  for (size_t i = 0; i < count; ++i) {
    const absl::string_view token = piece.substr(parts[i].begin, parts[i + 1].begin - parts[i].begin);
    sink(token.size() == 1 ? byte_ranks_[static_cast<unsigned char>(token[0])] : RankOf(token), token.size());
  }
}

// The same with a heap of unions and a linked list of parts, which are named by where they begin.
template <typename Sink>
void BpeTokenizer::EncodeLong(absl::string_view piece, Sink sink) const {
  const auto size = static_cast<uint32_t>(piece.size());
  struct Part {
    uint32_t end;
    uint32_t previous;
    int32_t rank;  // of the union with the next part
  };
  std::vector<Part> parts(size);
  using Union = std::pair<int32_t, uint32_t>;  // rank, begin: the lowest rank first, of equals the leftmost
  std::vector<Union> unions;
  unions.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    parts[i] = {i + 1, i == 0 ? 0 : i - 1, i + 1 < size ? RankOfPair(&piece[i]) : kNoRank};
    if (parts[i].rank != kNoRank) unions.emplace_back(parts[i].rank, i);
  }
  std::priority_queue heap(std::greater<Union>(), std::move(unions));
  const auto weigh = [&](uint32_t begin) {
    const uint32_t next = parts[begin].end;
    parts[begin].rank = next < size ? RankOf(piece.substr(begin, parts[next].end - begin)) : kNoRank;
    if (parts[begin].rank != kNoRank) heap.emplace(parts[begin].rank, begin);
  };
  while (!heap.empty()) {
    const auto [rank, begin] = heap.top();
    heap.pop();
    if (parts[begin].rank != rank) continue;  // one of the two has grown meanwhile
    const uint32_t next = parts[begin].end;
    parts[begin].end = parts[next].end;
    parts[next].rank = kNoRank;
    if (parts[begin].end < size) parts[parts[begin].end].previous = begin;
    weigh(begin);
    if (begin > 0) weigh(parts[begin].previous);
  }
  for (uint32_t begin = 0; begin < size; begin = parts[begin].end) {
    const absl::string_view token = piece.substr(begin, parts[begin].end - begin);
    sink(token.size() == 1 ? byte_ranks_[static_cast<unsigned char>(token[0])] : RankOf(token), token.size());
  }
}

template <typename Sink>
void BpeTokenizer::EncodePiece(absl::string_view piece, Sink sink) const {
  if (const int32_t whole = RankOf(piece); whole != kNoRank) return sink(whole, piece.size());
  if (piece.size() <= kShortPiece) return EncodeShort(piece, sink);
  EncodeLong(piece, sink);
}

int64_t BpeTokenizer::Count(absl::string_view text) const {
  int64_t tokens = 0;
  while (!text.empty()) {
    const size_t piece = splitter_.FirstPiece(text);
    EncodePiece(text.substr(0, piece), [&](int32_t, size_t) { ++tokens; });
    text.remove_prefix(piece);
  }
  return tokens;
}

void BpeTokenizer::Encode(absl::string_view text, std::vector<int32_t>* ranks) const {
  while (!text.empty()) {
    const size_t piece = splitter_.FirstPiece(text);
    EncodePiece(text.substr(0, piece), [&](int32_t rank, size_t) { ranks->push_back(rank); });
    text.remove_prefix(piece);
  }
}

size_t BpeTokenizer::FittingPrefix(absl::string_view text, int64_t tokens) const {
  // What lies beyond cannot fit, and need not be looked at.
  const auto reach = static_cast<int64_t>(longest_);
  if (tokens < static_cast<int64_t>(text.size()) / reach) {
    text = text.substr(0, CharacterBoundary(text, static_cast<size_t>((tokens + 1) * reach)));
  }
  size_t fits = 0;
  for (int64_t left = tokens; fits < text.size() && left > 0;) {
    const size_t piece = splitter_.FirstPiece(text.substr(fits));
    size_t taken = 0;
    EncodePiece(text.substr(fits, piece), [&](int32_t, size_t bytes) {
      if (left <= 0) return;
      --left;
      taken += bytes;
    });
    fits += taken;
  }
  // A prefix may have other pieces at its end, and the bytes of a character that was cut other tokens.
  fits = CharacterBoundary(text, fits);
  while (fits > 0 && Count(text.substr(0, fits)) > tokens) fits = CharacterBoundary(text, fits - 1);
  return fits;
}

}  // namespace reembed
