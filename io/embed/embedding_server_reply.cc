// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server_reply.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "base64 vectors are little-endian on the wire");

constexpr size_t kObjectBytes = 64;  // {"object":"embedding","index":2047,"embedding":...} and some
constexpr size_t kDigits = 16;       // no float32 takes more in its shortest form, as in -1.1754944e-38; with its comma

}  // namespace

EmbeddingReplyWriter::EmbeddingReplyWriter(EmbeddingEncoding encoding, int vectors, int dim) : encoding_(encoding) {
  const size_t values = static_cast<size_t>(dim);
  const size_t vector_bytes = encoding == EmbeddingEncoding::kBase64 ? (4 * values + 2) / 3 * 4 : 13 * values;
  out_.reserve(kObjectBytes + static_cast<size_t>(vectors) * (vector_bytes + kObjectBytes));
  out_ = "{\"object\":\"list\",\"data\":[";
}

void EmbeddingReplyWriter::Add(absl::Span<const float> vector) {
  if (count_ > 0) out_.push_back(',');
  absl::StrAppend(&out_, "{\"object\":\"embedding\",\"index\":", count_++, ",\"embedding\":");
  if (encoding_ == EmbeddingEncoding::kBase64) {
    AddBase64(vector);
  } else {
    AddDigits(vector);
  }
  out_.push_back('}');
}

void EmbeddingReplyWriter::AddDigits(absl::Span<const float> vector) {
  char separator = '[';
  std::array<char, kDigits> digits;
  for (const float value : vector) {
    out_.push_back(separator);
    separator = ',';
    const std::to_chars_result result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
    out_.append(digits.data(), static_cast<size_t>(result.ptr - digits.data()));
  }
  out_.push_back(']');
}

void EmbeddingReplyWriter::AddBase64(absl::Span<const float> vector) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(vector.data());
  EncodeBase64(absl::MakeConstSpan(bytes, vector.size() * sizeof(float)), &base64_);
  absl::StrAppend(&out_, "\"", base64_, "\"");
}

std::string EmbeddingReplyWriter::TakeVectors() && {
  out_.push_back(']');
  return std::move(out_);
}

std::string EmbeddingReplyTail(absl::string_view model, int64_t tokens) {
  std::string tail = ",\"model\":";
  AppendJsonString(model, &tail);
  absl::StrAppend(&tail, ",\"usage\":{\"prompt_tokens\":", tokens, ",\"total_tokens\":", tokens, "}}");
  return tail;
}

}  // namespace reembed
