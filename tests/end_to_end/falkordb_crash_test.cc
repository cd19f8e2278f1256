// SPDX-License-Identifier: Apache-2.0
// What tests/falkordb_main.cc does when the server of a test crashes: this program, run by itself.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAttempts[] = "REEMBED_TEST_ATTEMPTS";  // a file with a byte for each attempt
constexpr char kCrashes[] = "REEMBED_TEST_CRASHES";    // in how many of them the server crashes
constexpr char kWrong[] = "REEMBED_TEST_WRONG";        // set: the test fails, whatever its server does

class FalkorCrashTest : public ::testing::Test {
 protected:
  // This very test as `environment` has it; appends to attempts().
  ProcessResult RunSelf(int crashes, bool wrong) {
    std::filesystem::remove(attempts_file());
    const auto* const self = testing::UnitTest::GetInstance()->current_test_info();
    return RunProcess(
        {std::filesystem::read_symlink("/proc/self/exe"),
         std::string("--gtest_filter=") + self->test_suite_name() + "." + self->name()},
        {{kAttempts, attempts_file()}, {kCrashes, std::to_string(crashes)}, {kWrong, wrong ? "yes" : ""}});
  }
  size_t attempts() const {
    std::ifstream file(attempts_file());
    return static_cast<size_t>(std::distance(std::istreambuf_iterator<char>(file), {}));
  }
  std::string attempts_file() const { return folder_ / "attempts"; }

 private:
  TempFolder folder_;
};

void OneAttempt(const std::string& file) {
  std::ofstream(file, std::ios::app) << '.';
  FalkorServer server;
  if (std::filesystem::file_size(file) <= std::strtoull(std::getenv(kCrashes), nullptr, 10)) server.Crash();
  EXPECT_EQ(std::getenv(kWrong), nullptr);
}

TEST_F(FalkorCrashTest, ATestIsDoneAgainWithoutIt) {
  if (const char* const file = std::getenv(kAttempts)) return OneAttempt(file);
  const ProcessResult once = RunSelf(1, false);
  EXPECT_EQ(once.exit_code, 0) << once.out << once.err;
  EXPECT_EQ(attempts(), 2u);
  EXPECT_THAT(once.out, HasSubstr("FalkorDB ended by itself, signal 11"));
  EXPECT_THAT(once.out, HasSubstr("attempt 1 of 3 does not count"));
  const ProcessResult always = RunSelf(9, false);
  EXPECT_EQ(always.exit_code, 1) << always.out;
  EXPECT_EQ(attempts(), 3u);
  // What is wrong without a crash is wrong.
  const ProcessResult wrong = RunSelf(0, true);
  EXPECT_EQ(wrong.exit_code, 1) << wrong.out;
  EXPECT_EQ(attempts(), 1u);
  EXPECT_THAT(wrong.out, Not(HasSubstr("does not count")));
  const ProcessResult wrong_again = RunSelf(1, true);
  EXPECT_EQ(wrong_again.exit_code, 1) << wrong_again.out;
  EXPECT_EQ(attempts(), 2u);
}

}  // namespace
}  // namespace reembed
