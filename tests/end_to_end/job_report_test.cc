// SPDX-License-Identifier: Apache-2.0
// What `reembed report` says of the indexes of a job.

#include <fstream>
#include <sstream>
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
using ::testing::Not;

class JobReportTest : public ::testing::Test {
 protected:
  ProcessResult Cli(std::vector<std::string> args) { return RunClean(REEMBED_BINARY, folder_.path(), std::move(args)); }

  void Run(const std::vector<std::string>& more) {
    std::ofstream notes(folder_ / "notes.jsonl");
    for (int i = 0; i < 200; ++i) notes << absl::StrCat(R"({"id":)", i, R"(,"text":"note )", i, R"("})") << "\n";
    notes.close();
    std::vector<std::string> args = BuiltinRun(folder_.path());
    args.insert(args.end(), more.begin(), more.end());
    const ProcessResult run = Cli(args);
    ASSERT_EQ(run.exit_code, 0) << run.err;
  }

  TempFolder folder_;
};

TEST_F(JobReportTest, HasATableOfIndexesWithTheirRecall) {
  const std::string index = folder_ / "out.faiss";
  Run({"--target", absl::StrCat("faiss:", index, "?factory=HNSW16")});
  EXPECT_THAT(Cli({"report", folder_ / "job"}).out,
              AllOf(HasSubstr("## Indexes"), HasSubstr("| HNSW16 | cosine | 200 |"),
                    HasSubstr(absl::StrCat("| not measured: reembed index eval ", index, " |"))));
  // Built again from the job, by what it has to find: that is measured.
  const ProcessResult build =
      Cli({"index", "build", folder_ / "job", "-o", index, "--recall", "0.9", "--memory", "1GiB"});
  ASSERT_EQ(build.exit_code, 0) << build.err;
  ASSERT_EQ(Cli({"report", folder_ / "job", "--to", folder_ / "page.html"}).exit_code, 0);
  std::ostringstream page;
  page << std::ifstream(folder_ / "page.html").rdbuf();
  EXPECT_THAT(page.str(),
              AllOf(HasSubstr("<h2>Indexes</h2>"), HasSubstr(">1.0000, of "), Not(HasSubstr("not measured"))));
}

TEST_F(JobReportTest, HasNoSuchTableWithoutAnIndex) {
  Run({});
  EXPECT_THAT(Cli({"report", folder_ / "job"}).out, AllOf(HasSubstr("## Targets"), Not(HasSubstr("Indexes"))));
}

}  // namespace
}  // namespace reembed
