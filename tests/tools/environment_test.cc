// SPDX-License-Identifier: Apache-2.0
#include "tools/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tools/options.h"
#include "tools/resolve.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// HOME and XDG_STATE_HOME as a test wants them, and afterwards as they were.
class HomeTest : public ::testing::Test {
 protected:
  void SetUp() override { unsetenv("XDG_STATE_HOME"); }
  ~HomeTest() override {
    setenv("HOME", home_.c_str(), 1);
    if (!state_.empty()) setenv("XDG_STATE_HOME", state_.c_str(), 1);
  }
  static void SetHome(const std::string& home) {
    if (home.empty()) unsetenv("HOME");
    if (!home.empty()) setenv("HOME", home.c_str(), 1);
  }
  static std::string Or(const char* value) { return value == nullptr ? "" : value; }

  const std::string home_ = Or(std::getenv("HOME")), state_ = Or(std::getenv("XDG_STATE_HOME"));
  TempFolder folder_;
};

TEST_F(HomeTest, TheVariableThenTheAccountThenNothing) {
  const TempFolder other;
  SetHome(folder_.path());
  EXPECT_EQ(Environment(other.path()).Home(), folder_.path());
  for (const std::string& unusable : {std::string(), std::string("relative"), folder_ / "gone"}) {
    SetHome(unusable);
    EXPECT_EQ(Environment(other.path()).Home(), other.path()) << unusable;
    EXPECT_EQ(ExpandHome("~/x", Environment(other.path())), other / "x");
    EXPECT_EQ(JobsFolder(Environment(other.path())), other / ".local/state/reembed/jobs");
    EXPECT_EQ(Environment(folder_ / "gone").Home(), "");
    EXPECT_EQ(ExpandHome("~/x", Environment("")), "~/x") << "never below the root";
  }
}

TEST_F(HomeTest, TheAccountIsTheOneOfThisProcess) {
  const passwd* const entry = getpwuid(geteuid());
  EXPECT_EQ(AccountHome(), entry == nullptr ? "" : entry->pw_dir);
}

TEST_F(HomeTest, WithoutAHomeTheJobsPlaceIsAskedFor) {
  SetHome("");
  const Environment nobody("");
  EXPECT_EQ(JobsFolder(nobody), "");
  EXPECT_THAT(CheckJobsFolder(nobody),
              HasError(absl::StatusCode::kNotFound, AllOf(HasSubstr("HOME is not set"), HasSubstr("--job DIR"))));
  SetHome(folder_ / "gone");
  EXPECT_THAT(CheckJobsFolder(nobody), HasError(absl::StatusCode::kNotFound, HasSubstr("gone) is no folder")));
  CommandOptions options;
  options.source = absl::StrCat("jsonl:", folder_ / "rows.jsonl");
  options.targets = {absl::StrCat("npy:", folder_ / "out.npy")};
  options.embedder = "builtin";
  const auto unnamed = Resolve(options, nobody);
  ASSERT_THAT(unnamed, IsOk());
  EXPECT_EQ(unnamed->directory, "");
  options.job = folder_ / "job";
  EXPECT_EQ(Resolve(options, nobody)->directory, folder_ / "job");
  setenv("XDG_STATE_HOME", folder_.path().c_str(), 1);
  EXPECT_THAT(CheckJobsFolder(nobody), IsOk());
}

}  // namespace
}  // namespace reembed
