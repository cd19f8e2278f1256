// SPDX-License-Identifier: Apache-2.0
#include "index/index_files.h"

#include <cstring>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

uint64_t ChecksumOf(const std::string& bytes) {
  Checksum checksum;
  checksum.Add(bytes.data(), bytes.size());
  return checksum.Value();
}

class IndexFilesTest : public IndexTest {};

TEST_F(IndexFilesTest, ChecksumDoesNotDependOnThePieces) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  for (size_t size = 0; size < 300; ++size) {
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(random()));
    Checksum checksum;
    for (size_t at = 0; at < size;) {
      const size_t piece = std::min(size - at, 1 + random() % 100);
      checksum.Add(bytes.data() + at, piece);
      at += piece;
    }
    EXPECT_EQ(checksum.Value(), ChecksumOf(bytes)) << size;
  }
}

TEST_F(IndexFilesTest, ChecksumSeesEveryBitAndEveryLostByte) {
  const std::string bytes = "an index file is longer than this, but one block and a little more will do for the test";
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    EXPECT_NE(ChecksumOf(flipped), ChecksumOf(bytes)) << bit;
  }
  for (size_t size = 0; size < 300; ++size) {
    EXPECT_NE(ChecksumOf(std::string(size, '\0')), ChecksumOf(std::string(size + 1, '\0'))) << size;
  }
}

TEST_F(IndexFilesTest, ChecksumIsTheSameForEver) {
  // Descriptions on disk hold it: a change here makes every index look damaged.
  EXPECT_EQ(ChecksumOf(""), 4804320037574089998u);
  EXPECT_EQ(ChecksumOf("reembed"), 4885199731029874721u);
}

TEST_F(IndexFilesTest, DescriptionComesBack) {
  IndexDescription d;
  d.model = {.name = "model \"x\"\n", .dim = 1536};
  d.metric = Metric::kL2;
  d.asked_factory = "IVF,Flat";
  d.factory = "IVF7,Flat";
  d.rows = 12;
  d.trained_rows = 11;
  d.id_kind = IdKind::kOrdinal;
  d.faiss_version = "1.7.3";
  d.source = "sqlite:a.db?table=t";
  d.built_from = "npy:a.npy";
  d.seed = 77;
  d.ef_construction = 80;
  d.fingerprint = 0xFEDCBA9876543211;
  d.nprobe = 12;
  d.ef_search = 13;
  d.recall_at_10 = 0.953125;
  d.recall_queries = 1000;
  d.reembed_version = "0.3.0";
  d.index_file = {.bytes = 100, .checksum = 0xFEDCBA9876543210};
  d.keys_file = {.bytes = 7, .checksum = 1};
  WriteFile(path("d.json"), DescriptionJson(d));
  const absl::StatusOr<IndexDescription> read = ReadDescription(path("d.json"));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(DescriptionJson(*read), DescriptionJson(d));
  EXPECT_EQ(read->model.name, d.model.name);
  EXPECT_EQ(read->index_file, d.index_file);
  EXPECT_EQ(read->fingerprint, d.fingerprint);
  EXPECT_EQ(read->recall_at_10, d.recall_at_10);
}

TEST_F(IndexFilesTest, DescriptionsOfEarlierVersionsAreRead) {
  WriteFile(
      path("d.json"),
      "{\n  \"format\": 1,\n  \"model\": \"m\",\n  \"dim\": 3,\n  \"metric\": \"ip\",\n  \"asked_factory\": "
      "\"Flat\",\n  \"factory\": \"Flat\",\n  \"rows\": 2,\n  \"trained_rows\": 0,\n  \"ids\": \"key\",\n  "
      "\"faiss_version\": \"1.7.3\",\n  \"source\": \"\",\n  \"index_bytes\": 5,\n  \"index_checksum\": "
      "\"00000000000000ff\",\n  \"keys_bytes\": 0,\n  \"keys_checksum\": \"0000000000000000\",\n  \"normalized\": "
      "false\n}\n");
  const absl::StatusOr<IndexDescription> read = ReadDescription(path("d.json"));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->rows, 2);
  EXPECT_EQ(read->recall_queries, 0);
  EXPECT_EQ(read->index_file, (FileMark{.bytes = 5, .checksum = 255}));
  WriteFile(path("d.json"), "{\"format\": 4}");
  EXPECT_THAT(ReadDescription(path("d.json")),
              HasError(absl::StatusCode::kDataLoss, HasSubstr("got format 4; update")));
}

// Format 3 is of sets of shards alone: all else is still read by whoever knows format 2.
TEST_F(IndexFilesTest, OnlyASetIsOfTheNewestFormat) {
  IndexDescription d{.model = {.name = "m", .dim = 3}, .rows = 10};
  EXPECT_THAT(DescriptionJson(d), HasSubstr("\"format\": 2,"));
  d.shards = 4;
  const std::string json = DescriptionJson(d);
  EXPECT_THAT(json, HasSubstr("\"format\": 3,"));
  WriteFile(path("d.json"), json);
  const absl::StatusOr<IndexDescription> read = ReadDescription(path("d.json"));
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->shards, 4);
  for (const auto& [from, to] :
       {std::pair("\"shards\": 4", "\"shards\": 0"), std::pair("\"format\": 3", "\"format\": 2")}) {
    std::string broken = json.substr(0, json.rfind(",\n")) + "\n}\n";  // without a checksum
    broken.replace(broken.find(from), strlen(from), to);
    WriteFile(path("d.json"), broken);
    EXPECT_THAT(ReadDescription(path("d.json")), HasError(absl::StatusCode::kDataLoss, HasSubstr("do not fit")));
  }
}

TEST_F(IndexFilesTest, DescriptionWithoutAFieldIsRefused) {
  std::string json = DescriptionJson({.model = {.name = "m", .dim = 3}});
  json.replace(json.rfind(",\n"), std::string::npos, "\n}\n");  // as earlier versions wrote it, without a checksum
  WriteFile(path("d.json"), json);
  EXPECT_THAT(ReadDescription(path("d.json")), IsOk());
  for (const char* const field :
       {"format",         "model",        "dim",       "metric",        "asked_factory",  "factory",
        "rows",           "trained_rows", "ids",       "faiss_version", "source",         "built_from",
        "seed",           "fingerprint",  "ef_search", "recall_at_10",  "recall_queries", "index_bytes",
        "index_checksum", "keys_bytes"}) {
    std::string broken = json;
    broken.insert(broken.find(absl::StrCat("\"", field, "\"")) + 1, "no_");
    WriteFile(path("d.json"), broken);
    EXPECT_THAT(ReadDescription(path("d.json")), HasError(absl::StatusCode::kDataLoss, HasSubstr("d.json"))) << field;
  }
  EXPECT_THAT(ReadDescription(path("none.json")), HasError(absl::StatusCode::kNotFound, HasSubstr("none.json")));
}

TEST_F(IndexFilesTest, DescriptionThatWasChangedIsRefused) {
  const std::string json = DescriptionJson({.model = {.name = "m", .dim = 3}, .rows = 10, .source = "sqlite:a.db"});
  for (size_t i = 0; i < json.size(); ++i) {
    std::string changed = json;
    changed[i] ^= 1;
    if (i > json.rfind('"')) continue;  // blanks
    WriteFile(path("d.json"), changed);
    EXPECT_THAT(ReadDescription(path("d.json")), HasError(absl::StatusCode::kDataLoss, HasSubstr("d.json"))) << i;
  }
}

TEST_F(IndexFilesTest, KeysComeBackWithTheirIds) {
  std::string lines;
  const std::vector<std::string> keys = {"a \"quoted\" key", "two\nlines", "", "ключ", std::string("\0\x01", 2)};
  for (size_t i = 0; i < keys.size(); ++i) KeyTable::AppendLine(static_cast<int64_t>(i) * 10, keys[i], &lines);
  const absl::StatusOr<FileMark> mark = WriteWholeFile(path("k"), lines);
  ASSERT_THAT(mark, IsOk());
  const absl::StatusOr<KeyTable> table = KeyTable::Read(path("k"), *mark);
  ASSERT_THAT(table, IsOk());
  ASSERT_EQ(table->size(), static_cast<int64_t>(keys.size()));
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(table->key(static_cast<int64_t>(i)), keys[i]);
    EXPECT_EQ(table->FindId(static_cast<int64_t>(i) * 10), static_cast<int64_t>(i));
  }
  EXPECT_EQ(table->FindId(11), -1);
}

TEST_F(IndexFilesTest, KeyLinesOfAnotherFormAreRefused) {
  for (const std::string& lines :
       {std::string("{\"id\":1}\n"), std::string("{\"id\":-1,\"key\":\"a\"}\n"), std::string("nonsense\n"),
        std::string("{\"id\":2,\"key\":\"a\"}\n{\"id\":2,\"key\":\"b\"}\n"), std::string("{\"id\":1,\"key\":5}\n")}) {
    const absl::StatusOr<FileMark> mark = WriteWholeFile(path("k"), lines);
    ASSERT_THAT(mark, IsOk());
    EXPECT_THAT(KeyTable::Read(path("k"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr("line "))) << lines;
  }
}

TEST_F(IndexFilesTest, AnotherFileThanMarkedIsRefused) {
  const absl::StatusOr<FileMark> mark = WriteWholeFile(path("f"), "content");
  ASSERT_THAT(mark, IsOk());
  EXPECT_THAT(CheckFile(path("f"), *mark), IsOk());
  WriteFile(path("f"), "contenT");
  EXPECT_THAT(CheckFile(path("f"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
  EXPECT_THAT(ReadMarkedFile(path("f"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
  WriteFile(path("f"), std::string(1000, 'x'));
  EXPECT_THAT(ReadMarkedFile(path("f"), *mark), HasError(absl::StatusCode::kDataLoss, HasSubstr("at most 7 bytes")));
}

TEST_F(IndexFilesTest, AFullDiskIsTold) {
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create("/dev/full");
  ASSERT_THAT(file, IsOk());
  static_cast<void>((*file)->Write("content", 7));
  EXPECT_THAT((*file)->Close(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("/dev/full")));
}

}  // namespace
}  // namespace reembed
