// SPDX-License-Identifier: Apache-2.0
// The script in a real bash, with commands of Slurm that write down how they are called; tests/end_to_end/slurm_test.cc
// has Slurm itself.
#include "tools/launch/slurm_script.h"

#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/odd_words.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SlurmScriptTest : public ::testing::Test {
 protected:
  SlurmScriptTest() {
    std::filesystem::create_directory(folder_ / "notes");
    std::filesystem::create_directory(folder_ / "bin");
    for (const char* const name : {"scontrol", "scancel"}) {
      Program(absl::StrCat("bin/", name), absl::StrCat("echo ", name, " \"$@\" >>", folder_ / "asked"));
    }
    parts_ = {.name = "notes",
              .comment = "reembed /job",
              .folder = folder_.path(),
              .logs = "/job/launch/log",
              .notes = folder_ / "notes",
              .shards = 32,
              .at_once = 8,
              .retries = 2};
  }

  std::string Program(const std::string& name, const std::string& line) {
    const std::string path = folder_ / name;
    std::ofstream(path) << "#!/bin/bash\n" << line << "\n";
    chmod(path.c_str(), 0755);
    return path;
  }
  std::vector<std::string> Bash(const std::string& script) {
    std::ofstream(folder_ / "script") << script;
    return {"/bin/bash", folder_ / "script"};
  }
  std::map<std::string, std::string> Environment() const {
    return {{"PATH", (folder_ / "bin") + ":/usr/bin:/bin"},
            {"SLURM_ARRAY_JOB_ID", "77"},
            {"SLURM_ARRAY_TASK_ID", "3"},
            {"SLURM_JOB_ID", "77"}};
  }
  // Runs task 3, whose command ends with `code`.
  ProcessResult EndWith(int code) {
    parts_.command = {Program("command", absl::StrCat("exit ", code))};
    const absl::StatusOr<std::string> script = SlurmScript(parts_);
    EXPECT_THAT(script, IsOk());
    return RunProcess(Bash(*script), Environment());
  }
  // What Slurm was asked since the last time.
  std::string Asked() {
    const std::string asked = ReadFile(folder_ / "asked");
    std::filesystem::remove(folder_ / "asked");
    return asked;
  }
  std::string Note() const { return ReadFile(folder_ / "notes/0003"); }

  TempFolder folder_;
  SlurmScriptParts parts_;
};

constexpr char kRequeue[] = "scontrol requeue 77_3\n";

TEST_F(SlurmScriptTest, ADoneShardIsDone) {
  EXPECT_EQ(EndWith(0).exit_code, 0);
  EXPECT_EQ(Asked(), "");
  EXPECT_EQ(Note(), "0 0\n");
}

TEST_F(SlurmScriptTest, AFailureForAWhileIsQueuedAgainSoManyTimes) {
  for (const int code : {5, 11, 137}) {
    for (int times = 1; times <= 2; ++times) {
      EXPECT_EQ(EndWith(code).exit_code, code);
      EXPECT_EQ(Asked(), kRequeue);
      EXPECT_EQ(Note(), absl::StrCat(code, " ", times, "\n"));
    }
    EXPECT_EQ(EndWith(code).exit_code, code);
    EXPECT_EQ(Asked(), "");
    EXPECT_EQ(Note(), absl::StrCat(code, " 0\n"));  // who launches it anew has all the tries again
  }
}

TEST_F(SlurmScriptTest, TimeThatIsUpIsNoFailure) {
  EndWith(5);
  Asked();
  for (int times = 0; times < 4; ++times) {
    EXPECT_EQ(EndWith(10).exit_code, 10);
    EXPECT_EQ(Asked(), kRequeue);
    EXPECT_EQ(Note(), "10 0\n");
  }
}

TEST_F(SlurmScriptTest, WhatIsWrongForAllTakesTheOthersOutOfTheQueue) {
  for (const int code : {2, 6, 7}) {
    EXPECT_EQ(EndWith(code).exit_code, code);
    EXPECT_EQ(Asked(), "scancel --state=PENDING 77\n");
  }
}

TEST_F(SlurmScriptTest, WhatWouldBeTheSameAgainEnds) {
  for (const int code : {3, 4, 8, 9}) {
    EXPECT_EQ(EndWith(code).exit_code, code);
    EXPECT_EQ(Asked(), "");
    EXPECT_EQ(Note(), absl::StrCat(code, " 0\n"));
  }
}

TEST_F(SlurmScriptTest, WhoWasStoppedIsLeftToTheScheduler) {
  EndWith(5);
  Asked();
  for (const int code : {129, 130, 143}) {
    EXPECT_EQ(EndWith(code).exit_code, code);
    EXPECT_EQ(Asked(), "");
    EXPECT_EQ(Note(), absl::StrCat(code, " 1\n"));
  }
}

TEST_F(SlurmScriptTest, ANoteThatIsBrokenIsNone) {
  std::ofstream(folder_ / "notes/0003") << "5 $(touch bad)";
  EndWith(5);
  EXPECT_EQ(Note(), "5 1\n");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "bad"));
}

TEST_F(SlurmScriptTest, TheShellWaitsForACommandThatIsTold) {
  // The command ends some time after TERM, as a run does that has texts in the air: here when `go` says so.
  ASSERT_EQ(mkfifo((folder_ / "hold").c_str(), 0600), 0);
  ASSERT_EQ(mkfifo((folder_ / "go").c_str(), 0600), 0);
  parts_.command = {
      Program("command",
              "exec 3<>hold; trap 'read -r _ <go; echo ended; exit 143' TERM; echo ready $$; read -r _ <&3; exit 1")};
  const absl::StatusOr<std::string> script = SlurmScript(parts_);
  ASSERT_THAT(script, IsOk());
  Process process(Bash(*script), Environment());
  ASSERT_TRUE(process.WaitFor("ready "));
  const std::string said = process.out();
  const pid_t command = static_cast<pid_t>(std::stol(said.substr(said.find("ready ") + 6)));
  // Slurm tells both.
  process.Signal(SIGTERM);
  kill(command, SIGTERM);
  std::ofstream(folder_ / "go") << "go\n";
  const ProcessResult result = process.Wait();
  EXPECT_EQ(result.exit_code, 143) << result.err;
  EXPECT_THAT(result.out, HasSubstr("ended"));
  EXPECT_EQ(Note(), "143 0\n");
}

TEST_F(SlurmScriptTest, TheCommandHasTheWordsThatWereGiven) {
  const std::vector<std::string> words = OddWords();
  parts_.command = {Program("command", "printf '%s\\0' \"$@\"")};
  std::string expected;
  for (const std::string& word : words) {
    parts_.command.push_back("--where=" + word);
    expected += "--where=" + word + std::string(1, '\0');
  }
  const absl::StatusOr<std::string> script = SlurmScript(parts_);
  ASSERT_THAT(script, IsOk());
  EXPECT_EQ(RunProcess(Bash(*script), Environment()).out, expected);
}

TEST_F(SlurmScriptTest, SaysWhatItWasTold) {
  parts_.command = {"reembed"};
  parts_.time = absl::Hours(8);
  parts_.partition = "long";
  parts_.cpus = 2;
  parts_.memory_bytes = (int64_t{1} << 30) + 1;
  parts_.sbatch = {"--constraint=ib"};
  parts_.setup = {"module load reembed"};
  const absl::StatusOr<std::string> script = SlurmScript(parts_);
  ASSERT_THAT(script, IsOk());
  for (const char* const line :
       {"#SBATCH --array=0-31%8\n", "#SBATCH --time=0-08:00:00\n", "#SBATCH --partition=\"long\"\n",
        "#SBATCH --cpus-per-task=2\n", "#SBATCH --mem=1025M\n", "#SBATCH \"--constraint=ib\"\n",
        "#SBATCH --output=\"/job/launch/log/shard-%4a.log\"\n", "#SBATCH --requeue\n",
        "\nmodule load reembed\nreembed\n"}) {
    EXPECT_THAT(*script, HasSubstr(line));
  }
  EXPECT_THAT(*script, Not(HasSubstr("--account")));
  // Directives end at the first line of shell.
  EXPECT_LT(script->rfind("#SBATCH"), script->find("cd -- "));
}

TEST_F(SlurmScriptTest, ABackslashInTheFolderOfLogsIsRefused) {
  parts_.command = {"reembed"};
  parts_.logs = "/a\\b/log";
  EXPECT_THAT(SlurmScript(parts_), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("backslash")));
}

TEST_F(SlurmScriptTest, ALineBreakInANameIsRefused) {
  parts_.command = {"reembed"};
  parts_.name = "a\n#SBATCH --uid=0";
  EXPECT_THAT(SlurmScript(parts_), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("--job-name")));
}

TEST(SlurmTimeTest, IsReadAsSlurmDoes) {
  for (const auto& [text, shown] : std::vector<std::pair<std::string, std::string>>{{"90", "0-01:30:00"},
                                                                                    {"90:30", "0-01:30:30"},
                                                                                    {"8:00:00", "0-08:00:00"},
                                                                                    {"2-0", "2-00:00:00"},
                                                                                    {"1-12:30", "1-12:30:00"},
                                                                                    {"1-2:3:4", "1-02:03:04"},
                                                                                    {"8h", "0-08:00:00"},
                                                                                    {"90m", "0-01:30:00"},
                                                                                    {"1.5s", "0-00:00:02"}}) {
    const absl::StatusOr<absl::Duration> time = ParseSlurmTime(text);
    ASSERT_THAT(time, IsOk()) << text;
    EXPECT_EQ(FormatSlurmTime(*time), shown) << text;
  }
  for (const char* const text : {"", "0", "-1", "1:2:3:4", "a", "1-", "1d", "8 h", "nan", "1:-2", "infinite"}) {
    EXPECT_THAT(ParseSlurmTime(text), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("--time"))) << text;
  }
}

}  // namespace
}  // namespace reembed
