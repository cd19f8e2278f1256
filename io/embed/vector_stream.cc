// SPDX-License-Identifier: Apache-2.0
#include "io/embed/vector_stream.h"

#include <algorithm>
#include <utility>

#include "engine/number/base64.h"

namespace reembed {
namespace {

constexpr size_t kShort = 64;  // names and the like; a vector's text is longer

}  // namespace

VectorStream::VectorStream(int dim, absl::Span<float> vectors)
    : dim_(dim),
      length_((static_cast<size_t>(dim) * sizeof(float) + 2) / 3 * 4),
      vectors_(vectors),
      off_(length_ <= kShort) {}

void VectorStream::Add(absl::string_view bytes, std::string* text) {
  while (!held_back_.empty() && !bytes.empty()) {
    const size_t before = held_back_.size();
    const size_t more = std::min(bytes.size(), length_ + 2 - before);
    held_back_.append(bytes.data(), more);
    const size_t taken = Take(held_back_, text);
    if (taken == 0 || taken >= before) {
      bytes.remove_prefix(taken == 0 ? more : taken - before);
      if (taken > 0) held_back_.clear();
      continue;
    }
    // It was no vector, and had ended before the new bytes came.
    bytes.remove_prefix(more);
    const std::string behind = std::exchange(held_back_, {}).substr(taken);
    Add(behind, text);
  }
  while (!bytes.empty()) {
    const size_t taken = off_ ? 0 : Take(bytes, text);
    if (taken == 0) {
      // Libcurl hands over 16 KiB at a time, so half of all long vectors come in two pieces: one buffer for all of
      // them.
      if (!off_) held_back_.reserve(length_ + 2);
      (off_ ? text : &held_back_)->append(bytes.data(), bytes.size());
      return;
    }
    bytes.remove_prefix(taken);
  }
}

std::vector<DecodedVector> VectorStream::Finish(std::string* text) {
  text->append(held_back_);
  held_back_.clear();
  return std::move(decoded_);
}

// Takes the bytes up to the next string, or the string that they begin with. Returns how many; 0: a string begins here,
// and what it is cannot be told yet.
size_t VectorStream::Take(absl::string_view bytes, std::string* text) {
  if (off_ || bytes.front() != '"') {
    const size_t quote = off_ ? bytes.size() : std::min(bytes.find('"'), bytes.size());
    text->append(bytes.data(), quote);
    return quote;
  }
  const absl::string_view whole = bytes.substr(0, length_ + 2);
  // Only then may it be a vector; that there is no quote inside shows when it is decoded.
  if (whole.size() == length_ + 2 && whole.substr(1, kShort).find('"') == absl::string_view::npos &&
      TakeVector(whole, text)) {
    return whole.size();
  }
  // To look for its end now, in each piece in which half a vector lies, would take longer than what seldom is none.
  if (whole.size() < length_ + 2 && whole.size() > kShort && whole.substr(1, kShort).find('"') == whole.npos) return 0;
  const size_t close = whole.find('"', 1);
  if (close == absl::string_view::npos && whole.size() < length_ + 2) return 0;
  const size_t end = close == absl::string_view::npos ? 0 : close + 1;
  off_ = end == 0 || whole.substr(0, end).find('\\') != absl::string_view::npos;
  text->append(bytes.data(), off_ ? bytes.size() : end);
  return off_ ? bytes.size() : end;
}

bool VectorStream::TakeVector(absl::string_view string, std::string* text) {
  const size_t dim = static_cast<size_t>(dim_);
  const absl::string_view base64 = string.substr(1, length_);
  if (string.back() != '"' || (decoded_.size() + 1) * dim > vectors_.size()) return false;
  const absl::Span<float> row = vectors_.subspan(decoded_.size() * dim, dim);
  if (!DecodeBase64(base64, {reinterpret_cast<unsigned char*>(row.data()), dim * sizeof(float)})) return false;
  decoded_.push_back({.at = text->size(), .fault = CheckVector(row)});
  *text += "\"\"";
  return true;
}

}  // namespace reembed
