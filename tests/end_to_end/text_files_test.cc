// SPDX-License-Identifier: Apache-2.0
// Files with texts, through the command: what is wrong with a line, a file or its name, and what becomes of the others.

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TextFilesTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }

  std::string At(const std::string& name) const { return absl::StrCat("jsonl:", folder_ / name); }

  ProcessResult Run(const std::string& source, const std::string& target, std::vector<std::string> more = {},
                    const std::string& job = "job") {
    std::vector<std::string> args = {"run",          "--source", source,  "--target",   target,
                                     "--embedder",   "builtin",  "--yes", "--progress", "off",
                                     "--dimensions", "64",       "--job", folder_ / job};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

  // The keys in a target of lines, as they stand there.
  static std::vector<std::string> KeysIn(const std::string& lines) {
    std::vector<std::string> keys;
    for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
      const size_t begin = absl::string_view("{\"key\":").size();
      keys.emplace_back(line.substr(begin, line.find(",\"embedding\"") - begin));
    }
    return keys;
  }

  std::string FileText(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder_;
};

TEST_F(TextFilesTest, ABrokenLineIsRejectedAndTheOthersGoOn) {
  Write("rows.jsonl",
        "{\"id\":1,\"text\":\"one\"}\n{\"id\":2,\"text\":\"tw\n{\"id\":1.0,\"text\":\"x\"}\n{\"id\":4,\"text\":[1]}\n"
        "{\"id\":5,\"text\":\" \\u3000\\n\"}\n{\"id\":6,\"text\":\"six\"}\n");
  const ProcessResult strict = Run(At("rows.jsonl"), At("out.jsonl"), {"--strict"});
  EXPECT_EQ(strict.exit_code, 1) << strict.err;
  EXPECT_THAT(strict.err, HasSubstr("line 2 at byte 22"));

  const ProcessResult run = Run(At("rows.jsonl"), At("out.jsonl"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_THAT(KeysIn(FileText("out.jsonl")), ElementsAre("1", "6"));
  const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", folder_ / "job"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("line 2 at byte 22: expected a JSON object"),
                                HasSubstr("line 3 at byte 41: expected `id` to be a 64-bit integer or a string"),
                                HasSubstr("expected `text` to be a string, got a list"), HasSubstr("only white space")))
      << status.err;

  // Mended, the line is a new row for the same command.
  Write("rows.jsonl",
        "{\"id\":1,\"text\":\"one\"}\n{\"id\":2,\"text\":\"two\"}\n{\"id\":3,\"text\":\"x\"}\n{\"id\":4,\"text\":[1]}\n"
        "{\"id\":5,\"text\":\" \\u3000\\n\"}\n{\"id\":6,\"text\":\"six\"}\n");
  EXPECT_EQ(Run(At("rows.jsonl"), At("out.jsonl")).exit_code, 3);
  EXPECT_THAT(KeysIn(FileText("out.jsonl")), ::testing::UnorderedElementsAre("1", "2", "3", "6"));
}

TEST_F(TextFilesTest, WhatNoLineHasIsAWrongArgument) {
  Write("rows.jsonl", "{\"id\":1,\"meta\":{\"body\":\"one\"}}\n");
  const ProcessResult wrong = Run(At("rows.jsonl?text=meta.bdy"), At("out.jsonl"));
  EXPECT_EQ(wrong.exit_code, 2) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("did you mean `meta.body`?"));
  Write("array.json", "[{\"id\":1,\"text\":\"a\"}]");
  const ProcessResult array = Run(At("array.json"), At("out.jsonl"));
  EXPECT_EQ(array.exit_code, 2) << array.err;
  EXPECT_THAT(array.err, HasSubstr("JSON array"));
  const ProcessResult matrix = Run(At("rows.jsonl?text=meta.body"), "fbin:-");
  EXPECT_EQ(matrix.exit_code, 2) << matrix.err;
  EXPECT_THAT(matrix.err, HasSubstr("fbin:./-"));
  const ProcessResult strict = Run("sqlite:none.db?table=t&text=c&vector=v", At("out.jsonl"), {"--strict"});
  EXPECT_EQ(strict.exit_code, 2) << strict.err;
  EXPECT_THAT(strict.err, HasSubstr("--strict is for JSON lines"));
}

TEST_F(TextFilesTest, StandardInputAndOutputHaveASchemeToo) {
  Write("rows.jsonl", "{\"id\":1,\"body\":\"one\"}\n{\"id\":2,\"body\":\"two\"}\n");
  const ProcessResult out = Run(At("rows.jsonl?text=body"), "jsonl:-", {"--quiet"});
  EXPECT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(KeysIn(out.out), ElementsAre("1", "2"));
  EXPECT_THAT(FileText("-"), IsEmpty());
  const std::string command = absl::StrCat(
      "cd ", folder_.path(), " && ", REEMBED_BINARY,
      " run --source 'jsonl:-?text=body' --target jsonl:back.jsonl --embedder builtin --dimensions 64 --yes "
      "--quiet --job job2 < rows.jsonl");
  EXPECT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(FileText("back.jsonl"), out.out);
}

TEST_F(TextFilesTest, PackedLinesMakeTheSameVectors) {
  std::string lines;
  for (int i = 0; i < 3000; ++i) absl::StrAppend(&lines, "{\"id\":", i, ",\"text\":\"note number ", i, "\"}\n");
  Write("rows.jsonl", lines);
  ASSERT_EQ(Run(At("rows.jsonl"), At("plain.out"), {}, "plain").exit_code, 0);
  for (const std::string program : {"gzip", "zstd"}) {
    const std::string packed = absl::StrCat("rows.", program);
    ASSERT_EQ(std::system(absl::StrCat("cd ", folder_.path(), " && ", program, " -q -c rows.jsonl > ", packed).c_str()),
              0);
    const ProcessResult run = Run(At(packed), At(absl::StrCat(program, ".out")), {}, program);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(FileText(absl::StrCat(program, ".out")), FileText("plain.out"));
  }
}

}  // namespace
}  // namespace reembed
