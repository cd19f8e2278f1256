// SPDX-License-Identifier: Apache-2.0
// Files whose numbers take less room than float32.

#include <hdf5.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/fbin_sink.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "io/file/matrix_reader.h"
#include "io/file/npy_sink.h"
#include "tests/fakes/batches.h"
#include "tests/fakes/file_batches.h"
#include "tests/fakes/status_matchers.h"
#include "tests/io/file/format_case.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kDim = 24;

// Numbers from -1 to 1 of many sizes.
std::vector<float> RowsOf(int64_t rows) {
  std::vector<float> matrix;
  for (int64_t i = 0; i < rows * kDim; ++i) {
    matrix.push_back(static_cast<float>(std::sin(static_cast<double>(i * i + 1)) * std::pow(10.0, -(i % 4))));
  }
  return matrix;
}

struct FormCase {
  FormatCase format;
  OutputType type;
};

class OutputFormsTest : public ::testing::TestWithParam<FormCase> {
 protected:
  Location At(const std::string& path) const {
    Location place = GetParam().format.At(path);
    place.parameters["type"] = std::string(OutputTypeName(GetParam().type));
    return place;
  }

  std::unique_ptr<VectorSink> Make(const std::string& path) const {
    auto sink = GetParam().format.make_sink(At(path), {"m", kDim});
    EXPECT_THAT(sink, IsOk());
    return *std::move(sink);
  }

  absl::Status Write(VectorSink* sink, int64_t begin, int64_t end, std::vector<RefusedRow>* refused) const {
    const auto batch = MakeBatch(begin, NumberKeys(begin, end - begin),
                                 absl::MakeConstSpan(rows_).subspan(begin * kDim, (end - begin) * kDim), kDim);
    const Batch* const batches[] = {batch.get()};
    return sink->Write(batches, refused);
  }

  // Reads them all back, and compares them with the bytes that each should have.
  void ExpectRows(const Location& place, int64_t rows) const {
    const auto reader = GetParam().format.open_reader(place);
    ASSERT_THAT(reader, IsOk());
    EXPECT_EQ((*reader)->dim(), kDim);
    EXPECT_EQ((*reader)->rows(), rows);
    for (int64_t i = 0; i < rows; ++i) {
      const auto row = (*reader)->Next();
      ASSERT_THAT(row, IsOk());
      ASSERT_TRUE(row->has_value());
      std::vector<float> expected(rows_.begin() + i * kDim, rows_.begin() + (i + 1) * kDim);
      (*reader)->Round(absl::MakeSpan(expected));
      ASSERT_EQ(std::vector<float>((*row)->vector.begin(), (*row)->vector.end()), expected) << i;
      std::vector<float> rounded(rows_.begin() + i * kDim, rows_.begin() + (i + 1) * kDim);
      RoundLikeOutput({.type = GetParam().type}, absl::MakeSpan(rounded));
      ASSERT_EQ(rounded, expected) << i;
    }
  }

  const std::vector<float> rows_ = RowsOf(3000);
  const FileTestFolder folder_;
  const std::string path_ = folder_ / "vectors";
};

TEST_P(OutputFormsTest, EveryRowComesBackAsItWasRounded) {
  const auto sink = Make(path_);
  ASSERT_THAT(sink->Open({.model = {"m", kDim}}, {}), IsOk());
  std::vector<RefusedRow> refused;
  ASSERT_THAT(Write(sink.get(), 0, 2000, &refused), IsOk());
  ASSERT_THAT(Write(sink.get(), 2000, 3000, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(refused, SizeIs(0));
  ExpectRows(At(path_), 3000);
}

TEST_P(OutputFormsTest, ARunGoesOnBehindAFinishedFile) {
  std::vector<RefusedRow> refused;
  {
    const auto sink = Make(path_);
    ASSERT_THAT(sink->Open({.model = {"m", kDim}}, {}), IsOk());
    ASSERT_THAT(Write(sink.get(), 0, 1501, &refused), IsOk());
    ASSERT_THAT(sink->Complete(), IsOk());
  }
  const auto sink = Make(path_);
  ASSERT_THAT(sink->Open({.model = {"m", kDim}}, {.position = 1501, .stored_rows = 1501}),
              testing::Eq(absl::StatusOr<int64_t>(1501)));
  ASSERT_THAT(Write(sink.get(), 1501, 3000, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  ExpectRows(At(path_), 3000);
}

TEST_P(OutputFormsTest, AFileOfAnotherTypeIsNotGoneOnWith) {
  std::vector<RefusedRow> refused;
  const auto sink = Make(path_);
  ASSERT_THAT(sink->Open({.model = {"m", kDim}}, {}), IsOk());
  ASSERT_THAT(Write(sink.get(), 0, 100, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  const auto other = GetParam().format.make_sink(GetParam().format.At(path_), {"m", kDim});
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT((*other)->Open({.model = {"m", kDim}}, {.position = 100, .stored_rows = 100}),
              testing::Eq(absl::StatusOr<int64_t>(0)));
}

TEST_P(OutputFormsTest, ARowThatDoesNotFitIsRefusedAlone) {
  std::vector<float> matrix(3 * kDim, 0.5f);
  matrix[kDim + 3] = 1e6f;
  const auto sink = Make(path_);
  ASSERT_THAT(sink->Open({.model = {"m", kDim}}, {}), IsOk());
  const auto batch = MakeBatch(0, NumberKeys(7, 3), matrix, kDim);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  const bool fits = GetParam().type == OutputType::kBinary || GetParam().type == OutputType::kBfloat16;
  ASSERT_THAT(refused, SizeIs(fits ? 0 : 1));
  if (!fits) {
    EXPECT_EQ(refused[0].ordinal, 1);
    EXPECT_THAT(refused[0].reason, HasError(absl::StatusCode::kInvalidArgument, HasSubstr("row 8: ")));
  }
  const auto reader = GetParam().format.open_reader(At(path_));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->rows(), fits ? 3 : 2);
}

constexpr FormatCase Format(const char* name) {
  if (std::string_view(name) == "fbin") return {name, MakeFbinSink, OpenFbinReader};
  if (std::string_view(name) == "npy") return {name, MakeNpySink, OpenNpyReader};
  return {name, MakeHdf5Sink, OpenHdf5Reader};
}

INSTANTIATE_TEST_SUITE_P(
    Forms, OutputFormsTest,
    ::testing::Values(FormCase{Format("fbin"), OutputType::kFloat16}, FormCase{Format("fbin"), OutputType::kInt8},
                      FormCase{Format("npy"), OutputType::kFloat16}, FormCase{Format("npy"), OutputType::kBfloat16},
                      FormCase{Format("npy"), OutputType::kInt8}, FormCase{Format("npy"), OutputType::kBinary},
                      FormCase{Format("hdf5"), OutputType::kFloat16}, FormCase{Format("hdf5"), OutputType::kBfloat16},
                      FormCase{Format("hdf5"), OutputType::kInt8}, FormCase{Format("hdf5"), OutputType::kBinary}),
    [](const auto& info) {
      return absl::StrCat(info.param.format.scheme, "_", std::string(OutputTypeName(info.param.type)));
    });

// One row of 8 numbers in each file, byte by byte.
class OutputBytesTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<VectorSink>> Make(const char* scheme, const std::string& name,
                                                   const std::string& type) {
    const FormatCase format = Format(scheme);
    Location place = format.At(folder_ / name);
    if (!type.empty()) place.parameters["type"] = type;
    return format.make_sink(place, {"m", 8});
  }

  std::string BytesOf(const char* scheme, const std::string& name, const std::string& type) {
    const auto sink = Make(scheme, name, type);
    EXPECT_THAT(sink, IsOk());
    EXPECT_THAT((*sink)->Open({.model = {"m", 8}}, {}), IsOk());
    const auto batch = MakeBatch(0, NumberKeys(0, 1), {1, -0.5f, 0.25f, 0, -1, 0.1f, 0.001f, -0.1f}, 8);
    const Batch* const batches[] = {batch.get()};
    std::vector<RefusedRow> refused;
    EXPECT_THAT((*sink)->Write(batches, &refused), IsOk());
    EXPECT_THAT((*sink)->Complete(), IsOk());
    return FileBytes(folder_ / name);
  }

  const std::string float16_ = std::string("\x00\x3c\x00\xb8\x00\x34\x00\x00\x00\xbc\x66\x2e\x19\x14\x66\xae", 16);
  const std::string bfloat16_ = std::string("\x80\x3f\x00\xbf\x80\x3e\x00\x00\x80\xbf\xcd\x3d\x83\x3a\xcd\xbd", 16);
  const std::string int8_ = std::string("\x7f\xc0\x20\x00\x81\x0d\x00\xf3", 8);
  const std::string binary_ = "\xa6";
  const FileTestFolder folder_;
};

TEST_F(OutputBytesTest, NpySaysItsTypeAsNumPyDoes) {
  const auto npy = [](const std::string& type, int columns) {
    std::string header = absl::StrCat("{'descr': '", type, "', 'fortran_order': False, 'shape': (1, ", columns, "), }");
    header.resize(117, ' ');
    return absl::StrCat(std::string("\x93NUMPY\x01\x00\x76\x00", 10), header, "\n");
  };
  EXPECT_EQ(BytesOf("npy", "a", "float16"), npy("<f2", 8) + float16_);
  EXPECT_EQ(BytesOf("npy", "b", "bfloat16"), npy("<V2", 8) + bfloat16_);
  EXPECT_EQ(BytesOf("npy", "c", "int8"), npy("|i1", 8) + int8_);
  EXPECT_EQ(BytesOf("npy", "d", "binary"), npy("|u1", 1) + binary_);
}

TEST_F(OutputBytesTest, AnFbinFileIsOfTheTypeThatItsNameSays) {
  const std::string header("\x01\x00\x00\x00\x08\x00\x00\x00", 8);
  EXPECT_EQ(BytesOf("fbin", "a.i8bin", ""), header + int8_);
  EXPECT_EQ(BytesOf("fbin", "a.f16bin", "float16"), header + float16_);
  EXPECT_EQ(BytesOf("fbin", "other", "int8"), header + int8_);
  EXPECT_THAT(OpenFbinReader({.scheme = "fbin", .path = folder_ / "a.i8bin"}), IsOk());
  EXPECT_THAT(OpenFbinReader({.scheme = "fbin", .path = folder_ / "other"}),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("of float32")));
  EXPECT_THAT(Make("fbin", "b.fbin", "int8"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("another ending")));
  EXPECT_THAT(Make("fbin", "b.i8bin", "float32"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("has rows of int8")));
  for (const std::string type : {"binary", "bfloat16"}) {
    EXPECT_THAT(Make("fbin", "c", type),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected float32, float16 or int8")));
  }
}

// As the library itself reads them, which has conversions of its own.
TEST_F(OutputBytesTest, Hdf5ConvertsThemToTheSameNumbers) {
  for (const std::string type : {"float16", "bfloat16", "int8"}) {
    BytesOf("hdf5", type, type);
    const hid_t file = H5Fopen((folder_ / type).c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t train = H5Dopen2(file, "train", H5P_DEFAULT);
    float numbers[8] = {};
    EXPECT_GE(H5Dread(train, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers), 0);
    H5Dclose(train);
    H5Fclose(file);
    std::vector<float> expected(8);
    const std::string& bytes = type == "float16" ? float16_ : type == "bfloat16" ? bfloat16_ : int8_;
    const OutputType output = type == "float16"    ? OutputType::kFloat16
                              : type == "bfloat16" ? OutputType::kBfloat16
                                                   : OutputType::kInt8;
    DecodeOutput({.type = output, .scale = 1}, bytes.data(), absl::MakeSpan(expected));
    EXPECT_EQ(std::vector<float>(numbers, numbers + 8), expected) << type;
  }
}

TEST_F(OutputBytesTest, BitsOfHdf5AreKnownByTheAddress) {
  BytesOf("hdf5", "bits", "binary");
  Location place{.scheme = "hdf5", .path = folder_ / "bits"};
  EXPECT_THAT(OpenHdf5Reader(place), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("of integers")));
  place.parameters["type"] = "binary";
  const auto reader = OpenHdf5Reader(place);
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Next();
  ASSERT_THAT(row, IsOk());
  EXPECT_EQ(std::vector<float>((*row)->vector.begin(), (*row)->vector.end()),
            (std::vector<float>{1, 0, 1, 0, 0, 1, 1, 0}));
  place.parameters["type"] = "int8";
  EXPECT_THAT(OpenHdf5Reader(place), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("got binary")));
}

TEST_F(OutputBytesTest, WidthsThatMakeNoWholeBytesAreRefused) {
  for (const char* const scheme : {"npy", "hdf5"}) {
    const FormatCase format = Format(scheme);
    Location place = format.At(folder_ / "x");
    place.parameters["type"] = "binary";
    EXPECT_THAT(format.make_sink(place, {"m", 20}),
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr("take dim=16")));
  }
}

}  // namespace
}  // namespace reembed
