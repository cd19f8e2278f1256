// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/memory_undo.h"

#include <utility>

#include "tests/fakes/vector_rows.h"

namespace reembed {

absl::Status MemoryUndo::Log(absl::FunctionRef<absl::StatusOr<std::optional<OldRow>>()> next) {
  if (!failure_.ok()) return failure_;
  while (true) {
    const absl::StatusOr<std::optional<OldRow>> row = next();
    if (!row.ok()) return row.status();
    if (!row->has_value()) return absl::OkStatus();
    if (!known_.emplace(Own((*row)->key), true).second) continue;
    Row& kept = rows_.emplace_back(Row{(*row)->ordinal, Own((*row)->key), std::nullopt});
    if ((*row)->content.has_value()) kept.content = std::string(*(*row)->content);
  }
}

absl::Status MemoryUndo::LogNote(absl::string_view name, absl::string_view value) {
  if (!failure_.ok()) return failure_;
  notes_.emplace(name, value);
  return absl::OkStatus();
}

class MemoryUndoReader final : public UndoReader {
 public:
  MemoryUndoReader(const MemoryUndo* undo, int dim) : undo_(undo), dim_(dim) {}

  absl::StatusOr<std::optional<OldRow>> Next() override {
    if (next_ == undo_->rows_.size()) return std::nullopt;
    const MemoryUndo::Row& row = undo_->rows_[next_++];
    OldRow old{.ordinal = row.ordinal, .key = ViewOf(row.key)};
    if (row.content.has_value()) old.content = *row.content;
    return old;
  }

  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) override {
    const auto found = undo_->notes_.find(std::string(name));
    if (found == undo_->notes_.end()) return std::nullopt;
    return found->second;
  }

  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    if (dim_ == 0) return std::nullopt;
    vector_ = VectorOfOrdinal(ordinal, dim_);
    return absl::MakeConstSpan(vector_);
  }

 private:
  const MemoryUndo* const undo_;
  const int dim_;
  size_t next_ = 0;
  std::vector<float> vector_;
};

std::unique_ptr<UndoReader> MemoryUndo::Read(int dim) const { return std::make_unique<MemoryUndoReader>(this, dim); }

}  // namespace reembed
