// SPDX-License-Identifier: Apache-2.0
// The examples of README.md, as they stand there: run twice, and once more from another folder.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// The commands of the block below "Five examples", each on one line.
std::vector<std::string> Examples() {
  const std::string page = absl::StrReplaceAll(ReadFile(REEMBED_SOURCE_DIR "/README.md"), {{"\\\n", " "}});
  const size_t begin = page.find("```sh\n", page.find("## Five examples")) + 6;
  std::vector<std::string> commands;
  for (const absl::string_view line : absl::StrSplit(page.substr(begin, page.find("\n```", begin) - begin), '\n')) {
    if (absl::StartsWith(line, "build/release/reembed ")) commands.emplace_back(line);
  }
  return commands;
}

class ReadmeTest : public ::testing::Test {
 protected:
  ReadmeTest() {
    std::filesystem::create_directories(here_);
    std::filesystem::create_directories(elsewhere_);
    std::filesystem::create_directories(folder_ / ".agentloop");
  }

  void MakeFiles() {
    ASSERT_EQ(RunClean(REEMBED_BINARY, folder_.path(),
                       {"systems", "agentloop", "--make-sample", folder_ / ".agentloop/memory.db", "--rows", "60"})
                  .exit_code,
              0);
    std::ofstream(here_ + "/notes.db").close();
    Change(
        here_ + "/notes.db",
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO notes VALUES (1, 'a boat'), (2, 'a trip')");
    std::ofstream(here_ + "/rows.jsonl") << R"({"id":1,"text":"a boat"}
{"id":2,"text":"a trip to Lisbon"}
)";
  }

  // A model of the width that the example asks for, or of OpenAI's.
  void Serve(const std::string& example) {
    const size_t at = example.find("--dimensions ");
    auto server = EmbeddingServer::Start({.dim = at == std::string::npos ? 1536 : std::atoi(&example[at + 13])});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  ProcessResult Command(const std::string& folder, std::string command) {
    command = absl::StrReplaceAll(
        command, {{"build/release/reembed", REEMBED_BINARY}, {"http://127.0.0.1:8080/v1", server_->base_url()}});
    return RunClean("/usr/bin/env", folder_.path(), {"-C", folder, "/bin/sh", "-c", command},
                    {{"OPENAI_API_KEY", "any"}, {"OPENAI_BASE_URL", server_->base_url()}});
  }

  TempFolder folder_;
  const std::string here_ = folder_ / "here", elsewhere_ = folder_ / "else/where";
  std::unique_ptr<EmbeddingServer> server_;
};

TEST_F(ReadmeTest, EveryExampleRunsAgainAndFromAnotherFolder) {
  MakeFiles();
  const std::vector<std::string> examples = Examples();
  ASSERT_EQ(examples.size(), 5u);
  int runs = 0;
  for (const std::string& example : examples) {
    SCOPED_TRACE(example);
    Serve(example);
    const bool is_run = absl::StrContains(example, "reembed run ");
    const ProcessResult first = Command(here_, example);
    ASSERT_THAT(first.exit_code, AnyOf(0, 3)) << first.out << first.err;
    const ProcessResult again = Command(here_, example);
    EXPECT_EQ(again.exit_code, first.exit_code) << again.out << again.err;
    // Files that are named without a folder are in the folder of before.
    const std::string from_elsewhere = std::regex_replace(
        example, std::regex("([: ])([a-z]+[.](?:db|jsonl|h5|npy|fbin|faiss))\\b"), "$1../../here/$2");
    const ProcessResult third = Command(elsewhere_, from_elsewhere);
    EXPECT_EQ(third.exit_code, first.exit_code) << from_elsewhere << "\n" << third.out << third.err;
    if (!is_run) continue;
    ++runs;
    EXPECT_THAT(first.out, HasSubstr("embedded "));
    EXPECT_THAT(again.out, HasSubstr("nothing to buy"));
    EXPECT_THAT(third.out, HasSubstr("nothing to buy"));
  }
  EXPECT_EQ(runs, 3);
  EXPECT_TRUE(std::filesystem::is_empty(elsewhere_));
  // A job for each, and in it each target once.
  const std::string jobs = folder_ / "state/reembed/jobs";
  int targets = 0, described = 0;
  for (const auto& job : std::filesystem::directory_iterator(jobs)) {
    ++described;
    const ProcessResult status = RunClean(REEMBED_BINARY, folder_.path(), {"status", job.path().string(), "--json"});
    for (size_t at = 0; (at = status.out.find("\"message_type\":\"target\"", at)) != std::string::npos; ++at) ++targets;
    EXPECT_EQ(RunClean(REEMBED_BINARY, folder_.path(), {"verify", job.path().string()}).exit_code, 0);
  }
  EXPECT_EQ(described, runs);
  EXPECT_EQ(targets, 2 + 1 + 3);
}

}  // namespace
}  // namespace reembed
