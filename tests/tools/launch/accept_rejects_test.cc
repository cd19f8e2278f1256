// SPDX-License-Identifier: Apache-2.0
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

TEST(AcceptRejectsTest, RejectedRowsAreNoFailureForAScheduler) {
  TempFolder folder;
  std::ofstream(folder / "notes.jsonl") << R"({"key":1,"text":"good"})"
                                        << "\n"
                                        << R"({"key":2,"text":""})"
                                        << "\n";
  std::vector<std::string> run = BuiltinRun(folder.path());
  run.push_back("--json");
  const ProcessResult without = RunClean(REEMBED_BINARY, folder.path(), run);
  EXPECT_EQ(without.exit_code, 3) << without.err;
  EXPECT_EQ(LastNumber(without, "exit_code"), 3);
  run.push_back("--accept-rejects");
  const ProcessResult with = RunClean(REEMBED_BINARY, folder.path(), run);
  EXPECT_EQ(with.exit_code, 0) << with.err;
  EXPECT_EQ(LastNumber(with, "exit_code"), 0);
  EXPECT_EQ(LastNumber(with, "rows_rejected"), 1);
  // Another end is what it is.
  run.insert(run.end(), {"--model", "another-model"});
  EXPECT_EQ(RunClean(REEMBED_BINARY, folder.path(), run).exit_code, 2);
}

}  // namespace
}  // namespace reembed
