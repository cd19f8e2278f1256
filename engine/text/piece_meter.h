// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_PIECE_METER_H_
#define REEMBED_ENGINE_TEXT_PIECE_METER_H_

#include <cstddef>
#include <cstdint>

#include "engine/text/piece_splitter.h"
#include "engine/text/token_meter.h"

namespace reembed {

// The bounds of cl100k_base that need no vocabulary: a text has at least as many tokens as pieces, at least one for
// every 128 bytes (the longest token), and at most one for every byte. Thread-safe.
class PieceMeter final : public TokenMeter {
 public:
  absl::string_view name() const override { return kCl100k; }
  bool exact() const override { return false; }
  int64_t AtLeast(absl::string_view text) const override;
  size_t FittingPrefix(absl::string_view text, int64_t tokens) const override {
    return CharacterBoundary(text, tokens < 0 ? 0 : static_cast<size_t>(tokens));
  }

 private:
  const PieceSplitter splitter_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_PIECE_METER_H_
