// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_BYTE_METER_H_
#define REEMBED_TESTS_FAKES_BYTE_METER_H_

#include <cstddef>
#include <cstdint>

#include "engine/text/token_meter.h"

namespace reembed {

// The tokenizer of a model that has a token for each byte.
class ByteMeter final : public TokenMeter {
 public:
  absl::string_view name() const override { return "bytes"; }
  bool exact() const override { return true; }
  int64_t AtLeast(absl::string_view text) const override { return static_cast<int64_t>(text.size()); }
  size_t FittingPrefix(absl::string_view text, int64_t tokens) const override {
    return CharacterBoundary(text, static_cast<size_t>(tokens));
  }
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_BYTE_METER_H_
