// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_
#define REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/source.h"

namespace reembed {

inline constexpr int kNumberedTextBytes = 60;

// Texts of 60 bytes, so of 15 tokens as the embedding server counts them, all different. It costs next to nothing:
// sources are measured elsewhere.
class NumberedSource final : public Source {
 public:
  explicit NumberedSource(int64_t rows) : rows_(rows) { text_.resize(kNumberedTextBytes, '.'); }
  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ == rows_) return std::nullopt;
    for (int64_t i = kDigitsEnd, rest = next_; i >= kDigitsBegin; --i, rest /= 10) {
      text_[i] = static_cast<char>('0' + rest % 10);
    }
    return RowView{.key = next_++, .text = text_};
  }
  absl::Status SeekAfter(KeyView) override { return absl::OkStatus(); }
  absl::StatusOr<std::optional<RowView>> Find(KeyView) override { return std::nullopt; }
  absl::StatusOr<int64_t> CountRows() override { return rows_; }

 private:
  static constexpr int64_t kDigitsBegin = 4, kDigitsEnd = 16;

  const int64_t rows_;
  int64_t next_ = 0;
  std::string text_ = "row 0000000000000 of a store with texts that are all different";
};

}  // namespace reembed

#endif  // REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_
