// SPDX-License-Identifier: Apache-2.0
#include "engine/text/piece_meter.h"

namespace reembed {

int64_t PieceMeter::AtLeast(absl::string_view text) const {
  constexpr size_t kLongestToken = 128;
  int64_t tokens = 0;
  while (!text.empty()) {
    const size_t piece = splitter_.FirstPiece(text);
    tokens += static_cast<int64_t>((piece + kLongestToken - 1) / kLongestToken);
    text.remove_prefix(piece);
  }
  return tokens;
}

}  // namespace reembed
