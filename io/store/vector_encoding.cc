// SPDX-License-Identifier: Apache-2.0
#include "io/store/vector_encoding.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/number/json_scanner.h"
#include "engine/number/json_value.h"
#include "engine/number/normalize.h"
#include "engine/number/number_text.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "cells are little-endian: bytes must be swapped here");

template <typename AppendNumber>
void AppendJson(absl::Span<const float> vector, absl::string_view separator, AppendNumber append, std::string* out) {
  out->push_back('[');
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out->append(separator.data(), separator.size());
    append(vector[i], out);
  }
  out->push_back(']');
}

bool DecodeJson(absl::string_view cell, absl::Span<float> vector) {
  JsonScanner scanner(cell);
  if (!scanner.Take('[')) return false;
  for (size_t i = 0; i < vector.size(); ++i) {
    absl::string_view token;
    if ((i > 0 && !scanner.Take(',')) || !scanner.TakeValue(&token)) return false;
    const std::optional<float> number = JsonFloat(token);
    if (!number.has_value() || !std::isfinite(*number)) return false;
    vector[i] = *number;
  }
  return scanner.Take(']') && scanner.AtEnd();
}

int64_t JsonDim(absl::string_view cell) {
  JsonScanner scanner(cell);
  if (scanner.AtEnd()) return 0;
  if (!scanner.Take('[')) {
    absl::string_view token;
    return scanner.TakeValue(&token) && token == "null" && scanner.AtEnd() ? 0 : -1;
  }
  size_t elements;
  bool all_numbers;
  if (!scanner.TakeRestOfArray(&elements, &all_numbers) || !scanner.AtEnd() || !all_numbers) return -1;
  return static_cast<int64_t>(elements);
}

}  // namespace

absl::StatusOr<VectorEncoding> ParseVectorEncoding(absl::string_view name) {
  if (name.empty() || name == "f32" || name == "f32_blob") return VectorEncoding::kF32;
  if (name == "json" || name == "json-js") return VectorEncoding::kJsonJs;
  if (name == "json-python") return VectorEncoding::kJsonPython;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown vector encoding `", name, "`; it may be one of: f32, json, json-python"));
}

bool IsText(VectorEncoding encoding) { return encoding != VectorEncoding::kF32; }

absl::string_view EncodeVector(VectorEncoding encoding, absl::Span<const float> vector, std::string* scratch) {
  scratch->clear();
  switch (encoding) {
    case VectorEncoding::kF32:
      return {reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)};
    case VectorEncoding::kJsonJs:
      AppendJson(vector, ",", AppendJsNumber, scratch);
      break;
    case VectorEncoding::kJsonPython:
      AppendJson(vector, ", ", AppendPythonNumber, scratch);
      break;
  }
  return *scratch;
}

bool DecodeVector(VectorEncoding encoding, absl::string_view cell, absl::Span<float> vector) {
  if (IsText(encoding)) return DecodeJson(cell, vector);
  if (cell.size() != vector.size() * sizeof(float)) return false;
  if (!cell.empty()) std::memcpy(vector.data(), cell.data(), cell.size());
  return CheckVector(vector) != VectorFault::kNotFinite;
}

int64_t EncodedDim(VectorEncoding encoding, absl::string_view cell) {
  if (IsText(encoding)) return JsonDim(cell);
  return cell.size() % sizeof(float) == 0 ? static_cast<int64_t>(cell.size() / sizeof(float)) : -1;
}

// CASE decides in order, so that no JSON function sees what is no JSON: they would end the whole statement. An array
// with null, true or texts in it is found by its letters.
std::string EncodedDimSql(VectorEncoding encoding, absl::string_view column) {
  if (!IsText(encoding)) {
    return absl::StrReplaceAll(
        "CASE typeof(@) WHEN 'null' THEN NULL WHEN 'blob' THEN CASE length(@) % 4 WHEN 0 THEN length(@) / 4 ELSE -1 "
        "END ELSE -1 END",
        {{"@", column}});
  }
  return absl::StrReplaceAll(
      "CASE WHEN @ IS NULL THEN NULL WHEN typeof(@) <> 'text' THEN -1 WHEN trim(substr(@, 1, 8)) = '' THEN NULL "
      "WHEN NOT json_valid(@) THEN -1 ELSE CASE json_type(@) WHEN 'null' THEN NULL WHEN 'array' THEN "
      "CASE WHEN instr(@, 'u') OR instr(@, '\"') THEN -1 ELSE nullif(json_array_length(@), 0) END ELSE -1 END END",
      {{"@", column}});
}

std::string HasVectorSql(VectorEncoding encoding, absl::string_view column, int dim) {
  return absl::StrCat("coalesce((", EncodedDimSql(encoding, column), ") = ", dim, ", 0)");
}

}  // namespace reembed
