#ifndef REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_
#define REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/source.h"

namespace reembed {

inline constexpr int kNumberedTextBytes = 60;

// Texts of 60 bytes, so of 15 tokens as the embedding server counts them, all different.
class NumberedSource final : public Source {
 public:
  explicit NumberedSource(int64_t rows) : rows_(rows) {}
  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ == rows_) return std::nullopt;
    text_ = absl::StrFormat("row %010d of a store with texts that are all different   ", next_);
    text_.resize(kNumberedTextBytes, '.');
    return RowView{.key = next_++, .text = text_};
  }
  absl::Status SeekAfter(KeyView) override { return absl::OkStatus(); }
  absl::StatusOr<std::optional<RowView>> Find(KeyView) override { return std::nullopt; }
  absl::StatusOr<int64_t> CountRows() override { return rows_; }

 private:
  const int64_t rows_;
  int64_t next_ = 0;
  std::string text_;
};

}  // namespace reembed

#endif  // REEMBED_BENCH_END_TO_END_NUMBERED_SOURCE_H_
