// SPDX-License-Identifier: Apache-2.0
// The bytes of each format, written out by hand.

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/file/fbin_sink.h"
#include "io/file/jsonl_reader.h"
#include "io/file/jsonl_sink.h"
#include "io/file/matrix_file_sink.h"
#include "io/file/matrix_reader.h"
#include "io/file/npy_sink.h"
#include "tests/fakes/file_batches.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two rows [1, -2] and [0.5, 0.1] with the keys 7 and `a"\n`, and a rejected one between them.
class FormatsTest : public ::testing::Test {
 protected:
  FormatsTest() {
    batch_.AddRow(0, KeyView(int64_t{7}), 0)->vector = &vectors_[0];
    batch_.AddRow(1, KeyView(int64_t{8}), -1)->reject = absl::InvalidArgumentError("no");
    batch_.AddRow(2, KeyView("a\"\n"), 1)->vector = &vectors_[2];
  }

  absl::Status WriteBatch(VectorSink* sink) {
    const Batch* const batches[] = {&batch_};
    std::vector<RefusedRow> refused;
    return sink->Write(batches, &refused);
  }

  void WriteFile(absl::StatusOr<std::unique_ptr<VectorSink>> sink) {
    ASSERT_THAT(sink, IsOk());
    ASSERT_THAT((*sink)->Open({.model = {"m", 2}}, {}), IsOk());
    ASSERT_THAT(WriteBatch(sink->get()), IsOk());
    ASSERT_THAT((*sink)->Complete(), IsOk());
  }

  Location At(absl::string_view name) const { return {.scheme = "x", .path = folder_ / name}; }

  absl::Status OpenBytes(absl::StatusOr<std::unique_ptr<VectorReader>> (*open)(const Location&),
                         const std::string& bytes) {
    WriteFileBytes(folder_ / "bytes", bytes);
    return open(At("bytes")).status();
  }

  const float vectors_[4] = {1.0F, -2.0F, 0.5F, 0.1F};
  const std::string data_ = std::string("\x00\x00\x80\x3F\x00\x00\x00\xC0\x00\x00\x00\x3F\xCD\xCC\xCC\x3D", 16);
  Batch batch_{{.max_texts = 4, .max_rows = 4}, 2};
  FileTestFolder folder_;
};

TEST_F(FormatsTest, FbinIsExact) {
  WriteFile(MakeFbinSink(At("out"), {"m", 2}));
  EXPECT_EQ(FileBytes(folder_ / "out"), std::string("\x02\x00\x00\x00\x02\x00\x00\x00", 8) + data_);
  EXPECT_EQ(FileBytes(folder_ / "out.keys.jsonl"), "7\n\"a\\\"\\n\"\n");
  EXPECT_THAT(folder_.Names(), ElementsAre("out", "out.keys.jsonl"));
}

TEST_F(FormatsTest, NpyIsExact) {
  WriteFile(MakeNpySink(At("out"), {"m", 2}));
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
  const std::string header =
      std::string("\x93NUMPY\x01\x00\x76\x00", 10) + dict + std::string(117 - dict.size(), ' ') + "\n";
  ASSERT_EQ(header.size(), 128U);
  EXPECT_EQ(FileBytes(folder_ / "out"), header + data_);
  EXPECT_EQ(FileBytes(folder_ / "out.keys.jsonl"), "7\n\"a\\\"\\n\"\n");
}

TEST_F(FormatsTest, JsonlIsExact) {
  WriteFile(MakeJsonlSink(At("out"), {"m", 2}));
  EXPECT_EQ(FileBytes(folder_ / "out"),
            "{\"key\":7,\"embedding\":[1,-2]}\n{\"key\":\"a\\\"\\n\",\"embedding\":[0.5,0.1]}\n");
}

TEST_F(FormatsTest, JsonlKeepsEveryFloat) {
  std::mt19937 random(5);
  std::vector<float> vector = {0.0F, -0.0F, std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min(),
                               -std::numeric_limits<float>::min()};
  while (vector.size() < 100000) {
    const uint32_t bits = random();
    float number;
    std::memcpy(&number, &bits, sizeof(number));
    if (std::isfinite(number)) vector.push_back(number);
  }
  const int dim = static_cast<int>(vector.size());
  Batch batch({.max_texts = 1, .max_rows = 1}, dim);
  batch.AddRow(0, KeyView(int64_t{1}), 0)->vector = vector.data();
  const auto sink = MakeJsonlSink(At("out"), {"m", dim});
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT((*sink)->Open({}, {}), IsOk());
  const Batch* const batches[] = {&batch};
  std::vector<RefusedRow> refused;
  ASSERT_THAT((*sink)->Write(batches, &refused), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  const auto reader = OpenJsonlReader(At("out"));
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Next();
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ(std::memcmp((*row)->vector.data(), vector.data(), vector.size() * sizeof(float)), 0);
}

TEST_F(FormatsTest, FbinRefusesMoreRowsThanItCanCount) {
  const auto sink = MakeFbinSink(At("out"), {"m", 2});
  ASSERT_THAT(sink, IsOk());
  EXPECT_THAT((*sink)->Open({.model = {"m", 2}, .expected_rows = int64_t{1} << 32}, {}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("at most 4294967295 rows")));
  MatrixFormat small = kFbinFormat;
  small.max_rows = 3;
  const auto counted = MakeMatrixFileSink(small, At("small"), {"m", 2});
  ASSERT_THAT(counted, IsOk());
  ASSERT_THAT((*counted)->Open({.model = {"m", 2}}, {}), IsOk());
  ASSERT_THAT(WriteRows({.dim = 2}, {0, 3}, counted->get()), IsOk());
  EXPECT_THAT(WriteRows({.dim = 2}, {3, 4}, counted->get()),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("at most 3 rows")));
}

TEST_F(FormatsTest, VectorsThatLieApartAreWrittenInOrder) {
  const int dim = 3;
  Batch batch({.max_texts = 3000, .max_rows = 3000}, dim);
  std::vector<float> vectors(static_cast<size_t>(3000 * dim));
  for (size_t i = 0; i < vectors.size(); ++i) vectors[i] = static_cast<float>(i);
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const float* const vector = &vectors[static_cast<size_t>((i * 7 % 3000) * dim)];  // more pieces than one call takes
    batch.AddRow(i, KeyView(int64_t{i}), i)->vector = vector;
    expected.append(reinterpret_cast<const char*>(vector), dim * sizeof(float));
  }
  const auto sink = MakeFbinSink(At("out"), {"m", dim});
  ASSERT_THAT(sink, IsOk());
  ASSERT_THAT((*sink)->Open({}, {}), IsOk());
  const Batch* const batches[] = {&batch};
  std::vector<RefusedRow> refused;
  ASSERT_THAT((*sink)->Write(batches, &refused), IsOk());
  ASSERT_THAT((*sink)->Complete(), IsOk());
  EXPECT_EQ(FileBytes(folder_ / "out").substr(8), expected);
}

TEST_F(FormatsTest, FbinHeaderMustFitTheFile) {
  const std::string header("\x02\x00\x00\x00\x02\x00\x00\x00", 8);
  EXPECT_THAT(OpenBytes(OpenFbinReader, header + data_), IsOk());
  EXPECT_THAT(OpenBytes(OpenFbinReader, header + data_ + "x"),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("expected 2 rows of 2 numbers")));
  EXPECT_THAT(OpenBytes(OpenFbinReader, std::string(8, '\xFF')),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("width")));
  EXPECT_THAT(OpenBytes(OpenFbinReader, std::string("\xFF\xFF\xFF\xFF\x00\x00\x10\x00", 8)),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("expected 4294967295 rows")));
  EXPECT_THAT(OpenBytes(OpenFbinReader, "abc"), HasError(absl::StatusCode::kDataLoss, HasSubstr("header of 8 bytes")));
}

TEST_F(FormatsTest, NpyReaderTakesWhatNumPyWritesAndNothingElse) {
  const auto npy = [this](std::string dict, int version = 1) {
    dict.resize((dict.size() + 76) / 64 * 64 - 12, ' ');
    const char length[4] = {static_cast<char>(dict.size()), static_cast<char>(dict.size() >> 8), 0, 0};
    return absl::StrCat(absl::string_view("\x93NUMPY", 6), absl::string_view(version == 2 ? "\x02\x00" : "\x01\x00", 2),
                        absl::string_view(length, version == 2 ? 4 : 2), dict, data_);
  };
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }")), IsOk());
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'shape':(2,2,),'fortran_order':False,'descr':'<f4'}", 2)), IsOk());
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }")),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("'<f4'")));
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }")),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("Fortran")));
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }")),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("two dimensions")));
  EXPECT_THAT(OpenBytes(OpenNpyReader, npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 1), }")),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("two dimensions")));
  for (const char* const shape : {"(9223372036854775807, 2)", "(2305843009213693952, 2)", "(99999999999999999999, 2)",
                                  "(-1, 2)", "(2, 0)", "(2, 4294967298)", "(3, 2)"}) {
    EXPECT_THAT(
        OpenBytes(OpenNpyReader, npy(absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': ", shape, "}"))),
        HasError(absl::StatusCode::kDataLoss, HasSubstr("bytes")))
        << shape;
  }
}

TEST_F(FormatsTest, KeysMustFitTheRows) {
  WriteFile(MakeFbinSink(At("out"), {"m", 2}));
  WriteFileBytes(folder_ / "out.keys.jsonl", "7\n");
  EXPECT_THAT(OpenFbinReader(At("out")), HasError(absl::StatusCode::kDataLoss, HasSubstr("each of 2 rows, got 1")));
  for (const std::string bad :
       {"7 8", "[7]", "1.5", "null", "\"a\"b", "\"a", "", "{}", "99999999999999999999", "\"\xFF\""}) {
    WriteFileBytes(folder_ / "out.keys.jsonl", absl::StrCat("7\n", bad, "\n"));
    const auto reader = OpenFbinReader(At("out"));
    ASSERT_THAT(reader, IsOk());
    ASSERT_THAT((*reader)->Next(), IsOk());
    EXPECT_THAT((*reader)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("out.keys.jsonl: line 2 at byte 2")))
        << bad;
  }
}

TEST_F(FormatsTest, RowNumbersAreKeysWithoutASidecar) {
  WriteFileBytes(folder_ / "in", std::string("\x02\x00\x00\x00\x02\x00\x00\x00", 8) + data_);
  const auto reader = OpenFbinReader(At("in"));
  ASSERT_THAT(reader, IsOk());
  const auto row = (*reader)->Find(KeyView(int64_t{1}));
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_THAT((*row)->vector, ElementsAre(0.5F, 0.1F));
  const auto none = (*reader)->Find(KeyView(int64_t{2}));
  EXPECT_TRUE(none.ok() && !none->has_value());
}

TEST_F(FormatsTest, JsonlReaderNamesTheLineThatIsNotOurs) {
  const std::string good = "{\"key\":1,\"embedding\":[1,2]}\n";
  for (const std::string bad :
       {"{\"key\":2,\"embedding\":[1]}", "{\"key\":2,\"embedding\":[1,nan]}", "{\"key\":2,\"embedding\":[1,\"2\"]}",
        "{\"key\":2,\"embedding\":[1,1e99]}", "{\"key\":2,\"embedding\":[1,2],}", "{\"key\":2,\"embedding\":[1,2}",
        "{\"key\":2}", "{\"embedding\":[1,2]}", "{\"key\":[2],\"embedding\":[1,2]}", "{\"key\":2,\"embedding\":5}",
        "{\"key\":2,\"embedding\":[1,+2]}", "{\"key\":2,\"embedding\":[1,2]}]", "x"}) {
    SCOPED_TRACE(bad);
    WriteFileBytes(folder_ / "in", absl::StrCat(good, bad, "\n"));
    const auto reader = OpenJsonlReader(At("in"));
    ASSERT_THAT(reader, IsOk());
    EXPECT_THAT((*reader)->Next(), IsOk());
    EXPECT_THAT((*reader)->Next(), HasError(absl::StatusCode::kDataLoss, HasSubstr("line 2 at byte 28")));
  }
}

TEST_F(FormatsTest, StreamSinkWritesTheSameLines) {
  WriteFile(MakeJsonlSink(At("out"), {"m", 2}));
  const int fd = open((folder_ / "stream").c_str(), O_WRONLY | O_CREAT, 0600);
  const auto sink = MakeJsonlStreamSink(fd);
  const auto position = sink->Open({.model = {"m", 2}}, {5, 5});
  ASSERT_THAT(position, IsOk());
  EXPECT_EQ(*position, 0);
  ASSERT_THAT(WriteBatch(sink.get()), IsOk());
  ASSERT_THAT(sink->Complete(), IsOk());
  close(fd);
  EXPECT_EQ(FileBytes(folder_ / "stream"), FileBytes(folder_ / "out"));
}

TEST_F(FormatsTest, StreamSinkNamesWhatHappenedToItsReader) {
  const int full = open("/dev/full", O_WRONLY);
  const auto sink = MakeJsonlStreamSink(full);
  ASSERT_THAT(WriteBatch(sink.get()), IsOk());
  EXPECT_THAT(sink->Flush(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("more bytes")));
  EXPECT_THAT(sink->Complete(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("more bytes")));
  close(full);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  const auto closed = MakeJsonlStreamSink(ends[1]);
  ASSERT_THAT(WriteBatch(closed.get()), IsOk());
  EXPECT_THAT(closed->Flush(), HasError(absl::StatusCode::kUnavailable, HasSubstr("reader has ended")));
  std::signal(SIGPIPE, handler);
  close(ends[1]);
}

}  // namespace
}  // namespace reembed
