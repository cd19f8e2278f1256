// SPDX-License-Identifier: Apache-2.0
#include "engine/batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
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

bool Batch::Fits(size_t key_and_text_bytes, int texts) const {
  if (static_cast<int>(rows_.size()) >= limits_.max_rows) return false;
  if (static_cast<int>(texts_.size()) + texts > limits_.max_texts) return false;
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

BatchRow* Batch::AddRowWithParts(int64_t ordinal, KeyView key, int64_t slot, absl::Span<const TextPart> parts) {
  BatchRow* const row = AddRow(ordinal, key, slot);
  row->text = static_cast<int>(texts_.size());
  for (const TextPart& part : parts) {
    texts_.push_back({.text = Copy(part.text), .slot = slot, .tokens = part.tokens});
    if (parts.size() > 1) texts_.back().part_of = row->text;
    tokens_ += part.tokens;
  }
  return row;
}

void Batch::MergeParts() {
  const auto is_part = [](const BatchText& text) { return text.part_of >= 0; };
  if (std::none_of(texts_.begin(), texts_.end(), is_part)) return;
  std::vector<int> place(texts_.size());
  size_t to = 0;
  for (size_t from = 0, end; from < texts_.size(); from = end) {
    end = from + 1;
    while (is_part(texts_[from]) && end < texts_.size() && texts_[end].part_of == texts_[from].part_of) ++end;
    if (is_part(texts_[from])) MergeInto(from, end);
    place[from] = static_cast<int>(to);
    if (to != from) {
      texts_[to] = std::move(texts_[from]);
      std::copy_n(vectors_.get() + from * dim_, dim_, vectors_.get() + to * dim_);
    }
    ++to;
  }
  texts_.resize(to);
  for (BatchRow& row : rows_) {
    if (row.text >= 0) row.text = place[row.text];
  }
}

// Makes one text of the parts [first, end), in the place of the first.
void Batch::MergeInto(size_t first, size_t end) {
  BatchText& whole = texts_[first];
  float* const vector = vectors_.get() + first * dim_;
  std::vector<double> sum(dim_);
  int64_t tokens = 0;
  absl::Status reject;
  bool answered = true;
  for (size_t part = first; part < end; ++part) {
    const BatchText& text = texts_[part];
    answered = answered && text.answered;
    if (!text.reject.ok() && reject.ok()) {
      reject = absl::Status(text.reject.code(),
                            absl::StrCat("part ", part - first + 1, " of ", end - first, ": ", text.reject.message()));
    }
    const auto weight = static_cast<double>(std::max<int64_t>(1, text.tokens));
    for (int i = 0; i < dim_; ++i) sum[i] += weight * vectors_[part * dim_ + i];
    tokens += text.tokens;
  }
  const double length = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
  if (reject.ok() && !(std::isfinite(length) && length > 0)) {
    reject = absl::DataLossError(absl::StrCat("the vectors of its ", end - first, " parts have no direction together"));
  }
  for (int i = 0; i < dim_; ++i) vector[i] = reject.ok() ? static_cast<float>(sum[i] / length) : 0.0f;
  whole.text = {whole.text.data(),
                static_cast<size_t>(texts_[end - 1].text.data() + texts_[end - 1].text.size() - whole.text.data())};
  whole.tokens = tokens;
  whole.reject = std::move(reject);
  whole.answered = answered;
  whole.part_of = -1;
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

void Batch::Distrust(absl::Status status) {
  Fail(std::move(status));
  for (BatchText& text : texts_) text.answered = false;
}

int64_t Batch::BytesOf(const BatchLimits& limits, int dim) {
  const int64_t vector_bytes = dim * static_cast<int64_t>(sizeof(float));
  // A reply in base64 is 4/3 of its vectors, and a body at most a third longer than its texts unless they are full of
  // escapes; replies as numbers are up to five times as long (facts of the providers: 10 to 22 characters a number).
  const int64_t reply_bytes = limits.max_texts * (vector_bytes * 4 / 3 + 64);
  const int64_t body_bytes = static_cast<int64_t>(limits.max_text_bytes) * 4 / 3;
  return limits.max_texts * vector_bytes + limits.max_rows * vector_bytes +
         static_cast<int64_t>(limits.max_text_bytes) + body_bytes + reply_bytes;
}

}  // namespace reembed
