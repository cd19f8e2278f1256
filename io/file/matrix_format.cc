// SPDX-License-Identifier: Apache-2.0
#include "io/file/matrix_format.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "vectors are written as they lie in memory");

constexpr size_t kFbinHeaderBytes = 8;
constexpr absl::string_view kNpyMagic("\x93NUMPY", 6);
constexpr size_t kNpyHeaderBytes = 128;  // room for any shape, and a multiple of 64 as the format asks

std::string FbinHeader(int64_t rows, int dim, OutputType) {
  const uint32_t numbers[2] = {static_cast<uint32_t>(rows), static_cast<uint32_t>(dim)};
  return std::string(reinterpret_cast<const char*>(numbers), sizeof(numbers));
}

absl::StatusOr<MatrixShape> ParseFbin(absl::string_view start) {
  if (start.size() < kFbinHeaderBytes) {
    return absl::DataLossError(absl::StrCat("expected a header of 8 bytes, got ", start.size()));
  }
  uint32_t numbers[2];
  std::memcpy(numbers, start.data(), sizeof(numbers));
  return MatrixShape{.rows = numbers[0], .dim = numbers[1], .data_offset = kFbinHeaderBytes};
}

absl::Status CheckFbinType(OutputType type) {
  if (type == OutputType::kFloat32 || type == OutputType::kFloat16 || type == OutputType::kInt8) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("type=", OutputTypeName(type),
                                                 ": no program reads an fbin file of such rows; expected float32, "
                                                 "float16 or int8, or take npy: or hdf5: for it"));
}

std::optional<OutputType> FbinTypeOf(absl::string_view path) {
  if (absl::EndsWith(path, ".fbin")) return OutputType::kFloat32;
  if (absl::EndsWith(path, ".i8bin")) return OutputType::kInt8;
  if (absl::EndsWith(path, ".f16bin")) return OutputType::kFloat16;
  return std::nullopt;
}

// What NumPy calls them.
struct NpyType {
  OutputType type;
  absl::string_view name;
};
constexpr NpyType kNpyTypes[] = {{OutputType::kFloat32, "<f4"},  {OutputType::kFloat16, "<f2"},
                                 {OutputType::kBfloat16, "<V2"}, {OutputType::kBfloat16, "|V2"},
                                 {OutputType::kInt8, "|i1"},     {OutputType::kBinary, "|u1"}};

absl::Status CheckNpyType(OutputType) { return absl::OkStatus(); }

std::string NpyHeader(int64_t rows, int dim, OutputType type) {
  absl::string_view name;
  for (const NpyType& known : kNpyTypes) {
    if (known.type == type && name.empty()) name = known.name;
  }
  const int columns = type == OutputType::kBinary ? dim / 8 : dim;
  std::string header = absl::StrCat(
      kNpyMagic, absl::string_view("\x01\x00", 2), absl::string_view("\x76\x00", 2),  // version 1.0; 118 bytes follow
      "{'descr': '", name, "', 'fortran_order': False, 'shape': (", rows, ", ", columns, "), }");
  header.resize(kNpyHeaderBytes - 1, ' ');
  header.push_back('\n');
  return header;
}

// Reads the dict of an npy header: the few words that NumPy writes, in any order. Everything else is refused.
class NpyDict {
 public:
  explicit NpyDict(absl::string_view text) : rest_(text) {}

  absl::Status Parse(MatrixShape* shape) {
    if (!Take("{")) return Unexpected("{");
    int seen = 0;
    while (!Take("}")) {
      absl::Status status;
      if (Take("'descr':")) {
        status = Descr(shape);
        seen |= 1;
      } else if (Take("'fortran_order':")) {
        status = Order();
        seen |= 2;
      } else if (Take("'shape':")) {
        status = Shape(shape);
        seen |= 4;
      } else {
        status = Unexpected("'descr', 'fortran_order' or 'shape'");
      }
      ABSL_RETURN_IF_ERROR(status);
      if (!Take(",") && !absl::StartsWith(rest_, "}")) return Unexpected(", or }");
    }
    if (seen != 7 || !absl::StripAsciiWhitespace(rest_).empty()) return Unexpected("'descr', 'fortran_order', 'shape'");
    if (shape->type != OutputType::kBinary) return absl::OkStatus();
    if (shape->dim > kMaxDim) return Unexpected("a row of bits that is not as long");
    shape->dim *= 8;
    return absl::OkStatus();
  }

 private:
  bool Take(absl::string_view word) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    if (!absl::StartsWith(rest_, word)) return false;
    rest_.remove_prefix(word.size());
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    return true;
  }

  static absl::Status Unexpected(absl::string_view wanted) {
    return absl::DataLossError(absl::StrCat("expected ", wanted, " in the npy header, got something else"));
  }

  absl::Status Descr(MatrixShape* shape) {
    for (const NpyType& known : kNpyTypes) {
      if (!Take(absl::StrCat("'", known.name, "'"))) continue;
      shape->type = known.type;
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        "expected little-endian float32 ('<f4'), float16, int8, or bytes of bits ('|u1'), got another type; save it as "
        "float32 first");
  }

  absl::Status Order() {
    if (Take("False")) return absl::OkStatus();
    if (!absl::StartsWith(rest_, "True")) return Unexpected("True or False");
    return absl::FailedPreconditionError("expected rows one behind the other, got Fortran order; save it in C order");
  }

  std::optional<int64_t> Number() {
    int64_t number = 0;
    const auto result = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    if (result.ec != std::errc() || number < 0) return std::nullopt;
    rest_.remove_prefix(static_cast<size_t>(result.ptr - rest_.data()));
    return number;
  }

  absl::Status Shape(MatrixShape* shape) {
    if (!Take("(")) return Unexpected("a shape");
    const std::optional<int64_t> rows = Number();
    if (!rows.has_value() || !Take(",")) return Unexpected("two sizes");
    const std::optional<int64_t> dim = Number();
    if (!dim.has_value()) return absl::FailedPreconditionError("expected an array of two dimensions, got another");
    Take(",");
    if (!Take(")")) return absl::FailedPreconditionError("expected an array of two dimensions, got another");
    shape->rows = *rows;
    shape->dim = *dim;
    return absl::OkStatus();
  }

  absl::string_view rest_;
};

absl::StatusOr<MatrixShape> ParseNpy(absl::string_view start) {
  if (!absl::StartsWith(start, kNpyMagic) || start.size() < 10) {
    return absl::DataLossError("expected an npy file, got no such header");
  }
  const auto byte = [start](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(start[i])); };
  size_t length = byte(8) | byte(9) << 8;
  size_t begin = 10;
  if (byte(6) == 2 || byte(6) == 3) {
    if (start.size() < 12) return absl::DataLossError("expected an npy header, got the end");
    length |= byte(10) << 16 | byte(11) << 24;
    begin = 12;
  } else if (byte(6) != 1) {
    return absl::FailedPreconditionError(absl::StrCat("expected npy version 1, 2 or 3, got ", byte(6)));
  }
  if (length > start.size() - begin) {
    return absl::DataLossError(
        absl::StrCat("expected an npy header of ", length, " bytes, got fewer, or too long a one"));
  }
  MatrixShape shape = {.data_offset = static_cast<int64_t>(begin + length)};
  ABSL_RETURN_IF_ERROR(NpyDict(start.substr(begin, length)).Parse(&shape));
  return shape;
}

}  // namespace

const MatrixFormat kFbinFormat = {.name = "fbin",
                                  .max_rows = std::numeric_limits<uint32_t>::max(),
                                  .header = FbinHeader,
                                  .parse = ParseFbin,
                                  .check_type = CheckFbinType,
                                  .type_of_name = FbinTypeOf};

const MatrixFormat kNpyFormat = {.name = "npy", .header = NpyHeader, .parse = ParseNpy, .check_type = CheckNpyType};

absl::StatusOr<MatrixShape> ReadMatrixHeader(const MatrixFormat& format, const File& file) {
  std::string start(kMatrixHeaderBytes, '\0');
  ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(0, absl::MakeSpan(start.data(), start.size())));
  absl::StatusOr<MatrixShape> shape = format.parse(absl::string_view(start).substr(0, read));
  if (shape.ok()) return shape;
  return absl::Status(shape.status().code(), absl::StrCat(file.path(), ": ", shape.status().message()));
}

}  // namespace reembed
