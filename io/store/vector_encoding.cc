#include "io/store/vector_encoding.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace reembed {

static_assert(std::endian::native == std::endian::little, "cells are little-endian: bytes must be swapped here");

absl::StatusOr<VectorEncoding> ParseVectorEncoding(absl::string_view name) {
  if (name.empty() || name == "f32") return VectorEncoding::kF32;
  return absl::InvalidArgumentError(absl::StrCat("unknown vector encoding `", name, "`; it may be one of: f32"));
}

absl::string_view EncodeVector(VectorEncoding encoding, absl::Span<const float> vector, std::string* scratch) {
  switch (encoding) {
    case VectorEncoding::kF32:
      return {reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)};
  }
  return *scratch;
}

bool DecodeVector(VectorEncoding encoding, absl::string_view cell, absl::Span<float> vector) {
  switch (encoding) {
    case VectorEncoding::kF32:
      if (cell.size() != vector.size() * sizeof(float)) return false;
      if (!cell.empty()) std::memcpy(vector.data(), cell.data(), cell.size());
      return true;
  }
  return false;
}

int64_t EncodedDim(VectorEncoding encoding, absl::string_view cell) {
  switch (encoding) {
    case VectorEncoding::kF32:
      return cell.size() % sizeof(float) == 0 ? static_cast<int64_t>(cell.size() / sizeof(float)) : -1;
  }
  return -1;
}

std::string HasVectorSql(VectorEncoding encoding, absl::string_view column, int dim) {
  switch (encoding) {
    case VectorEncoding::kF32:
      return absl::StrCat("(typeof(", column, ") = 'blob' AND length(", column,
                          ") = ", static_cast<int64_t>(dim) * static_cast<int64_t>(sizeof(float)), ")");
  }
  return "0";
}

}  // namespace reembed
