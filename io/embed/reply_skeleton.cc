// SPDX-License-Identifier: Apache-2.0
#include "io/embed/reply_skeleton.h"

#include <algorithm>
#include <cstring>

#include "engine/number/json_text.h"
#include "engine/number/number_array.h"

namespace reembed {
namespace {

constexpr size_t kLong = 32;  // shorter ones are cheaper to copy

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

const char* FindByte(char c, const char* from, const char* end) {
  const void* const found = std::memchr(from, c, static_cast<size_t>(end - from));
  return found == nullptr ? end : static_cast<const char*>(found);
}

// The quote that ends the string whose text begins at `text`; `end` if none does.
const char* ClosingQuote(const char* text, const char* end) {
  for (const char* quote = FindByte('"', text, end); quote != end; quote = FindByte('"', quote + 1, end)) {
    const char* before = quote;
    while (before > text && before[-1] == '\\') --before;
    if ((quote - before) % 2 == 0) return quote;
  }
  return end;
}

}  // namespace

void ReplySkeleton::Build(absl::string_view body, size_t base64_bytes) {
  json_.clear();
  left_out_.clear();
  next_ = 0;
  const char* at = body.data();
  const char* const end = at + body.size();
  while (at < end) {
    if (*at == '"') {
      at = AddString(at, end, base64_bytes);
    } else if (*at == '[') {
      at = AddArray(at, end);
    } else {
      json_.push_back(*at++);
    }
  }
}

const char* ReplySkeleton::AddString(const char* quote, const char* end, size_t base64_bytes) {
  const char* const text = quote + 1;
  const bool is_long = static_cast<size_t>(end - text) > kLong && FindByte('"', text, text + kLong) == text + kLong;
  // Whether there is no other quote before that one is seen when the text is decoded.
  const bool as_expected =
      is_long && base64_bytes >= kLong && static_cast<size_t>(end - text) > base64_bytes && text[base64_bytes] == '"';
  const char* const close = as_expected ? text + base64_bytes : ClosingQuote(text, end);
  const size_t length = static_cast<size_t>(close - text);
  if (close == end || length < kLong || (!as_expected && FindByte('\\', text, close) != close)) {
    const char* const behind = close == end ? end : close + 1;
    json_.append(quote, behind);
    return behind;
  }
  left_out_.push_back({.at = json_.size(), .text = {text, length}});
  json_ += "\"\"";
  return close + 1;
}

const char* ReplySkeleton::AddArray(const char* bracket, const char* end) {
  const char* number = bracket + 1;
  while (number < end && IsSpace(*number)) ++number;
  if (number < end && (*number == '-' || (*number >= '0' && *number <= '9'))) {
    const char* const close = FindByte(']', number, end);
    if (close != end && static_cast<size_t>(close - bracket) >= kLong) {
      left_out_.push_back(
          {.at = json_.size(), .text = {bracket, static_cast<size_t>(close + 1 - bracket)}, .is_array = true});
      json_ += "[]";
      return close + 1;
    }
  }
  json_.push_back('[');
  return bracket + 1;
}

ReplySkeleton::LeftOut* ReplySkeleton::Find(const char* at) {
  const auto offset = static_cast<size_t>(at - json_.data());
  while (next_ < left_out_.size() && left_out_[next_].at < offset) ++next_;
  return next_ < left_out_.size() && left_out_[next_].at == offset ? &left_out_[next_] : nullptr;
}

bool ReplySkeleton::UnusedAreSound() const {
  return std::all_of(left_out_.begin(), left_out_.end(), [](const LeftOut& one) {
    if (one.used) return true;
    if (one.is_array) return ParseNumberArray(one.text, {}).has_value();
    const auto spoils = [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' '; };
    return std::none_of(one.text.begin(), one.text.end(), spoils) && IsValidUtf8(one.text);
  });
}

}  // namespace reembed
