// SPDX-License-Identifier: Apache-2.0
#include <hdf5.h>
#include <stdio.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/location.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "io/file/hdf5_source.h"
#include "tests/fakes/batches.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/fakes/own_memory.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

// The library asks for as many bytes as a damaged file says, and copes with getting none; so must the sanitizer.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
// It does not give back everything when it gives such a file up. What we forget to close, LeavesNoFileOpen finds.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace reembed {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A chunk of 1 MiB has 1024 such rows.
constexpr int kDim = 256;
constexpr int64_t kChunkRows = 1024;

Location At(const std::string& path, std::map<std::string, std::string> parameters = {}) {
  return {.scheme = "hdf5", .path = path, .parameters = std::move(parameters)};
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteBytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Rows whose vectors are what TextVector() gives their keys' texts.
std::unique_ptr<Batch> BatchOf(int64_t first_ordinal, absl::Span<const Key> keys, int dim) {
  std::vector<float> vectors;
  for (const Key& key : keys) {
    const std::vector<float> vector = TextVector(KeyText(ViewOf(key)), dim);
    vectors.insert(vectors.end(), vector.begin(), vector.end());
  }
  return MakeBatch(first_ordinal, keys, vectors, dim);
}

std::unique_ptr<VectorSink> MakeSink(const std::string& path, int dim = kDim) {
  absl::StatusOr<std::unique_ptr<VectorSink>> sink = MakeHdf5Sink(At(path), {.name = "test-model", .dim = dim});
  EXPECT_THAT(sink, IsOk());
  return *std::move(sink);
}

// One run that continues at `last` and adds the rows of `keys`.
absl::Status AddRows(VectorSink* sink, const SinkPosition& last, const std::vector<Key>& keys, int dim = kDim) {
  const absl::StatusOr<int64_t> from = sink->Open({.model = {"test-model", dim}}, last);
  if (!from.ok()) return from.status();
  EXPECT_EQ(*from, last.position);
  constexpr size_t kRows = 100;
  std::vector<RefusedRow> refused;
  for (size_t i = 0; i < keys.size(); i += kRows) {
    const auto part = absl::MakeSpan(keys).subspan(i, kRows);
    const std::unique_ptr<Batch> batch = BatchOf(last.position + static_cast<int64_t>(i), part, dim);
    const Batch* const batches[] = {batch.get()};
    if (absl::Status status = sink->Write(batches, &refused); !status.ok()) return status;
  }
  EXPECT_THAT(refused, IsEmpty());
  return sink->Flush();
}

void WriteFile(const std::string& path, const std::vector<Key>& keys, int dim = kDim) {
  const std::unique_ptr<VectorSink> sink = MakeSink(path, dim);
  ASSERT_THAT(AddRows(sink.get(), {}, keys, dim), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
}

// Reads the file at `path` to its end; the keys in its order. Every vector must be that of its key.
std::vector<Key> KeysIn(const std::string& path, int dim = kDim) {
  std::vector<Key> keys;
  absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenHdf5Reader(At(path));
  EXPECT_THAT(reader, IsOk());
  if (!reader.ok()) return keys;
  EXPECT_EQ((*reader)->dim(), dim);
  while (true) {
    const auto row = (*reader)->Next();
    EXPECT_THAT(row, IsOk());
    if (!row.ok() || !row->has_value()) break;
    keys.push_back(Own((*row)->key));
    EXPECT_EQ((*row)->vector, TextVector(KeyText((*row)->key), dim)) << KeyText((*row)->key);
  }
  EXPECT_EQ((*reader)->rows(), static_cast<int64_t>(keys.size()));
  return keys;
}

// A file made with the library itself, as others make theirs.
class ForeignFile {
 public:
  explicit ForeignFile(const std::string& path)
      : file_(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)) {}
  ~ForeignFile() { H5Fclose(file_); }

  hid_t id() const { return file_; }

  void Add(const char* name, hid_t type, const std::vector<hsize_t>& extent, const void* data) {
    const hid_t space = H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr);
    const hid_t dataset = H5Dcreate2(file_, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(dataset);
    H5Sclose(space);
  }
  void AddStrings(const char* name, const std::vector<const char*>& texts) {
    const hid_t type = StringType(H5T_VARIABLE, H5T_STR_NULLTERM);
    Add(name, type, {texts.size()}, texts.data());
    H5Tclose(type);
  }
  void AddFields(const char* name, size_t width, H5T_str_t padding, const std::string& fields) {
    const hid_t type = StringType(width, padding);
    Add(name, type, {fields.size() / width}, fields.data());
    H5Tclose(type);
  }

 private:
  static hid_t StringType(size_t width, H5T_str_t padding) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, width);
    H5Tset_strpad(type, padding);
    return type;
  }

  const hid_t file_;
};

// The rows as "<key>=<text>".
std::vector<std::string> RowsIn(Source* source) {
  std::vector<std::string> rows;
  for (auto row = source->Next(); row.ok() && row->has_value(); row = source->Next()) {
    rows.push_back(absl::StrCat(KeyText((*row)->key), "=", (*row)->text.value_or("(none)")));
  }
  return rows;
}

class Hdf5Test : public ::testing::Test {
 protected:
  const TempFolder folder_;
  const std::string path_ = folder_ / "vectors.h5";
};

using Hdf5SinkTest = Hdf5Test;
using Hdf5ReaderTest = Hdf5Test;
using Hdf5SourceTest = Hdf5Test;

TEST_F(Hdf5SinkTest, WritesTheLayoutOfAnnBenchmarks) {
  WriteFile(path_, NumberKeys(5, 1500));
  const std::string command = absl::StrCat("h5dump -p -H ", path_);
  FILE* const pipe = popen(command.c_str(), "r");
  std::string header;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) header.push_back(static_cast<char>(c));
  ASSERT_EQ(pclose(pipe), 0) << header;
  EXPECT_THAT(header, AllOf(HasSubstr("H5T_IEEE_F32LE"), HasSubstr("( 1500, 256 ) / ( H5S_UNLIMITED, 256 )"),
                            HasSubstr("CHUNKED ( 1024, 256 )"), HasSubstr("H5T_STD_I64LE"),
                            HasSubstr("( 1500 ) / ( H5S_UNLIMITED )")));
  for (const char* name : {"\"train\"", "\"keys\"", "\"distance\"", "\"point_type\"", "\"dimension\"", "\"model\""}) {
    EXPECT_THAT(header, HasSubstr(name));
  }
}

TEST_F(Hdf5SinkTest, TellsAboutItsVectorsInAttributes) {
  WriteFile(path_, NumberKeys(0, 3));
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const auto text = [file](const char* name) {
    const hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    const hid_t type = H5Aget_type(attribute);
    char* value = nullptr;
    H5Aread(attribute, type, &value);
    const std::string result = value == nullptr ? "" : value;
    H5free_memory(value);
    H5Tclose(type);
    H5Aclose(attribute);
    return result;
  };
  EXPECT_EQ(text("distance"), "angular");
  EXPECT_EQ(text("point_type"), "float");
  EXPECT_EQ(text("model"), "test-model");
  int dimension = 0;
  const hid_t attribute = H5Aopen(file, "dimension", H5P_DEFAULT);
  H5Aread(attribute, H5T_NATIVE_INT, &dimension);
  EXPECT_EQ(dimension, kDim);
  H5Aclose(attribute);
  H5Fclose(file);
}

TEST_F(Hdf5SinkTest, AnyReaderFindsTheVectorsInTheRowsOfTheirKeys) {
  WriteFile(path_, NumberKeys(100, 2500));
  const hid_t file = H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t train = H5Dopen2(file, "train", H5P_DEFAULT);
  const hid_t keys = H5Dopen2(file, "keys", H5P_DEFAULT);
  std::vector<float> vectors(2500 * kDim);
  std::vector<int64_t> numbers(2500);
  EXPECT_GE(H5Dread(train, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, vectors.data()), 0);
  EXPECT_GE(H5Dread(keys, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.data()), 0);
  for (int64_t row = 0; row < 2500; ++row) {
    ASSERT_EQ(numbers[row], 100 + row);
    const absl::Span<const float> vector(vectors.data() + row * kDim, kDim);
    ASSERT_EQ(vector, TextVector(absl::StrCat(100 + row), kDim)) << row;
  }
  H5Dclose(keys);
  H5Dclose(train);
  H5Fclose(file);
}

TEST_F(Hdf5SinkTest, WritesEveryNumberOfRowsAroundAChunk) {
  for (const int64_t rows : {int64_t{0}, int64_t{1}, kChunkRows - 1, kChunkRows, kChunkRows + 1, 2 * kChunkRows}) {
    SCOPED_TRACE(rows);
    const std::string path = folder_ / absl::StrCat(rows, ".h5");
    WriteFile(path, NumberKeys(7, rows));
    EXPECT_EQ(KeysIn(path), NumberKeys(7, rows));
  }
}

TEST_F(Hdf5SinkTest, KeepsTextKeysByteForByte) {
  const std::vector<Key> keys = {Key("a \"quoted\" one"),     Key("two\nlines\r\n"),       Key(""),  Key("  spaces  "),
                                 Key("\xc3\xa4\xe2\x82\xac"), Key(std::string(5000, 'k')), Key("42")};
  WriteFile(path_, keys);
  EXPECT_EQ(KeysIn(path_), keys);
}

TEST_F(Hdf5SinkTest, WritesManyTextKeys) {
  std::vector<Key> keys;
  for (int i = 0; i < 10000; ++i) keys.push_back(Key(absl::StrCat("key ", i, std::string(i % 500, '.'))));
  WriteFile(path_, keys, 8);
  EXPECT_EQ(KeysIn(path_, 8), keys);
}

TEST_F(Hdf5SinkTest, LeavesOutRowsWithoutAVector) {
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(sink->Open({}, {}), IsOk());
  const std::unique_ptr<Batch> batch = BatchOf(0, NumberKeys(0, 10), kDim);
  for (const int row : {0, 4, 9}) batch->rows()[row].vector = nullptr;
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(KeysIn(path_), ElementsAre(Key(1), Key(2), Key(3), Key(5), Key(6), Key(7), Key(8)));
}

TEST_F(Hdf5SinkTest, RefusesOnlyTheRowWhoseKeyHasANulByte) {
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(sink->Open({}, {}), IsOk());
  const std::vector<Key> keys = {Key("a"), Key(std::string("b\0c", 3)), Key("d")};
  const std::unique_ptr<Batch> batch = BatchOf(20, keys, kDim);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].ordinal, 21);
  EXPECT_THAT(KeysIn(path_), ElementsAre(Key("a"), Key("d")));
}

TEST_F(Hdf5SinkTest, AKeyOfAnotherKindIsRefusedAlone) {
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(sink->Open({}, {}), IsOk());
  const std::vector<Key> keys = {Key(1), Key("two"), Key(3)};
  const std::unique_ptr<Batch> batch = BatchOf(0, keys, kDim);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].ordinal, 1);
  EXPECT_THAT(refused[0].reason,
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("row two"), HasSubstr("integers"))));
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(KeysIn(path_), (std::vector<Key>{Key(1), Key(3)}));
}

TEST_F(Hdf5SinkTest, GoesOnBehindAFinishedFile) {
  for (const int64_t rows : {int64_t{0}, int64_t{10}, kChunkRows, kChunkRows + 300}) {
    SCOPED_TRACE(rows);
    const std::string path = folder_ / absl::StrCat(rows, ".h5");
    WriteFile(path, NumberKeys(0, rows));
    const std::unique_ptr<VectorSink> sink = MakeSink(path);
    // Five rows before were rejected.
    ASSERT_THAT(AddRows(sink.get(), {.position = rows + 5, .stored_rows = rows}, NumberKeys(rows, 1200)), IsOk());
    EXPECT_EQ(KeysIn(path), NumberKeys(0, rows));
    ASSERT_THAT(sink->Complete(), IsOk());
    EXPECT_EQ(KeysIn(path), NumberKeys(0, rows + 1200));
    EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  }
}

TEST_F(Hdf5SinkTest, GoesOnWithTextKeysBehindAFileThatIsEmpty) {
  WriteFile(path_, {});
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(AddRows(sink.get(), {.position = 3, .stored_rows = 0}, {Key("a")}), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_THAT(KeysIn(path_), ElementsAre(Key("a")));
}

TEST_F(Hdf5SinkTest, ChangesNothingWhenThereIsNothingToAdd) {
  WriteFile(path_, NumberKeys(0, 50));
  const std::string before = BytesOf(path_);
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(AddRows(sink.get(), {.position = 50, .stored_rows = 50}, {}), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(BytesOf(path_), before);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
}

TEST_F(Hdf5SinkTest, AsksForEverythingAgainAfterACrash) {
  {
    const std::unique_ptr<VectorSink> sink = MakeSink(path_);
    ASSERT_THAT(AddRows(sink.get(), {}, NumberKeys(0, 3000)), IsOk());
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  const auto from = sink->Open({}, {.position = 3000, .stored_rows = 3000});
  ASSERT_THAT(from, IsOk());
  EXPECT_EQ(*from, 0);
  const std::unique_ptr<Batch> batch = BatchOf(0, NumberKeys(0, 10), kDim);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(KeysIn(path_), NumberKeys(0, 10));
}

TEST_F(Hdf5SinkTest, KeepsTheFinishedFileWhenALaterRunCrashes) {
  WriteFile(path_, NumberKeys(0, 100));
  {
    const std::unique_ptr<VectorSink> sink = MakeSink(path_);
    ASSERT_THAT(AddRows(sink.get(), {.position = 100, .stored_rows = 100}, NumberKeys(100, 2000)), IsOk());
  }
  EXPECT_EQ(KeysIn(path_), NumberKeys(0, 100));
  // The ledger knows of no row behind the file, or of some: both must do.
  EXPECT_EQ(MakeSink(path_)->Open({}, {.position = 100, .stored_rows = 100}).value(), 100);
  EXPECT_EQ(MakeSink(path_)->Open({}, {.position = 2000, .stored_rows = 2000}).value(), 0);
}

TEST_F(Hdf5SinkTest, BeginsAgainWhenTheFinishedFileIsNotTheOneItKnows) {
  WriteFile(path_, NumberKeys(0, 100));
  EXPECT_EQ(MakeSink(path_)->Open({}, {.position = 99, .stored_rows = 99}).value(), 0);
  EXPECT_EQ(MakeSink(path_, 8)->Open({}, {.position = 100, .stored_rows = 100}).value(), 0);
  WriteBytes(path_, "no hdf5 any more");
  EXPECT_EQ(MakeSink(path_)->Open({}, {.position = 100, .stored_rows = 100}).value(), 0);
  std::filesystem::remove(path_);
  EXPECT_EQ(MakeSink(path_)->Open({}, {.position = 100, .stored_rows = 100}).value(), 0);
}

TEST_F(Hdf5SinkTest, RefusesAForeignFileAndLeavesItAsItIs) {
  WriteFile(path_, NumberKeys(0, 10));
  const std::string before = BytesOf(path_);
  EXPECT_THAT(MakeSink(path_)->Open({}, {}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("exists already")));
  EXPECT_EQ(BytesOf(path_), before);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
}

TEST_F(Hdf5SinkTest, ReplacesAFileThatAnEarlierAttemptBeganToReplace) {
  WriteFile(path_, NumberKeys(0, 10));
  WriteBytes(path_ + ".partial", "left by a crash");
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(AddRows(sink.get(), {}, NumberKeys(0, 20)), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  EXPECT_EQ(KeysIn(path_), NumberKeys(0, 20));
}

TEST_F(Hdf5SinkTest, RefusesWhatCannotBeATarget) {
  const Model model = {.name = "m", .dim = 4};
  EXPECT_THAT(MakeHdf5Sink(At(folder_.path()), model), HasError(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(MakeHdf5Sink(At(folder_ / "no/such/x.h5"), model), HasError(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(MakeHdf5Sink(At(path_, {{"table", "t"}}), model), HasError(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(MakeHdf5Sink(At(path_), {.name = "m", .dim = 0}), HasError(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(Hdf5SinkTest, RefusesABatchOfAnotherWidth) {
  const std::unique_ptr<VectorSink> sink = MakeSink(path_);
  ASSERT_THAT(sink->Open({}, {}), IsOk());
  const std::unique_ptr<Batch> batch = BatchOf(0, {Key("a")}, kDim - 1);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  EXPECT_THAT(sink->Write(batches, &refused),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("vectors of 256 numbers, got such of 255")));
}

TEST_F(Hdf5SinkTest, TellsOfAFullDiskAndStaysUsable) {
  for (const rlim_t bytes : {500, 2000, 100'000, 3'000'000, 3'500'000, 6'000'000}) {
    SCOPED_TRACE(bytes);
    const FileSizeLimit limit(bytes);
    const std::unique_ptr<VectorSink> sink = MakeSink(path_);
    absl::Status status = AddRows(sink.get(), {}, NumberKeys(0, 6000));
    if (status.ok()) status = sink->Complete();
    EXPECT_THAT(status, HasError(absl::StatusCode::kResourceExhausted, HasSubstr("File too large")));
    EXPECT_EQ(sink->Complete(), status);
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  WriteFile(path_, NumberKeys(0, 6000));
  EXPECT_EQ(KeysIn(path_), NumberKeys(0, 6000));
}

TEST_F(Hdf5ReaderTest, FindsVectorsByKeyAndGoesOnBehindThem) {
  WriteFile(path_, NumberKeys(1000, 3000));
  const auto reader = OpenHdf5Reader(At(path_)).value();
  for (const int64_t key : {1000, 3999, 2500, 1001}) {
    const auto found = reader->Find(key);
    ASSERT_TRUE(found.ok() && found->has_value()) << key;
    EXPECT_EQ((*found)->vector, TextVector(absl::StrCat(key), kDim));
  }
  EXPECT_EQ(reader->Next().value()->key, KeyView(1002));
  EXPECT_EQ(reader->Find(KeyView("1000")).value().has_value(), false);
  EXPECT_EQ(reader->Find(4000).value().has_value(), false);
}

TEST_F(Hdf5ReaderTest, UsesRowNumbersWithoutKeysAndReadsOtherFloats) {
  const double values[] = {1, 2, 3, 4, 5, 6};
  ForeignFile(path_).Add("train", H5T_NATIVE_DOUBLE, {3, 2}, values);
  const auto reader = OpenHdf5Reader(At(path_)).value();
  EXPECT_EQ(reader->rows(), 3);
  const auto found = reader->Find(1).value();
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->vector, ElementsAre(3, 4));
  EXPECT_EQ(reader->Next().value()->key, KeyView(2));
  EXPECT_EQ(reader->Next().value().has_value(), false);
}

TEST_F(Hdf5ReaderTest, RefusesFilesOfAnotherShape) {
  const float values[] = {1, 2, 3, 4};
  const int64_t keys[] = {1, 2, 3};
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kNotFound, _));
  ForeignFile(path_).Add("trains", H5T_NATIVE_FLOAT, {2, 2}, values);
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `trains`")));
  ForeignFile(path_).Add("train", H5T_NATIVE_FLOAT, {4}, values);
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("two dimensions")));
  {
    ForeignFile file(path_);
    file.Add("train", H5T_NATIVE_FLOAT, {2, 2}, values);
    file.Add("keys", H5T_NATIVE_INT64, {3}, keys);
  }
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kDataLoss, HasSubstr("each of 2 vectors, got 3")));
  WriteBytes(path_, "this is no hdf5 file");
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kDataLoss, _));
}

TEST_F(Hdf5SourceTest, ReadsStringsWithRowNumbers) {
  ForeignFile(path_).AddStrings("texts", {"one", "", "three \xe2\x82\xac"});
  const auto source = OpenHdf5Source(At(path_)).value();
  EXPECT_EQ(source->CountRows().value(), 3);
  EXPECT_THAT(RowsIn(source.get()), ElementsAre("0=one", "1=", "2=three \xe2\x82\xac"));
}

TEST_F(Hdf5SourceTest, ReadsFieldsOfFixedWidthAsTheyArePadded) {
  {
    ForeignFile file(path_);
    file.AddFields("spaces", 4, H5T_STR_SPACEPAD, " a  bcde    ");
    file.AddFields("zeros", 3, H5T_STR_NULLPAD, std::string("ab\0\0c\0\0\0\0", 9));
    file.AddFields("ended", 3, H5T_STR_NULLTERM, std::string("a\0xbc\0\0xx", 9));
    const int32_t keys[] = {7, 8, 9};
    file.Add("ids", H5T_NATIVE_INT32, {3}, keys);
  }
  EXPECT_THAT(RowsIn(OpenHdf5Source(At(path_, {{"texts", "spaces"}, {"keys", "ids"}})).value().get()),
              ElementsAre("7= a", "8=bcde", "9="));
  EXPECT_THAT(RowsIn(OpenHdf5Source(At(path_, {{"texts", "zeros"}, {"keys", "spaces"}})).value().get()),
              ElementsAre(" a=ab", std::string("bcde=\0c", 7), "="));
  EXPECT_THAT(RowsIn(OpenHdf5Source(At(path_, {{"texts", "ended"}})).value().get()), ElementsAre("0=a", "1=bc", "2="));
}

TEST_F(Hdf5SourceTest, ReadsLongTextsInBlocks) {
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) texts.push_back(absl::StrCat(i, std::string(100'000, 'x')));
  {
    std::vector<const char*> pointers;
    for (const std::string& text : texts) pointers.push_back(text.c_str());
    ForeignFile(path_).AddStrings("texts", pointers);
  }
  const auto source = OpenHdf5Source(At(path_)).value();
  for (int i = 0; i < 300; ++i) ASSERT_EQ(source->Next().value()->text, texts[i]) << i;
  EXPECT_EQ(source->Next().value().has_value(), false);
}

TEST_F(Hdf5SourceTest, FindsRowsAndGoesOnBehindAKey) {
  {
    ForeignFile file(path_);
    file.AddStrings("texts", {"one", "two", "three"});
    file.AddStrings("names", {"a", "b", "c"});
  }
  const auto source = OpenHdf5Source(At(path_, {{"keys", "names"}})).value();
  EXPECT_EQ(source->Find(KeyView("b")).value()->text, "two");
  EXPECT_EQ(source->Find(KeyView("z")).value().has_value(), false);
  ASSERT_THAT(source->SeekAfter(KeyView("a")), IsOk());
  EXPECT_THAT(RowsIn(source.get()), ElementsAre("b=two", "c=three"));
  EXPECT_THAT(source->SeekAfter(KeyView("z")), HasError(absl::StatusCode::kNotFound, HasSubstr("the key z")));
}

TEST_F(Hdf5SourceTest, TellsWhatIsThereWhenADatasetIsNot) {
  {
    ForeignFile file(path_);
    file.AddStrings("sentences", {"one", "two"});
    file.AddStrings("three", {"a", "b", "c"});
    const float numbers[] = {1, 2};
    file.Add("numbers", H5T_NATIVE_FLOAT, {2}, numbers);
  }
  EXPECT_THAT(OpenHdf5Source(At(path_)),
              HasError(absl::StatusCode::kNotFound, HasSubstr("it has numbers, sentences, three")));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "sentence"}})),
              HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `sentences`")));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "numbers"}})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("got 1 of floats")));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "sentences"}, {"keys", "three"}})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("each of 2 texts, got 3")));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "sentences"}, {"keys", "numbers"}})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("integers or strings")));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"text", "sentences"}})),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("texts")));
  EXPECT_THAT(OpenHdf5Source(At(folder_ / "none.h5")), HasError(absl::StatusCode::kNotFound, _));
}

// Files that this process has open.
int64_t OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files));
}

// A file whose dataset `name` is made with `make`, a call of the library.
class LinkedFilesTest : public Hdf5Test {
 protected:
  absl::StatusOr<std::unique_ptr<Source>> Open(std::map<std::string, std::string> parameters) const {
    return OpenHdf5Source(At(path_, std::move(parameters)));
  }

  std::vector<std::string> Rows(std::map<std::string, std::string> parameters) const {
    const auto source = Open(std::move(parameters));
    EXPECT_THAT(source, IsOk());
    return source.ok() ? RowsIn(source->get()) : std::vector<std::string>();
  }

  const std::string other_ = folder_ / "other.h5";
};

// Strings of variable length lie in the heap of their own file, at addresses that mean other strings in this one.
TEST_F(LinkedFilesTest, TextsBehindALinkAreThoseOfTheOtherFile) {
  {
    ForeignFile other(other_);
    other.AddStrings("t", {"right one", "right two"});
    other.AddStrings("k", {"k1", "k2"});
  }
  {
    ForeignFile file(path_);
    file.AddStrings("t", {"wrong one", "wrong two"});
    file.AddStrings("k", {"w1", "w2"});
    H5Lcreate_external("other.h5", "/t", file.id(), "texts", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/", file.id(), "group", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/t", file.id(), "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("gone.h5", "/t", file.id(), "gone", H5P_DEFAULT, H5P_DEFAULT);
  }
  EXPECT_THAT(Rows({{"keys", "group/k"}}), ElementsAre("k1=right one", "k2=right two"));
  EXPECT_THAT(Rows({{"texts", "group/t"}, {"keys", "k"}}), ElementsAre("w1=right one", "w2=right two"));
  EXPECT_THAT(Rows({{"texts", "soft"}}), ElementsAre("0=wrong one", "1=wrong two"));
  EXPECT_THAT(Open({{"texts", "gone"}}), HasError(absl::StatusCode::kNotFound, HasSubstr("gone")));
  // What a link leads to is there, too.
  EXPECT_THAT(Open({{"texts", "text"}}), HasError(absl::StatusCode::kNotFound, HasSubstr("did you mean `texts`")));
}

TEST_F(LinkedFilesTest, AViewOfOtherDatasetsIsNamed) {
  ForeignFile(other_).AddStrings("t", {"right one", "right two"});
  {
    ForeignFile file(path_);
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    const hsize_t rows = 2;
    const hid_t space = H5Screate_simple(1, &rows, nullptr);
    const hid_t view = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_virtual(view, space, "other.h5", "/t", space);
    H5Dclose(H5Dcreate2(file.id(), "texts", type, space, H5P_DEFAULT, view, H5P_DEFAULT));
    const hid_t raw = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(raw, "keys.raw", 0, 2 * sizeof(int64_t));
    H5Dclose(H5Dcreate2(file.id(), "keys", H5T_STD_I64LE, space, H5P_DEFAULT, raw, H5P_DEFAULT));
    file.AddStrings("own", {"a", "b"});
    H5Pclose(raw);
    H5Pclose(view);
    H5Sclose(space);
    H5Tclose(type);
  }
  EXPECT_THAT(Open({}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("virtual dataset")));
  EXPECT_THAT(Open({{"texts", "own"}, {"keys", "keys"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("raw file")));
}

// Rows in chunks of 2, of which only the first is written.
void AddUnwritten(hid_t file, const char* name, hid_t type, hsize_t rows, const void* first, const void* fill,
                  int level) {
  const hsize_t chunk = 2;
  const hid_t space = H5Screate_simple(1, &rows, nullptr);
  const hid_t memory = H5Screate_simple(1, &chunk, nullptr);
  const hid_t chunks = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(chunks, 1, &chunk);
  if (level > 0) H5Pset_deflate(chunks, static_cast<unsigned>(level));
  if (fill != nullptr) H5Pset_fill_value(chunks, type, fill);
  const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, chunks, H5P_DEFAULT);
  const hsize_t begin = 0;
  H5Sselect_hyperslab(space, H5S_SELECT_SET, &begin, nullptr, &chunk, nullptr);
  H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, first);
  H5Dclose(dataset);
  H5Pclose(chunks);
  H5Sclose(memory);
  H5Sclose(space);
}

TEST_F(Hdf5SourceTest, StringsThatWereNeverWrittenAreEmpty) {
  {
    ForeignFile file(path_);
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    const char* const texts[] = {"one", "two"};
    const char* const fill = "filled";
    const int64_t keys[] = {7, 8};
    AddUnwritten(file.id(), "plain", type, 5, texts, nullptr, 0);
    AddUnwritten(file.id(), "packed", type, 5, texts, nullptr, 1);
    AddUnwritten(file.id(), "filled", type, 5, texts, &fill, 0);
    AddUnwritten(file.id(), "endless", type, hsize_t{1} << 40, texts, nullptr, 0);
    AddUnwritten(file.id(), "numbers", H5T_NATIVE_INT64, 5, keys, nullptr, 0);
    AddUnwritten(file.id(), "packed_numbers", H5T_NATIVE_INT64, 5, keys, nullptr, 1);
    H5Tclose(type);
    file.AddFields("none", 4, H5T_STR_NULLPAD, "");
  }
  for (const char* const texts : {"plain", "packed"}) {
    const auto source = OpenHdf5Source(At(path_, {{"texts", texts}}));
    ASSERT_THAT(source, IsOk()) << texts;
    EXPECT_THAT(RowsIn(source->get()), ElementsAre("0=one", "1=two", "2=", "3=", "4=")) << texts;
  }
  for (const char* const texts : {"filled", "endless"}) {
    EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", texts}})),
                HasError(absl::StatusCode::kDataLoss, HasSubstr("never written")))
        << texts;
  }
  // Keys or vectors of zeros that nobody wrote would be somebody's.
  for (const char* const keys : {"numbers", "packed_numbers"}) {
    EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "plain"}, {"keys", keys}})),
                HasError(absl::StatusCode::kDataLoss, HasSubstr("never written")))
        << keys;
  }
}

TEST_F(Hdf5SourceTest, UnsignedKeysThatFitAreKeys) {
  const uint64_t fit[] = {5, uint64_t{1} << 62, std::numeric_limits<int64_t>::max()};
  const uint64_t beyond[] = {5, 6, uint64_t{1} << 63};
  {
    ForeignFile file(path_);
    file.AddStrings("texts", {"a", "b", "c"});
    file.Add("fit", H5T_NATIVE_UINT64, {3}, fit);
    file.Add("beyond", H5T_NATIVE_UINT64, {3}, beyond);
  }
  const auto source = OpenHdf5Source(At(path_, {{"keys", "fit"}}));
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(RowsIn(source->get()), ElementsAre("5=a", "4611686018427387904=b", "9223372036854775807=c"));
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"keys", "beyond"}})),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("9223372036854775808 in row 2"), HasSubstr("write them as strings"))));
}

size_t PassOn(unsigned, size_t, const unsigned*, size_t bytes, size_t*, void**) { return bytes; }

TEST_F(Hdf5SourceTest, AFilterThatIsNotInstalledIsNamed) {
  constexpr H5Z_filter_t kNumber = 32099;
  const H5Z_class2_t filter = {H5Z_CLASS_T_VERS, kNumber, 1, 1, "blosc-of-mine", nullptr, nullptr, PassOn};
  ASSERT_GE(H5Zregister(&filter), 0);
  {
    ForeignFile file(path_);
    const hsize_t rows = 2;
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, 4);
    const hid_t space = H5Screate_simple(1, &rows, nullptr);
    const hid_t packed = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(packed, 1, &rows);
    H5Pset_filter(packed, kNumber, H5Z_FLAG_MANDATORY, 0, nullptr);
    const hid_t dataset = H5Dcreate2(file.id(), "texts", type, space, H5P_DEFAULT, packed, H5P_DEFAULT);
    H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, "one\0two");
    H5Dclose(dataset);
    H5Pclose(packed);
    H5Sclose(space);
    H5Tclose(type);
  }
  // The library does not forget a filter while it is in use; so the file gets the number of one that nobody has.
  std::string bytes = BytesOf(path_);
  const size_t name = bytes.find("blosc-of-mine");
  ASSERT_NE(name, std::string::npos);
  const uint16_t other = kNumber + 1;
  std::memcpy(bytes.data() + name - 8, &other, sizeof(other));
  WriteBytes(path_, bytes);
  EXPECT_THAT(OpenHdf5Source(At(path_)),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("blosc-of-mine (number 32100)"), HasSubstr("not installed"))));
}

// The library would take as much memory as such a file says, before it looks how long it is: found by fuzzing.
TEST_F(Hdf5ReaderTest, RefusesOneOfSeveralFilesThatBelongTogether) {
  const std::string name = folder_ / "part%d.h5";
  const hid_t family = H5Pcreate(H5P_FILE_ACCESS);
  ASSERT_GE(H5Pset_fapl_family(family, hsize_t{1} << 20, H5P_DEFAULT), 0);
  const hid_t file = H5Fcreate(name.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, family);
  ASSERT_GE(file, 0);
  H5Fclose(file);
  H5Pclose(family);
  EXPECT_THAT(OpenHdf5Reader(At(folder_ / "part0.h5")),
              HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("part0.h5"), HasSubstr("h5repart"))));
}

TEST_F(Hdf5SinkTest, LeavesNoFileOpen) {
  const int64_t before = OpenFiles();
  WriteFile(path_, {Key("a"), Key("b")});
  KeysIn(path_);
  EXPECT_THAT(OpenHdf5Source(At(path_, {{"texts", "keys"}})), IsOk());
  EXPECT_THAT(OpenHdf5Source(At(path_)), HasError(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(AddRows(MakeSink(path_).get(), {.position = 2, .stored_rows = 2}, {Key("c")}), IsOk());
  EXPECT_EQ(OpenFiles(), before);
}

// Reads as much of a damaged file as can be read.
void ReadAll(const std::string& path) {
  if (auto reader = OpenHdf5Reader(At(path)); reader.ok()) {
    for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) {
    }
  }
  if (auto source = OpenHdf5Source(At(path, {{"texts", "keys"}})); source.ok()) RowsIn(source->get());
}

TEST_F(Hdf5ReaderTest, SurvivesFilesThatAreCutShort) {
  WriteFile(path_, {Key("a"), Key("b"), Key("c")}, 8);
  const std::string bytes = BytesOf(path_);
  const std::string cut = folder_ / "cut.h5";
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 16) {
    WriteBytes(cut, bytes.substr(0, size));
    EXPECT_THAT(OpenHdf5Reader(At(cut)), HasError(absl::StatusCode::kDataLoss, _)) << size;
  }
}

TEST_F(Hdf5ReaderTest, TakesNoMoreMemoryForMoreRows) {
  if (!kMemoryIsOurs) GTEST_SKIP() << "measured without sanitizers";
  int64_t kib[2];
  for (const int times : {1, 10}) {
    const std::string path = folder_ / absl::StrCat(times, ".h5");
    std::vector<Key> keys;
    for (int i = 0; i < times * 16 * kChunkRows; ++i) keys.push_back(Key(absl::StrCat("the key of row ", i)));
    WriteFile(path, keys, 64);
    keys.clear();
    keys.shrink_to_fit();
    const auto read = [&path] {
      const auto reader = OpenHdf5Reader(At(path));
      ASSERT_THAT(reader, IsOk());
      for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) {
      }
      const auto source = OpenHdf5Source(At(path, {{"texts", "keys"}}));
      ASSERT_THAT(source, IsOk());
      for (auto row = (*source)->Next(); row.ok() && row->has_value(); row = (*source)->Next()) {
      }
    };
    // Twice: what libraries keep for good is none of it.
    PeakKib(read);
    kib[times == 10] = PeakKib(read);
  }
  EXPECT_LE(kib[1], kib[0] * 1.1 + 256) << kib[0];
}

// Files over which the library divides by zero, or copies from where nothing is.
TEST_F(Hdf5ReaderTest, AFileThatCrashesTheLibraryIsDamaged) {
  int files = 0;
  for (const auto& found : std::filesystem::directory_iterator(REEMBED_SOURCE_DIR "/data/fuzz/hdf5")) {
    if (!absl::StartsWith(found.path().filename().string(), "found-")) continue;
    SCOPED_TRACE(found.path());
    ++files;
    WriteBytes(path_, BytesOf(found.path()));
    EXPECT_THAT(std::string(OpenHdf5Reader(At(path_)).status().message()),
                HasSubstr(found.path().filename() == "found-no-chunk" ? "the HDF5 library crashes over it" : path_));
    ReadAll(path_);
  }
  EXPECT_GE(files, 2);
}

TEST_F(Hdf5ReaderTest, TellsOfStringsWithAWrongLength) {
  WriteFile(path_, {Key("a key of some length")}, 8);
  const std::string bytes = BytesOf(path_);
  // In front of the string: the number of the object, 6 other bytes, the length in 8 bytes.
  const size_t length = bytes.find("a key of some length") - 8;
  for (const char* wrong : {"\x13\0\0\0\0\0\0", "\xff\xff\0\0\0\0\0", "\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    std::string damaged = bytes;
    damaged.replace(length, 7, wrong, 7);
    WriteBytes(path_, damaged);
    EXPECT_THAT(OpenHdf5Reader(At(path_)).value()->Next(),
                HasError(absl::StatusCode::kDataLoss, HasSubstr("expected a string of 20 bytes")));
  }
}

TEST_F(Hdf5ReaderTest, SurvivesFilesWithWrongBytes) {
  std::vector<Key> keys;
  for (int i = 0; i < 40; ++i) keys.push_back(Key(absl::StrCat("key ", i, std::string(i * 20, 'k'))));
  for (const auto& [name, with_keys] : {std::pair("texts.h5", keys), std::pair("numbers.h5", NumberKeys(0, 40))}) {
    WriteFile(folder_ / name, with_keys, 8);
    const std::string bytes = BytesOf(folder_ / name);
    // Most of the file is the one chunk of vectors; damage the books of the library instead.
    const std::string damaged = folder_ / "damaged.h5";
    for (int seed = 0; seed < 1500; ++seed) {
      SCOPED_TRACE(absl::StrCat(name, " seed ", seed));
      std::mt19937 random(seed);
      std::string wrong = bytes;
      for (int i = 0; i <= seed % 4; ++i) wrong[random() % 4096] = static_cast<char>(random());
      for (int i = 0; i <= seed % 3; ++i) wrong[wrong.size() - 1 - random() % 30000] = static_cast<char>(random());
      WriteBytes(damaged, wrong);
      ReadAll(damaged);
    }
  }
}

}  // namespace
}  // namespace reembed
