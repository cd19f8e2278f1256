#include <hdf5.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "io/file/hdf5_source.h"
#include "tests/fakes/file_batches.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Location At(const std::string& path) { return {.scheme = "hdf5", .path = path}; }

class Hdf5SinkTest : public ::testing::Test {
 protected:
  std::unique_ptr<VectorSink> Make(int dim) {
    auto sink = MakeHdf5Sink(At(path_), {"model-x", dim});
    EXPECT_THAT(sink, IsOk());
    return std::move(*sink);
  }

  absl::StatusOr<int64_t> Open(VectorSink* sink, SinkPosition last) { return sink->Open({.model = {"m", 4}}, last); }

  absl::Status Check(const FileRowSet& rows, int64_t end) {
    const auto reader = OpenHdf5Reader(At(path_));
    return reader.ok() ? CheckReader(rows, end, reader->get()) : reader.status();
  }

  FileTestFolder folder_;
  const std::string path_ = folder_ / "out.h5";
};

class Hdf5SinkKeysTest : public Hdf5SinkTest, public ::testing::WithParamInterface<FileKeys> {};

TEST_P(Hdf5SinkKeysTest, ReaderGivesBackEveryRow) {
  // More than one chunk of vectors (384 rows) and of keys (16384 and 8192).
  const FileRowSet rows = {.dim = 1024, .keys = GetParam(), .reject_every = 9};
  ASSERT_THAT(WriteAll(rows, 1500, 100, Make(1024).get()), IsOk());
  EXPECT_THAT(Check(rows, 1500), IsOk());
  EXPECT_THAT(folder_.Names(), ElementsAre("out.h5"));
  const FileRowSet narrow = {.dim = 2, .keys = GetParam()};
  std::filesystem::remove(path_);
  ASSERT_THAT(WriteAll(narrow, 40000, 700, Make(2).get()), IsOk());
  EXPECT_THAT(Check(narrow, 40000), IsOk());
}

TEST_P(Hdf5SinkKeysTest, FindGoesForwardAndOnceAround) {
  const FileRowSet rows = {.keys = GetParam()};
  ASSERT_THAT(WriteAll(rows, 5000, 500, Make(4).get()), IsOk());
  const auto reader = OpenHdf5Reader(At(path_));
  ASSERT_THAT(reader, IsOk());
  for (const int64_t ordinal : {7, 4999, 3, 3, 2500, 0}) {
    const Key key = rows.KeyOf(ordinal);
    const auto found = (*reader)->Find(ViewOf(key));
    ASSERT_THAT(found, IsOk());
    ASSERT_TRUE(found->has_value()) << ordinal;
    EXPECT_EQ((*found)->vector[0], static_cast<float>(ordinal));
  }
}

TEST_P(Hdf5SinkKeysTest, RerunWithNewRowsGivesTheSameFileAsOneRun) {
  for (const int64_t first : {1, 384, 500}) {
    SCOPED_TRACE(first);
    std::filesystem::remove(path_);
    const FileRowSet rows = {.dim = 1024, .keys = GetParam(), .reject_every = 7};
    ASSERT_THAT(WriteAll(rows, first, 100, Make(1024).get()), IsOk());
    const std::string old = FileBytes(path_);
    const auto sink = Make(1024);
    const auto position = Open(sink.get(), {first, rows.StoredRows(first)});
    ASSERT_THAT(position, IsOk());
    ASSERT_EQ(*position, first);
    ASSERT_THAT(WriteRows(rows, {first, 1000}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
    EXPECT_EQ(FileBytes(path_), old);
    ASSERT_THAT(sink->Finish(), IsOk());
    EXPECT_THAT(Check(rows, 1000), IsOk());
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, Hdf5SinkKeysTest, ::testing::Values(FileKeys::kIntegers, FileKeys::kTexts),
                         [](const auto& info) { return info.param == FileKeys::kIntegers ? "integers" : "texts"; });

TEST_F(Hdf5SinkTest, CrashAsksForEveryRowAgain) {
  {
    const auto sink = Make(4);
    ASSERT_THAT(Open(sink.get(), {}), IsOk());
    ASSERT_THAT(WriteRows({}, {0, 50}, sink.get()), IsOk());
    ASSERT_THAT(sink->Flush(), IsOk());
    EXPECT_THAT(folder_.Names(), ElementsAre("out.h5.partial"));
  }
  const auto sink = Make(4);
  const auto position = Open(sink.get(), {50, 50});
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(*position, 0);
  ASSERT_THAT(WriteRows({}, {0, 60}, sink.get()), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_THAT(Check({}, 60), IsOk());
}

TEST_F(Hdf5SinkTest, CrashOfARerunKeepsTheCompleteFile) {
  ASSERT_THAT(WriteAll({}, 50, 50, Make(4).get()), IsOk());
  {
    const auto sink = Make(4);
    ASSERT_THAT(Open(sink.get(), {50, 50}), IsOk());
    ASSERT_THAT(WriteRows({}, {50, 70}, sink.get()), IsOk());
  }
  EXPECT_THAT(Check({}, 50), IsOk());
  const auto position = Open(Make(4).get(), {50, 50});
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(*position, 50);
}

TEST_F(Hdf5SinkTest, RerunWithoutNewRowsChangesNothing) {
  ASSERT_THAT(WriteAll({}, 50, 50, Make(4).get()), IsOk());
  const std::string old = FileBytes(path_);
  const auto sink = Make(4);
  ASSERT_THAT(Open(sink.get(), {50, 50}), IsOk());
  ASSERT_THAT(sink->Finish(), IsOk());
  EXPECT_EQ(FileBytes(path_), old);
  EXPECT_THAT(folder_.Names(), ElementsAre("out.h5"));
}

TEST_F(Hdf5SinkTest, RefusesAFileThatIsNotOurs) {
  WriteFileBytes(path_, "precious");
  EXPECT_THAT(Open(Make(4).get(), {}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("move it away")));
  EXPECT_EQ(FileBytes(path_), "precious");
  EXPECT_THAT(folder_.Names(), ElementsAre("out.h5"));
}

TEST_F(Hdf5SinkTest, MakingChangesNothing) {
  Make(4);
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

TEST_F(Hdf5SinkTest, NoRowsMakeAnEmptyFile) {
  ASSERT_THAT(WriteAll({}, 0, 1, Make(4).get()), IsOk());
  EXPECT_THAT(Check({}, 0), IsOk());
}

TEST_F(Hdf5SinkTest, MixedKeysAreRefusedByRow) {
  const auto sink = Make(4);
  ASSERT_THAT(Open(sink.get(), {}), IsOk());
  ASSERT_THAT(WriteRows({}, {0, 5}, sink.get()), IsOk());
  EXPECT_THAT(WriteRows({.keys = FileKeys::kTexts}, {5, 6}, sink.get()),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("expected integer keys")));
}

TEST_F(Hdf5SinkTest, KeyWithNulByteRefusesItsRowAlone) {
  Batch batch({.max_texts = 2, .max_rows = 2}, 4);
  const float vector[4] = {1, 2, 3, 4};
  batch.AddRow(0, KeyView(absl::string_view("a\0b", 3)), 0)->vector = vector;
  batch.AddRow(1, KeyView("c"), 1)->vector = vector;
  const Batch* const batches[] = {&batch};
  const auto sink = Make(4);
  ASSERT_THAT(Open(sink.get(), {}), IsOk());
  std::vector<RefusedRow> refused;
  ASSERT_THAT(sink->Write(batches, &refused), IsOk());
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].ordinal, 0);
  ASSERT_THAT(sink->Finish(), IsOk());
  const auto reader = OpenHdf5Reader(At(path_));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->rows(), 1);
}

// Another program's view of the file.
TEST_F(Hdf5SinkTest, H5dumpSeesTheAnnBenchmarksLayout) {
  const FileRowSet rows = {.dim = 3};
  ASSERT_THAT(WriteAll(rows, 2, 2, Make(3).get()), IsOk());
  FILE* const dump = popen(absl::StrCat("h5dump -m %.1f ", path_, " 2>&1").c_str(), "r");
  ASSERT_NE(dump, nullptr);
  std::string out(1 << 16, '\0');
  out.resize(fread(out.data(), 1, out.size(), dump));
  EXPECT_EQ(pclose(dump), 0);
  EXPECT_THAT(out, HasSubstr("ATTRIBUTE \"dimension\""));
  EXPECT_THAT(out, HasSubstr("(0): \"angular\""));
  EXPECT_THAT(out, HasSubstr("(0): \"float\""));
  EXPECT_THAT(out, HasSubstr("(0): \"model-x\""));
  EXPECT_THAT(out, HasSubstr("CSET H5T_CSET_UTF8"));
  EXPECT_THAT(out, HasSubstr("DATASPACE  SIMPLE { ( 2, 3 ) / ( H5S_UNLIMITED, 3 ) }"));
  EXPECT_THAT(out, HasSubstr("DATATYPE  H5T_IEEE_F32LE"));
  EXPECT_THAT(out, HasSubstr("DATATYPE  H5T_STD_I64LE"));
  EXPECT_THAT(out, HasSubstr("(1): 1003"));
  EXPECT_THAT(out, HasSubstr("(1,0): 1.0,"));
}

TEST_F(Hdf5SinkTest, FullDiskIsNamedAndTheNextRunBeginsAgain) {
  const FileRowSet rows = {.dim = 1024};
  {
    const auto sink = Make(1024);
    ASSERT_THAT(Open(sink.get(), {}), IsOk());
    rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {2 << 20, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    absl::Status status = WriteRows(rows, {0, 2000}, sink.get());
    if (status.ok()) status = sink->Finish();
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_THAT(status, HasError(absl::StatusCode::kResourceExhausted,
                                 AllOf(HasSubstr(path_), HasSubstr("more bytes"), HasSubstr("make room"))));
    EXPECT_EQ(sink->Finish(), status);
  }
  ASSERT_THAT(WriteAll(rows, 2000, 500, Make(1024).get()), IsOk());
  EXPECT_THAT(Check(rows, 2000), IsOk());
}

// Files of others, written with the library itself.
class Hdf5InputTest : public ::testing::Test {
 protected:
  void SetUp() override { file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT); }
  void Close() { H5Fclose(file_); }

  void Write(const char* name, hid_t type, std::vector<hsize_t> shape, const void* values, hid_t properties = 0) {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t dataset = H5Dcreate2(file_, name, type, space, 0, properties, 0);
    if (values != nullptr) H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, 0, values);
    H5Dclose(dataset);
    H5Sclose(space);
  }

  void WriteVariable(const char* name, std::vector<const char*> texts) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, H5T_VARIABLE);
    Write(name, type, {texts.size()}, texts.data());
    H5Tclose(type);
  }

  void WriteFixed(const char* name, size_t bytes, H5T_str_t padding, const std::string& texts) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, bytes);
    H5Tset_strpad(type, padding);
    Write(name, type, {texts.size() / bytes}, texts.data());
    H5Tclose(type);
  }

  std::unique_ptr<Source> OpenSource(std::map<std::string, std::string> parameters) {
    Location location = At(path_);
    location.parameters = std::move(parameters);
    auto source = OpenHdf5Source(location);
    EXPECT_THAT(source, IsOk());
    return std::move(*source);
  }

  static std::string RowText(const absl::StatusOr<std::optional<RowView>>& row) {
    if (!row.ok()) return row.status().ToString();
    if (!row->has_value()) return "end";
    return absl::StrCat(KeyJson((*row)->key), "=", (*row)->text.value_or("null"));
  }

  FileTestFolder folder_;
  const std::string path_ = folder_ / "in.h5";
  hid_t file_ = -1;
};

TEST_F(Hdf5InputTest, SourceReadsVariableTextsWithIntegerKeys) {
  const int32_t keys[] = {10, 20, 30};
  WriteVariable("texts", {"one", "two \xC3\xA9", "three"});
  Write("ids", H5T_NATIVE_INT32, {3}, keys);
  Close();
  const auto source = OpenSource({{"keys", "ids"}});
  EXPECT_EQ(RowText(source->Next()), "10=one");
  EXPECT_EQ(RowText(source->Find(KeyView(int64_t{30}))), "30=three");
  ASSERT_THAT(source->SeekAfter(KeyView(int64_t{10})), IsOk());
  EXPECT_EQ(RowText(source->Next()), "20=two \xC3\xA9");
  EXPECT_EQ(RowText(source->Next()), "30=three");
  EXPECT_EQ(RowText(source->Next()), "end");
  EXPECT_THAT(source->SeekAfter(KeyView(int64_t{11})), HasError(absl::StatusCode::kNotFound, HasSubstr("11")));
  const auto rows = source->CountRows();
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(*rows, 3);
}

TEST_F(Hdf5InputTest, SourceReadsFixedTextsOfEveryPadding) {
  WriteFixed("nulls", 4, H5T_STR_NULLPAD, std::string("ab\0\0abcd", 8));
  WriteFixed("spaces", 4, H5T_STR_SPACEPAD, "ab  abcd");
  WriteFixed("names", 2, H5T_STR_NULLTERM, std::string("x\0y\0", 4));
  Close();
  const auto nulls = OpenSource({{"texts", "nulls"}, {"keys", "names"}});
  EXPECT_EQ(RowText(nulls->Next()), "\"x\"=ab");
  EXPECT_EQ(RowText(nulls->Next()), "\"y\"=abcd");
  const auto spaces = OpenSource({{"texts", "spaces"}});
  EXPECT_EQ(RowText(spaces->Next()), "0=ab");
  EXPECT_EQ(RowText(spaces->Next()), "1=abcd");
}

TEST_F(Hdf5InputTest, SourceReadsManyBlocks) {
  std::vector<std::string> texts;
  for (int i = 0; i < 5000; ++i) texts.push_back(absl::StrCat("text ", i));
  std::vector<const char*> pointers;
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  WriteVariable("texts", pointers);
  Close();
  const auto source = OpenSource({});
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(RowText(source->Next()), absl::StrCat(i, "=text ", i));
  EXPECT_EQ(RowText(source->Next()), "end");
}

TEST_F(Hdf5InputTest, LargeTextsAreReadInSmallerBlocks) {
  const std::string large(20 << 20, 'x');
  WriteVariable("texts", {large.c_str(), large.c_str(), large.c_str(), large.c_str(), "end"});
  Close();
  const auto source = OpenSource({});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(RowText(source->Next()).size(), large.size() + 2);
  EXPECT_EQ(RowText(source->Next()), "4=end");
}

TEST_F(Hdf5InputTest, TextBeyondTheLimitIsNamed) {
  const std::string large(65 << 20, 'x');
  WriteVariable("texts", {"a", large.c_str()});
  Close();
  const auto source = OpenSource({});
  EXPECT_EQ(RowText(source->Next()), "0=a");
  EXPECT_THAT(source->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("row 1: expected at most")));
}

TEST_F(Hdf5InputTest, SourceNamesWhatIsWrong) {
  const int32_t numbers[] = {1, 2};
  WriteVariable("texts", {"a", "b", "c"});
  Write("two", H5T_NATIVE_INT32, {2}, numbers);
  Close();
  Location location = At(path_);
  location.parameters = {{"texts", "body"}};
  EXPECT_THAT(OpenHdf5Source(location), HasError(absl::StatusCode::kNotFound, HasSubstr("it has: texts, two")));
  location.parameters = {{"texts", "two"}};
  EXPECT_THAT(OpenHdf5Source(location), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("strings")));
  location.parameters = {{"keys", "two"}};
  EXPECT_THAT(OpenHdf5Source(location), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("each of 3 rows")));
  location.parameters = {{"text", "texts"}};
  EXPECT_THAT(OpenHdf5Source(location), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("`texts`")));
}

TEST_F(Hdf5InputTest, ReaderTakesOtherFloatsAndRowNumbers) {
  const double numbers[] = {1.5, 2.5, 3.5, 4.5};
  Write("train", H5T_NATIVE_DOUBLE, {2, 2}, numbers);
  Close();
  const auto reader = OpenHdf5Reader(At(path_));
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Find(KeyView(int64_t{1}));
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_THAT((*row)->vector, ElementsAre(3.5F, 4.5F));
}

TEST_F(Hdf5InputTest, OddDatasetsAreRefused) {
  const int32_t numbers[] = {1, 2};
  Write("train", H5T_NATIVE_INT32, {1, 2}, numbers);
  Close();
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("floats")));
  EXPECT_THAT(OpenHdf5Reader(At(folder_ / "none.h5")), HasError(absl::StatusCode::kNotFound, HasSubstr("none.h5")));
  WriteFileBytes(folder_ / "text.h5", "no HDF5 at all");
  EXPECT_THAT(OpenHdf5Reader(At(folder_ / "text.h5")), HasError(absl::StatusCode::kDataLoss, HasSubstr("text.h5")));
}

// A header may claim anything; only a block of it is ever made.
TEST_F(Hdf5InputTest, EnormousClaimsCostNothing) {
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[2] = {1000, 4};
  H5Pset_chunk(properties, 2, chunk);
  Write("train", H5T_NATIVE_FLOAT, {hsize_t{1} << 50, 4}, nullptr, properties);
  H5Pclose(properties);
  Close();
  const auto reader = OpenHdf5Reader(At(path_));
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->rows(), int64_t{1} << 50);
  const auto last = (*reader)->Find(KeyView((int64_t{1} << 50) - 1));
  ASSERT_THAT(last, IsOk());
  EXPECT_TRUE(last->has_value());
}

TEST_F(Hdf5InputTest, EnormousChunksAreRefused) {
  const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[2] = {30 << 20, 4};
  H5Pset_chunk(properties, 2, chunk);
  Write("train", H5T_NATIVE_FLOAT, {30 << 20, 4}, nullptr, properties);
  H5Pclose(properties);
  Close();
  EXPECT_THAT(OpenHdf5Reader(At(path_)), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("h5repack")));
}

TEST_F(Hdf5InputTest, CutFileIsDamaged) {
  const std::vector<float> numbers(40000, 1.0F);
  Write("train", H5T_NATIVE_FLOAT, {10000, 4}, numbers.data());
  Close();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  const auto reader = OpenHdf5Reader(At(path_));
  if (!reader.ok()) {
    EXPECT_THAT(reader, HasError(absl::StatusCode::kDataLoss, HasSubstr(path_)));
    return;
  }
  EXPECT_THAT((*reader)->Find(KeyView(int64_t{9999})), HasError(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

}  // namespace
}  // namespace reembed
