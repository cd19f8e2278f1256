// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_BPE_TOKENIZER_H_
#define REEMBED_ENGINE_TEXT_BPE_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/text/piece_splitter.h"
#include "engine/text/token_meter.h"

namespace reembed {

// Byte-pair encoding over the pieces of cl100k_base, the tokenizer of OpenAI's embedding models: within a piece the two
// neighbours whose union has the lowest rank are joined, the leftmost first, until no union is a token. Text that
// looks like a special token is ordinary text, as it is for the embeddings API. Time grows with n log n of the longest
// piece. Thread-safe.
class BpeTokenizer final : public TokenMeter {
 public:
  // `tokens`: their bytes, by rank. Errors: kInvalidArgument (empty or repeated ones, or a byte that is no token).
  static absl::StatusOr<std::unique_ptr<BpeTokenizer>> Make(std::string name, const std::vector<std::string>& tokens);

  absl::string_view name() const override { return name_; }
  bool exact() const override { return true; }
  int64_t AtLeast(absl::string_view text) const override { return Count(text); }
  size_t FittingPrefix(absl::string_view text, int64_t tokens) const override;

  int64_t Count(absl::string_view text) const;

  // Appends the ranks of the tokens of `text` to *ranks.
  void Encode(absl::string_view text, std::vector<int32_t>* ranks) const;

 private:
  explicit BpeTokenizer(std::string name) : name_(std::move(name)) {}

  int32_t RankOf(absl::string_view bytes) const;
  // Of two neighbouring bytes.
  int32_t RankOfPair(const char* bytes) const;
  // Calls sink(rank, bytes) for each token of a piece.
  template <typename Sink>
  void EncodePiece(absl::string_view piece, Sink sink) const;
  template <typename Sink>
  void EncodeShort(absl::string_view piece, Sink sink) const;
  template <typename Sink>
  void EncodeLong(absl::string_view piece, Sink sink) const;

  const std::string name_;
  const PieceSplitter splitter_;
  std::string bytes_;  // of all tokens; ranks_ points into it
  absl::flat_hash_map<absl::string_view, int32_t> ranks_;
  std::vector<int32_t> pair_ranks_;  // [65536], of the tokens of two bytes
  int32_t byte_ranks_[256];
  size_t longest_ = 0;  // token, in bytes
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_BPE_TOKENIZER_H_
