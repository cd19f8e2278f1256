#include "engine/batch.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {

Batch::Batch(const BatchLimits& limits, int dim)
    : limits_(limits),
      dim_(dim),
      arena_(new char[limits.max_text_bytes]),
      // Not value-initialised: pages that no batch touches cost nothing.
      vectors_(new float[static_cast<size_t>(limits.max_texts) * dim]) {
  rows_.reserve(limits.max_rows);
  texts_.reserve(limits.max_texts);
}

void Batch::Clear() {
  range_ = {};
  rows_.clear();
  texts_.clear();
  arena_used_ = 0;
  tokens_ = 0;
  loaded_rows_ = 0;
  replies_.clear();
  status_ = absl::OkStatus();
  attempts_ = 0;
}

bool Batch::Fits(size_t key_and_text_bytes, int64_t tokens) const {
  if (static_cast<int>(rows_.size()) >= limits_.max_rows) return false;
  if (static_cast<int>(texts_.size()) >= limits_.max_texts) return false;
  // One text above the limit goes alone: the provider, not our estimate, decides whether it is too long.
  if (limits_.max_tokens > 0 && !texts_.empty() && tokens_ + tokens > limits_.max_tokens) return false;
  return arena_used_ + key_and_text_bytes <= limits_.max_text_bytes;
}

absl::string_view Batch::Copy(absl::string_view bytes) {
  char* const to = arena_.get() + arena_used_;
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  arena_used_ += bytes.size();
  return {to, bytes.size()};
}

BatchRow* Batch::AddRow(int64_t ordinal, KeyView key, int64_t slot) {
  if (const auto* text = std::get_if<absl::string_view>(&key)) key = Copy(*text);
  rows_.push_back({.ordinal = ordinal, .slot = slot, .key = key});
  return &rows_.back();
}

BatchRow* Batch::AddRowWithText(int64_t ordinal, KeyView key, int64_t slot, absl::string_view text, int64_t tokens) {
  BatchRow* const row = AddRow(ordinal, key, slot);
  row->text = static_cast<int>(texts_.size());
  texts_.push_back({.text = Copy(text), .slot = slot, .tokens = tokens});
  tokens_ += tokens;
  return row;
}

absl::Span<float> Batch::vectors() { return {vectors_.get(), texts_.size() * dim_}; }
absl::Span<const float> Batch::vectors() const { return {vectors_.get(), texts_.size() * dim_}; }

absl::Span<float> Batch::TakeLoadSpace(int rows) {
  if (loaded_ == nullptr) loaded_.reset(new float[static_cast<size_t>(limits_.max_rows) * dim_]);
  float* const room = loaded_.get() + static_cast<size_t>(loaded_rows_) * dim_;
  loaded_rows_ += rows;
  return {room, static_cast<size_t>(rows) * dim_};
}

void Batch::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

int64_t Batch::BytesOf(const BatchLimits& limits, int dim) {
  const int64_t vector_bytes = static_cast<int64_t>(dim) * sizeof(float);
  // A reply in base64 is 4/3 of its vectors, and a body at most a third longer than its texts unless they are full of
  // escapes; replies as numbers are up to five times as long (facts of the providers: 10 to 22 characters a number).
  const int64_t reply_bytes = limits.max_texts * (vector_bytes * 4 / 3 + 64);
  const int64_t body_bytes = static_cast<int64_t>(limits.max_text_bytes) * 4 / 3;
  return limits.max_texts * vector_bytes + limits.max_rows * vector_bytes +
         static_cast<int64_t>(limits.max_text_bytes) + body_bytes + reply_bytes;
}

}  // namespace reembed
