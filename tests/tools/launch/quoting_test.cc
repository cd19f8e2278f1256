// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/quoting.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/odd_words.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

// What a shell makes of the words, each with a NUL byte behind it.
std::string Echo(const std::string& shell, const std::string& line) {
  const ProcessResult result = RunProcess({shell, "-c", "printf '%s\\0' " + line});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

TEST(QuotingTest, AShellHasTheSameWords) {
  std::vector<std::string> words = OddWords();
  words.push_back("");
  std::string expected;
  for (const std::string& word : words) expected += word + std::string(1, '\0');
  for (const char* const shell : {"/bin/bash", "/bin/sh"}) EXPECT_EQ(Echo(shell, ShellLine(words)), expected) << shell;
}

TEST(QuotingTest, PlainWordsHaveNoQuotes) {
  EXPECT_EQ(ShellLine({"run", "--source=jsonl:/a/b.jsonl", "--where=a = 1"}),
            "run --source=jsonl:/a/b.jsonl '--where=a = 1'");
  EXPECT_EQ(ShellLine({"/usr/bin/reembed", "run", "--all"}), "/usr/bin/reembed run --all");
  EXPECT_EQ(ShellLine({"A=b"}), "'A=b'");
}

TEST(QuotingTest, ALineOfSlurmHasNoLineBreak) {
  EXPECT_EQ(SbatchQuoted("--name", "a \"b\" \\").value_or("error"), R"("a \"b\" \\")");
  EXPECT_THAT(SbatchQuoted("--name", "a\n#SBATCH --wrap=x"),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("--name")));
}

TEST(QuotingTest, StringsOfYamlAreInQuotes) {
  EXPECT_EQ(YamlQuoted("x", "no").value_or("error"), "\"no\"");
  EXPECT_EQ(YamlQuoted("x", "a\"\\\n\t\x7f").value_or("error"), "\"a\\\"\\\\\\n\\x09\\x7F\"");
  EXPECT_EQ(YamlQuoted("x", "\u00e4\u0085\u2028\ufeff").value_or("error"), "\"\u00e4\\x85\\u2028\\uFEFF\"");
  EXPECT_THAT(YamlQuoted("--where", "\xff"), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("--where")));
}

TEST(QuotingTest, DollarsOfContainersAreDoubled) { EXPECT_EQ(ContainerWord("$(A) $$ $"), "$$(A) $$$$ $$"); }

}  // namespace
}  // namespace reembed
