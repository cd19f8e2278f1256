// SPDX-License-Identifier: Apache-2.0
// A number that is not finite, in a vector that was stored, is noticed by whatever reads it back.

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRows = 20;
constexpr int kDim = 64;
constexpr int kBadRow = 7;
constexpr size_t kFbinHead = 8;

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The scheme of the target, and whether the job keeps its vectors.
class StoredNumbersTest : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  StoredNumbersTest() {
    std::ofstream notes(folder_ / "notes.jsonl");
    for (int i = 0; i < kRows; ++i) notes << "{\"id\":" << i << ",\"text\":\"note number " << i << "\"}\n";
  }

  std::string Scheme() const { return std::get<0>(GetParam()); }
  std::string Path() const { return folder_ / ("out." + Scheme()); }
  std::string Target() const { return absl::StrCat(Scheme(), ":", Path()); }

  ProcessResult Command(const std::vector<std::string>& args) const {
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

  std::vector<std::string> RunInto(const std::string& target, const std::string& job) const {
    return {"run",
            "--source",
            "jsonl:" + (folder_ / "notes.jsonl"),
            "--job",
            folder_ / job,
            "--embedder",
            "builtin",
            "--dimensions",
            absl::StrCat(kDim),
            "--keep-vectors",
            std::get<1>(GetParam()),
            "--progress",
            "off",
            "--target",
            target};
  }

  // Puts `number` in place of the last number of a row; the rest of the file stays.
  void Spoil(float number) const {
    std::string bytes = BytesOf(Path());
    const std::string row = BytesOf(folder_ / "rows.fbin").substr(kFbinHead + kBadRow * kDim * 4, kDim * 4);
    if (Scheme() == "jsonl") {
      const size_t line = bytes.find(absl::StrCat("{\"key\":", kBadRow, ","));
      const size_t end = bytes.find(']', line);
      const size_t begin = bytes.rfind(',', end) + 1;
      // Beyond what a float holds: JSON has no other word for it.
      bytes.replace(begin, end - begin, number < 0 ? "-1e60" : "1e60");
    } else {
      const size_t at = bytes.find(row);
      ASSERT_NE(at, std::string::npos);
      std::memcpy(&bytes[at + row.size() - sizeof(number)], &number, sizeof(number));
    }
    std::ofstream(Path(), std::ios::binary) << bytes;
  }

  TempFolder folder_;
};

TEST_P(StoredNumbersTest, AreNamedByVerifyAndSearch) {
  ASSERT_EQ(Command(RunInto("fbin:" + (folder_ / "rows.fbin"), "other")).exit_code, 0);
  const ProcessResult run = Command(RunInto(Target(), "job"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::vector<std::string> verify = {"verify", folder_ / "job"};
  const std::vector<std::string> search = {"search",  "--target",     Target(),           "--embedder",
                                           "builtin", "--dimensions", absl::StrCat(kDim), "words"};
  ASSERT_EQ(Command(verify).exit_code, 0);
  ASSERT_EQ(Command(search).exit_code, 0);

  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float number : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    SCOPED_TRACE(number);
    const std::string good = BytesOf(Path());
    ASSERT_NO_FATAL_FAILURE(Spoil(number));
    const auto names_it =
        Scheme() == "jsonl"
            ? AllOf(HasSubstr(absl::StrCat(Path(), ": line ", kBadRow + 1, " ")), HasSubstr("number 63"))
            : AllOf(HasSubstr(absl::StrCat(Path(), ": row ", kBadRow, ": ")), HasSubstr("NaN or infinity"));
    const ProcessResult verified = Command(verify);
    EXPECT_EQ(verified.exit_code, 8) << verified.out;
    EXPECT_THAT(verified.out, names_it);
    const ProcessResult searched = Command(search);
    EXPECT_EQ(searched.exit_code, 1) << searched.out;
    EXPECT_THAT(searched.err, names_it);
    std::ofstream(Path(), std::ios::binary) << good;
  }
}

TEST_P(StoredNumbersTest, AreWrittenAgainWhereTheFileIsMovedAway) {
  const std::vector<std::string> run = RunInto(Target(), "job");
  ASSERT_EQ(Command(RunInto("fbin:" + (folder_ / "rows.fbin"), "other")).exit_code, 0);
  ASSERT_EQ(Command(run).exit_code, 0);
  const std::string good = BytesOf(Path());
  ASSERT_NO_FATAL_FAILURE(Spoil(std::numeric_limits<float>::infinity()));
  const ProcessResult refused = Command(run);
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("move it away"));
  std::filesystem::rename(Path(), folder_ / "away");
  EXPECT_EQ(Command(run).exit_code, 0);
  EXPECT_EQ(Command({"verify", folder_ / "job"}).exit_code, 0);
  // HDF5 has times in it.
  EXPECT_TRUE(Scheme() == "hdf5" || BytesOf(Path()) == good);
}

INSTANTIATE_TEST_SUITE_P(Targets, StoredNumbersTest,
                         ::testing::Combine(::testing::Values("fbin", "npy", "hdf5", "jsonl"),
                                            ::testing::Values("always", "never")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                         });

}  // namespace
}  // namespace reembed
