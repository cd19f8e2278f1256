// SPDX-License-Identifier: Apache-2.0
// What the command does where the system lets it have little: open files, address space, and texts that are too long.

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ProcessLimitsTest : public ::testing::Test {
 protected:
  void MakeNotes(int count) {
    std::ofstream notes(folder_ / "notes.jsonl");
    for (int i = 0; i < count; ++i) notes << "{\"id\":" << i << ",\"text\":\"note " << i << "\"}\n";
  }

  std::vector<std::string> RunArgs() const { return BuiltinRun(folder_.path()); }

  // Under a limit of the shell: "-n 24". One that does not end is ended, with exit code 124.
  ProcessResult Limited(const std::string& limit, const std::vector<std::string>& args) {
    std::vector<std::string> words = {"-c", absl::StrCat("ulimit ", limit, "; exec timeout -s KILL 60 \"$0\" \"$@\""),
                                      REEMBED_BINARY};
    words.insert(words.end(), args.begin(), args.end());
    return RunClean("/bin/bash", folder_.path(), words, {});
  }

  TempFolder folder_;
};

TEST_F(ProcessLimitsTest, TooFewFilesAreSaidWithTheNumberThatIsEnough) {
  MakeNotes(500);
  int64_t enough = 0;
  for (int files = 24; files <= 64; files += 4) {
    const ProcessResult result = Limited(absl::StrCat("-n ", files), RunArgs());
    if (result.exit_code == 0) continue;
    EXPECT_EQ(result.exit_code, 5) << files << ": " << result.err;
    const size_t at = result.err.find("raise ulimit -n to ");
    ASSERT_NE(at, std::string::npos) << files << ": " << result.err;
    enough = std::max<int64_t>(enough, std::strtoll(result.err.c_str() + at + 19, nullptr, 10));
  }
  ASSERT_GT(enough, 0) << "24 files cannot be enough";
  const ProcessResult result = Limited(absl::StrCat("-n ", enough), RunArgs());
  EXPECT_EQ(result.exit_code, 0) << enough << ": " << result.err;
}

TEST_F(ProcessLimitsTest, AVersionNeedsNoAddressSpaceToSpeakOf) {
  for (const int kilobytes : {100000, 150000, 200000, 400000}) {
    const ProcessResult result = Limited(absl::StrCat("-v ", kilobytes), {"--version"});
    if (absl::StrContains(result.err, "error while loading shared libraries")) continue;  // not even the loader fits
    EXPECT_EQ(result.exit_code, 0) << kilobytes << ": " << result.err;
    EXPECT_THAT(result.out, HasSubstr("reembed "));
  }
}

TEST_F(ProcessLimitsTest, OutOfMemoryIsSaidAndTheSameCommandGoesOn) {
  MakeNotes(20000);
  // Which of the two is met first, and with how much room, depends on what threads do at the same moment.
  int out_of_memory = 0;
  for (const int megabytes : {190, 220, 260, 300, 340, 400}) {
    const ProcessResult result = Limited(absl::StrCat("-v ", megabytes * 1024), RunArgs());
    EXPECT_THAT(result.exit_code, AnyOf(0, 1, 5, 127)) << megabytes << ": " << result.err;
    EXPECT_EQ(result.signal, 0) << megabytes << ": " << result.err;
    EXPECT_THAT(result.err, Not(HasSubstr("unexpected error"))) << megabytes;
    for (const char* const words : {"out of memory", "no room for one more thread"}) {
      if (absl::StrContains(result.err, words)) ++out_of_memory;
    }
    EXPECT_TRUE(result.exit_code == 0 || !result.err.empty()) << megabytes;
  }
  EXPECT_GT(out_of_memory, 0);
  const ProcessResult rest = RunClean(REEMBED_BINARY, folder_.path(), RunArgs());
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
}

// A header of a file of a few bytes is believed in nothing: what it says is compared with the file before room is made.
TEST_F(ProcessLimitsTest, NoFileIsTakenAtItsWordForItsSize) {
  const std::string npy = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 64), }";
  std::string npy_long = absl::StrCat(std::string("\x93NUMPY\x02\x00\xff\xff\xff\x7f", 12), npy);
  std::string npy_file = absl::StrCat(std::string("\x93NUMPY\x01\x00", 8), std::string(1, char(npy.size() + 1)),
                                      std::string(1, '\0'), npy, "\n", std::string(256, '\0'));
  const std::pair<const char*, std::string> files[] = {
      {"npy:rows.npy", npy_file},
      {"npy:head.npy", npy_long},
      {"fbin:rows.fbin", std::string("\xff\xff\xff\xff\x40\x00\x00\x00", 8) + std::string(256, '\0')},
      {"fbin:width.fbin", std::string("\x01\x00\x00\x00\xff\xff\xff\x7f", 8) + std::string(256, '\0')}};
  for (const auto& [place, bytes] : files) {
    const std::string uri = place;
    const size_t colon = uri.find(':');
    const std::string path = folder_ / uri.substr(colon + 1);
    std::ofstream(path) << bytes;
    const ProcessResult result = Limited("-v 700000", {"search", "--target", uri.substr(0, colon + 1) + path,
                                                       "--embedder", "builtin", "--dimensions", "64", "some words"});
    EXPECT_GT(result.exit_code, 0) << uri << ": " << result.out;
    EXPECT_EQ(result.signal, 0) << uri;
    EXPECT_THAT(result.err, HasSubstr(path)) << uri;
    EXPECT_THAT(result.err, Not(HasSubstr("out of memory"))) << uri;
  }
}

TEST_F(ProcessLimitsTest, ALineThatIsTooLongIsRejectedAlone) {
  const std::string piece(1 << 20, 'x');
  {
    std::ofstream notes(folder_ / "notes.jsonl");
    notes << "{\"id\":1,\"text\":\"first\"}\n{\"id\":2,\"text\":\"";
    for (int i = 0; i < 65; ++i) notes << piece;
    notes << "\"}\n{\"id\":3,\"text\":\"third\"}\n";
  }
  const ProcessResult result = RunClean(REEMBED_BINARY, folder_.path(), RunArgs());
  EXPECT_EQ(result.exit_code, 3) << result.err;
  const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", folder_ / "job"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("row line 2: "), HasSubstr("longer than 67108864 bytes"))) << status.out;
  const ProcessResult again = RunClean(REEMBED_BINARY, folder_.path(), RunArgs());
  EXPECT_EQ(again.exit_code, 3) << again.err;
}

TEST_F(ProcessLimitsTest, MaxTextRejectsLongerTextsAlone) {
  {
    std::ofstream notes(folder_ / "notes.jsonl");
    notes << "{\"id\":1,\"text\":\"12345\"}\n{\"id\":2,\"text\":\"123456\"}\n";
  }
  std::vector<std::string> args = RunArgs();
  args.insert(args.end(), {"--max-text", "5"});
  const ProcessResult result = RunClean(REEMBED_BINARY, folder_.path(), args);
  EXPECT_EQ(result.exit_code, 3) << result.err;
  const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", folder_ / "job"});
  EXPECT_THAT(status.out, HasSubstr("row 2: the text has 6 bytes, more than the limit of 5"));
  args.back() = "67108865";
  EXPECT_EQ(RunClean(REEMBED_BINARY, folder_.path(), args).exit_code, 2);
}

}  // namespace
}  // namespace reembed
