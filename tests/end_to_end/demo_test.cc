// SPDX-License-Identifier: Apache-2.0
// `reembed demo`: what a new user sees first.

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class DemoTest : public ::testing::Test {
 protected:
  ProcessResult Demo() { return RunClean(REEMBED_BINARY, folder_.path(), {"demo", demo_}); }

  TempFolder folder_;
  const std::string demo_ = folder_ / "my demo";
};

TEST_F(DemoTest, MakesASampleAndFindsWhatIsAskedForAndTheSecondTimeBuysNothing) {
  const ProcessResult first = Demo();
  ASSERT_EQ(first.exit_code, 0) << first.out << first.err;
  EXPECT_THAT(first.out, HasSubstr("embedded 1,830 rows"));
  EXPECT_THAT(first.out, ContainsRegex("\\$ reembed search [^\n]*tomato[^\n]*\n[^\n]*tomato plants"));
  const std::string database = ReadFile(demo_ + "/memory.db");

  const ProcessResult second = Demo();
  EXPECT_EQ(second.exit_code, 0) << second.out << second.err;
  EXPECT_THAT(second.out, HasSubstr("nothing to buy: all 1,830 rows have their vectors"));
  EXPECT_THAT(second.out, Not(HasSubstr("--make-sample")));
  EXPECT_EQ(ReadFile(demo_ + "/memory.db"), database);
}

TEST_F(DemoTest, TheCommandsItPrintsDoTheSame) {
  const ProcessResult demo = Demo();
  ASSERT_EQ(demo.exit_code, 0) << demo.err;
  const std::string other = folder_ / "an other";
  std::filesystem::create_directory(other);
  std::filesystem::create_directory(folder_ / "bin");
  std::filesystem::create_symlink(REEMBED_BINARY, folder_ / "bin/reembed");
  int commands = 0;
  for (absl::string_view line : absl::StrSplit(demo.out, '\n')) {
    if (!absl::ConsumePrefix(&line, "$ ")) continue;
    ++commands;
    const ProcessResult done =
        RunClean("/usr/bin/env", folder_.path(), {"/bin/sh", "-c", absl::StrReplaceAll(line, {{demo_, other}})},
                 {{"PATH", folder_ / "bin"}});
    EXPECT_THAT(done.exit_code, AnyOf(0, 3)) << line << done.err;
  }
  EXPECT_EQ(commands, 5);
  EXPECT_EQ(ReadFile(other + "/messages.faiss"), ReadFile(demo_ + "/messages.faiss"));
}

TEST_F(DemoTest, AFolderThatItDidNotMakeIsLeftAlone) {
  std::filesystem::create_directory(demo_);
  std::ofstream(demo_ + "/memory.db") << "somebody's";
  const ProcessResult refused = Demo();
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("/my demo: expected a folder that is not there yet"));
  EXPECT_EQ(ReadFile(demo_ + "/memory.db"), "somebody's");
}

TEST_F(DemoTest, GoesOnWhereItWasKilled) {
  ASSERT_EQ(Demo().exit_code, 0);
  // As a kill while the sample is made leaves it.
  std::filesystem::rename(demo_ + "/memory.db", demo_ + "/memory.db.partial");
  std::filesystem::remove_all(demo_ + "/job");
  std::filesystem::remove_all(folder_ / "state");
  for (const char* const name : {"messages.faiss", "messages.faiss.json", "messages.faiss.keys.jsonl"}) {
    std::filesystem::remove(demo_ + "/" + name);
  }
  const ProcessResult again = Demo();
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  EXPECT_THAT(again.out, HasSubstr("embedded 1,830 rows"));
}

}  // namespace
}  // namespace reembed
