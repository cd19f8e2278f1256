// SPDX-License-Identifier: Apache-2.0
#include "engine/output_form.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/number/small_float.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");

constexpr absl::string_view kNames[] = {"float32", "float16", "bfloat16", "int8", "binary"};

void AppendBits16(uint16_t bits, std::string* out) { out->append(reinterpret_cast<const char*>(&bits), sizeof bits); }

uint16_t Bits16(const char* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return bits;
}

// Whether the form holds it.
bool AppendNumber(const OutputForm& form, float number, std::string* out) {
  switch (form.type) {
    case OutputType::kFloat32:
      out->append(reinterpret_cast<const char*>(&number), sizeof number);
      return std::isfinite(number);
    case OutputType::kFloat16: {
      const uint16_t half = HalfFromFloat(number);
      AppendBits16(half, out);
      return (half & 0x7c00) != 0x7c00;
    }
    case OutputType::kBfloat16: {
      const uint16_t bits = Bfloat16FromFloat(number);
      AppendBits16(bits, out);
      return (bits & 0x7f80) != 0x7f80;
    }
    case OutputType::kInt8: {
      const double scaled = std::nearbyint(number * form.scale);
      if (!(std::abs(scaled) <= 127)) return false;
      out->push_back(static_cast<char>(static_cast<int8_t>(scaled)));
      return true;
    }
    case OutputType::kBinary:
      break;
  }
  return false;
}

std::string LimitOf(const OutputForm& form) {
  switch (form.type) {
    case OutputType::kFloat16:
      return "up to 65504, as float16 has; take type=bfloat16, or normalize them to unit length";
    case OutputType::kInt8:
      return absl::StrCat("up to ", 127.5 / form.scale, " for int8 of scale ", form.scale,
                          "; normalize them to unit length, or take a smaller scale=");
    default:
      return absl::StrCat("as ", OutputTypeName(form.type), " has");
  }
}

}  // namespace

absl::string_view OutputTypeName(OutputType type) { return kNames[static_cast<int>(type)]; }

absl::StatusOr<OutputForm> OutputFormOf(const Location& place) {
  OutputForm form;
  const std::string name = place.Get("type", kNames[0]);
  const auto* const found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) {
    return absl::InvalidArgumentError(
        absl::StrCat(place.path, ": type=", name, ": expected float32, float16, bfloat16, int8 or binary"));
  }
  form.type = static_cast<OutputType>(found - std::begin(kNames));
  if (place.parameters.count("scale") == 0) return form;
  const std::string scale = place.Get("scale");
  if (form.type != OutputType::kInt8 || !absl::SimpleAtod(scale, &form.scale) || !(form.scale >= 1e-6) ||
      !(form.scale <= 1e6)) {
    return absl::InvalidArgumentError(
        absl::StrCat(place.path, ": scale=", scale, ": expected a number from 0.000001 to 1000000, with type=int8"));
  }
  return form;
}

absl::StatusOr<int> OutputDim(const Location& place, int dim) {
  if (place.parameters.count("dim") == 0) return dim;
  int asked = 0;
  if (absl::SimpleAtoi(place.Get("dim"), &asked) && asked >= 1 && (dim == 0 || asked <= dim)) return asked;
  return absl::InvalidArgumentError(
      absl::StrCat(place.path, ": dim=", place.Get("dim"), ": expected 1 to ",
                   dim == 0 ? std::string("the width of the model") : absl::StrCat(dim, ", the width of the model")));
}

int64_t OutputRowBytes(OutputType type, int64_t dim) {
  switch (type) {
    case OutputType::kFloat32:
      return dim * 4;
    case OutputType::kFloat16:
    case OutputType::kBfloat16:
      return dim * 2;
    case OutputType::kInt8:
      return dim;
    case OutputType::kBinary:
      return (dim + 7) / 8;
  }
  return 0;
}

absl::Status CheckOutputWidth(OutputType type, int dim) {
  if (type != OutputType::kBinary || dim % 8 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("type=binary: expected a width that 8 divides, as eight numbers go to ", "a byte, got ", dim,
                   "; take dim=", dim / 8 * 8));
}

absl::Status AppendOutput(const OutputForm& form, absl::Span<const float> vector, std::string* out) {
  const size_t before = out->size();
  // As it is, in one piece: number by number took half of the time of an HDF5 target.
  if (form.type == OutputType::kFloat32 && CheckVector(vector) != VectorFault::kNotFinite) {
    out->append(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
    return absl::OkStatus();
  }
  if (form.type == OutputType::kBinary) {
    out->resize(before + static_cast<size_t>(OutputRowBytes(form.type, static_cast<int64_t>(vector.size()))), '\0');
  }
  for (size_t i = 0; i < vector.size(); ++i) {
    bool holds;
    if (form.type == OutputType::kBinary) {
      holds = std::isfinite(vector[i]);
      char& bits = (*out)[before + i / 8];
      if (vector[i] > 0) bits = static_cast<char>(bits | 0x80 >> (i % 8));
    } else {
      holds = AppendNumber(form, vector[i], out);
    }
    if (holds) continue;
    out->resize(before);
    return absl::InvalidArgumentError(std::isfinite(vector[i])
                                          ? absl::StrCat("expected numbers ", LimitOf(form), ", got ", vector[i])
                                          : absl::StrCat("expected finite numbers, got ", vector[i],
                                                         "; make it again with the program that made it"));
  }
  return absl::OkStatus();
}

void DecodeOutput(const OutputForm& form, const char* bytes, absl::Span<float> vector) {
  switch (form.type) {
    case OutputType::kFloat32:
      if (!vector.empty()) std::memcpy(vector.data(), bytes, vector.size() * sizeof(float));
      return;
    case OutputType::kFloat16:
      for (size_t i = 0; i < vector.size(); ++i) vector[i] = FloatFromHalf(Bits16(bytes + 2 * i));
      return;
    case OutputType::kBfloat16:
      for (size_t i = 0; i < vector.size(); ++i) vector[i] = FloatFromBfloat16(Bits16(bytes + 2 * i));
      return;
    case OutputType::kInt8:
      for (size_t i = 0; i < vector.size(); ++i) {
        vector[i] = static_cast<float>(static_cast<int8_t>(bytes[i]) / form.scale);
      }
      return;
    case OutputType::kBinary:
      for (size_t i = 0; i < vector.size(); ++i) {
        vector[i] = (static_cast<unsigned char>(bytes[i / 8]) & (0x80 >> (i % 8))) != 0 ? 1.0f : 0.0f;
      }
      return;
  }
}

void RoundLikeOutput(const OutputForm& form, absl::Span<float> vector) {
  if (form.type == OutputType::kFloat32) return;
  std::string bytes;
  if (AppendOutput(form, vector, &bytes).ok()) DecodeOutput(form, bytes.data(), vector);
}

absl::Status NarrowVector(absl::Span<const float> from, absl::Span<float> to) {
  std::copy_n(from.begin(), to.size(), to.begin());
  if (to.size() == from.size()) return absl::OkStatus();
  if (NormalizeRows(to, static_cast<int>(to.size())).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a vector with a direction in its first ", to.size(), " numbers, got only zeros"));
}

}  // namespace reembed
