// SPDX-License-Identifier: Apache-2.0
// A target that is a file has one writer at a time, and takes nothing that is not its own: two processes at one file,
// what the dead leave, planted links, two names of one file, sources without rows.

#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/text/lexical_embedder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;
constexpr int kRows = 20;

class TargetFilesTest : public ::testing::TestWithParam<std::string> {
 protected:
  TargetFilesTest() {
    std::ofstream file(folder_ / "rows.jsonl");
    for (int i = 0; i < kRows; ++i) file << R"({"id":)" << i << R"(,"text":"a note about boat )" << i << "\"}\n";
    std::ofstream(folder_ / "none.jsonl").close();
  }

  std::string path() const { return folder_ / ("out." + GetParam()); }
  std::string target() const { return absl::StrCat(GetParam(), ":", path()); }

  std::vector<std::string> Args(const std::string& job, std::vector<std::string> more) const {
    std::vector<std::string> args = {"run", "--json", "--job", folder_ / job};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  // With the built-in embedder.
  ProcessResult Run(const std::string& job, const std::vector<std::string>& targets,
                    const std::string& rows = "rows.jsonl") const {
    std::vector<std::string> args = Args(
        job, {"--source", "jsonl:" + (folder_ / rows), "--embedder", "builtin", "--dimensions", absl::StrCat(kDim)});
    for (const std::string& to : targets) args.insert(args.end(), {"--target", to});
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }
  ProcessResult Run(const std::string& job, const std::string& rows = "rows.jsonl") const {
    return Run(job, std::vector<std::string>{target()}, rows);
  }
  // With an API, one text at a time.
  std::vector<std::string> ApiCommand(const std::string& job, const std::string& api) const {
    std::vector<std::string> args = Args(
        job, {"--source", "jsonl:" + (folder_ / "rows.jsonl"), "--target", target(), "--api-base", api + "/v1",
              "--model", "any-model", "--dimensions", absl::StrCat(kDim), "--batch-size", "1", "--concurrency", "1"});
    args.insert(args.begin(), REEMBED_BINARY);
    return args;
  }
  static std::map<std::string, std::string> Clean(const std::string& folder) {
    return {{"HOME", folder}, {"XDG_STATE_HOME", folder + "/state"}, {"OPENAI_API_KEY", "k"}, {"OPENAI_BASE_URL", ""}};
  }
  ProcessResult Verify(const std::string& job) const {
    return RunClean(REEMBED_BINARY, folder_.path(), {"verify", folder_ / job});
  }

  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }
  // Of files that go with the target or became it, but for the target.
  std::vector<std::string> Beside() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename().string();
      if (absl::StrContains(name, ".partial") || absl::StrContains(name, ".previous")) names.push_back(name);
    }
    return names;
  }

  TempFolder folder_;
};

// A model that answers all but the last row, of which it never says anything.
ServerReply AllButTheLast(const ServerRequest& request) {
  ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
  if (absl::StrContains(request.body, absl::StrCat("boat ", kRows - 1, "\""))) reply.fault = ServerFault::kStall;
  return reply;
}

TEST_P(TargetFilesTest, OfTwoProcessesOneIsRefusedAndTheOtherWinsWhole) {
  ScriptedServer server(AllButTheLast);
  Process first(ApiCommand("first", server.url()), Clean(folder_.path()));
  server.WaitForStalled(1);
  const ProcessResult second = Run("second");
  EXPECT_EQ(second.exit_code, 11) << second.err;
  EXPECT_THAT(second.err, AllOf(HasSubstr(path() + ": is being written by process "), HasSubstr(" on host "),
                                HasSubstr("started "), HasSubstr(folder_ / "first")));
  EXPECT_FALSE(fs::exists(folder_ / "second"));
  server.ReleaseStalled();
  const ProcessResult done = first.Wait();
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(Beside(), testing::IsEmpty());
  const ProcessResult verify = Verify("first");
  EXPECT_EQ(verify.exit_code, 0) << verify.out;
  EXPECT_EQ(Run("second").exit_code, 2);
}

// Many at once, none of which knows of the others: what is there in the end is whole, and one's own.
TEST_P(TargetFilesTest, OfManyProcessesOneWins) {
  constexpr int kProcesses = 6;
  std::vector<std::unique_ptr<Process>> processes;
  for (int i = 0; i < kProcesses; ++i) {
    std::vector<std::string> args =
        Args(absl::StrCat("job", i), {"--source", "jsonl:" + (folder_ / "rows.jsonl"), "--embedder", "builtin",
                                      "--dimensions", absl::StrCat(kDim + i), "--target", target()});
    args.insert(args.begin(), REEMBED_BINARY);
    processes.push_back(std::make_unique<Process>(args, Clean(folder_.path())));
  }
  int winner = -1;
  for (int i = 0; i < kProcesses; ++i) {
    const ProcessResult result = processes[i]->Wait();
    if (result.exit_code == 0) {
      EXPECT_EQ(winner, -1) << "two have won";
      winner = i;
    } else {
      EXPECT_THAT(result.exit_code, testing::AnyOf(2, 11)) << result.err;
    }
  }
  ASSERT_GE(winner, 0);
  EXPECT_THAT(Beside(), testing::IsEmpty());
  const ProcessResult verify = Verify(absl::StrCat("job", winner));
  EXPECT_EQ(verify.exit_code, 0) << verify.out;
}

// A dead owner holds no lock; what it has left is its own, and it goes on there.
TEST_P(TargetFilesTest, TheDeadBlockNobodyAndKeepTheirUnfinishedFiles) {
  ScriptedServer server(AllButTheLast);
  {
    Process first(ApiCommand("first", server.url()), Clean(folder_.path()));
    server.WaitForStalled(1);
    first.Signal(SIGKILL);
    first.Wait();
  }
  const std::vector<std::string> left = Beside();
  const ProcessResult second = Run("second");
  EXPECT_EQ(second.exit_code, 2) << second.err;
  EXPECT_THAT(second.err, AllOf(HasSubstr(path() + ".partial exists already"), HasSubstr(folder_ / "first")));
  EXPECT_THAT(Beside(), testing::UnorderedElementsAreArray(left));
  // What the first has left is out of the way: the second has the place, and the first keeps off.
  for (const std::string& name : left) {
    if (!absl::EndsWith(name, ".lock")) fs::rename(folder_ / name, folder_ / ("moved-" + name));
  }
  const ProcessResult again = Run("second");
  EXPECT_EQ(again.exit_code, 0) << again.err;
  const std::string whole = Bytes(path());
  server.ReleaseStalled();
  const ProcessResult late = RunProcess(ApiCommand("first", server.url()), Clean(folder_.path()));
  EXPECT_EQ(late.exit_code, 2) << late.err;
  EXPECT_EQ(Bytes(path()), whole);
  EXPECT_EQ(Verify("second").exit_code, 0);
}

TEST_P(TargetFilesTest, TheSameJobGoesOnAfterAKill) {
  ScriptedServer server(AllButTheLast);
  {
    Process first(ApiCommand("first", server.url()), Clean(folder_.path()));
    server.WaitForStalled(1);
    first.Signal(SIGKILL);
    first.Wait();
  }
  server.ReleaseStalled();
  const ProcessResult again = RunProcess(ApiCommand("first", server.url()), Clean(folder_.path()));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(Beside(), testing::IsEmpty());
  EXPECT_EQ(Verify("first").exit_code, 0);
}

// Two jobs were killed one after the other; the second's unfinished file, which has the width and the rows that the
// first expects of its own, is not taken for that.
TEST_P(TargetFilesTest, WhatAnotherJobHasBegunIsNotGoneOnWith) {
  ScriptedServer server(AllButTheLast);
  const auto begin_and_kill = [&](const std::string& job, int stalled) {
    Process process(ApiCommand(job, server.url()), Clean(folder_.path()));
    server.WaitForStalled(stalled);
    process.Signal(SIGKILL);
    process.Wait();
  };
  begin_and_kill("first", 1);
  for (const std::string& name : Beside()) fs::remove(folder_ / name);
  begin_and_kill("second", 2);
  std::map<std::string, std::string> before;
  for (const std::string& name : Beside()) {
    if (!absl::EndsWith(name, ".lock")) before[name] = Bytes(folder_ / name);
  }
  server.ReleaseStalled();
  const ProcessResult first = RunProcess(ApiCommand("first", server.url()), Clean(folder_.path()));
  EXPECT_EQ(first.exit_code, 2) << first.err;
  EXPECT_THAT(first.err, HasSubstr(folder_ / "second"));
  for (const auto& [name, bytes] : before) EXPECT_EQ(Bytes(folder_ / name), bytes) << name;
  const ProcessResult second = RunProcess(ApiCommand("second", server.url()), Clean(folder_.path()));
  EXPECT_EQ(second.exit_code, 0) << second.err;
}

// Links that somebody has planted at the names which a run makes files under.
TEST_P(TargetFilesTest, PlantedLinksAreNotFollowed) {
  std::vector<std::string> names = {".partial"};
  if (GetParam() == "faiss") names.insert(names.end(), {".partial.json", ".partial.keys.jsonl"});
  if (GetParam() == "npy" || GetParam() == "fbin") names.push_back(".keys.jsonl.partial");
  if (GetParam() != "faiss") names.push_back(".partial.copy");
  names.push_back(".partial.lock");
  const std::string victim = folder_ / "victim";
  std::ofstream(victim) << "precious";
  for (const std::string& name : names) {
    for (const bool hard : {false, true}) {
      SCOPED_TRACE(absl::StrCat(name, hard ? " hard" : " symbolic"));
      hard ? fs::create_hard_link(victim, path() + name) : fs::create_symlink(victim, path() + name);
      const ProcessResult run = Run("job");
      EXPECT_EQ(run.exit_code, 2) << run.err;
      EXPECT_THAT(run.err, HasSubstr(path() + name));
      EXPECT_EQ(Bytes(victim), "precious");
      fs::remove(path() + name);
    }
  }
  // Where the job has been before, too: it goes on with a copy of what it has finished.
  ASSERT_EQ(Run("job").exit_code, 0);
  std::ofstream(folder_ / "rows.jsonl", std::ios::app) << R"({"id":900,"text":"one more"})"
                                                       << "\n";
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    fs::create_symlink(victim, path() + name);
    const ProcessResult run = Run("job");
    EXPECT_EQ(run.exit_code, 2) << run.err;
    EXPECT_EQ(Bytes(victim), "precious");
    fs::remove(path() + name);
  }
  EXPECT_EQ(Run("job").exit_code, 0);
  EXPECT_EQ(Verify("job").exit_code, 0);
}

// A name that is taken for something else stays with it.
TEST_P(TargetFilesTest, APreviousFileThatIsNotOursStays) {
  ASSERT_EQ(Run("job").exit_code, 0);
  std::ofstream(path() + ".previous") << "mine";
  // The job begins again: its ledger forgets how far the target was.
  const std::string name = GetParam() == "faiss" ? target() + "?factory=HNSW16" : target();
  if (GetParam() != "faiss") {
    std::ofstream(folder_ / "job/targets", std::ios::trunc).close();
    fs::remove(folder_ / "job/targets");
    fs::rename(path(), folder_ / "away");
    std::ofstream(path()) << "somebody's";
  }
  const ProcessResult run = Run("job", std::vector<std::string>{name});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Bytes(path() + ".previous"), "mine");
  EXPECT_TRUE(fs::exists(path() + ".previous.2"));
  if (GetParam() != "faiss") {
    EXPECT_EQ(Bytes(path() + ".previous.2"), "somebody's");
  }
}

// Complete and empty, and of the width that rows would have; rows that come later are added.
TEST_P(TargetFilesTest, ASourceWithoutRowsMakesAnEmptyTargetThatCanGrow) {
  for (int i = 0; i < 2; ++i) {
    const ProcessResult run = Run("job", "none.jsonl");
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_THAT(run.out, HasSubstr(R"("state":"complete")"));
    ASSERT_TRUE(fs::exists(path()));
    EXPECT_THAT(Beside(), testing::IsEmpty());
  }
  if (GetParam() == "npy") {
    EXPECT_THAT(Bytes(path()), HasSubstr("'shape': (0, 32)"));
  }
  if (GetParam() == "fbin") {
    EXPECT_EQ(Bytes(path()), std::string("\0\0\0\0\x20\0\0\0", 8));
  }
  if (GetParam() == "jsonl") {
    EXPECT_EQ(Bytes(path()), "");
  }
  if (GetParam() == "faiss") {
    EXPECT_THAT(Bytes(path() + ".json"), HasSubstr("\"rows\": 0,"));
  }
  const ProcessResult verify = Verify("job");
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  fs::copy_file(folder_ / "rows.jsonl", folder_ / "none.jsonl", fs::copy_options::overwrite_existing);
  const ProcessResult grown = Run("job", "none.jsonl");
  EXPECT_EQ(grown.exit_code, 0) << grown.err;
  EXPECT_THAT(Beside(), testing::IsEmpty());
  const ProcessResult full = Verify("job");
  EXPECT_EQ(full.exit_code, 0) << full.out;
  EXPECT_THAT(full.out, HasSubstr(absl::StrCat(kRows, " vectors compared")));
}

INSTANTIATE_TEST_SUITE_P(Kinds, TargetFilesTest, testing::Values("npy", "fbin", "jsonl", "hdf5", "faiss"),
                         [](const auto& info) { return info.param; });

// Two targets of one job are two files, however they are written.
TEST(TargetsApartTest, TwoNamesOfOneFileAreRefusedBeforeAnythingIsMade) {
  const TempFolder folder;
  fs::create_directories(folder / "sub");
  fs::create_directory_symlink(folder / "sub", folder / "link");
  std::ofstream(folder / "rows.jsonl") << R"({"id":1,"text":"a note"})"
                                       << "\n";
  for (const auto& [a, b] :
       {std::pair("npy:sub/x", "fbin:sub/x"), std::pair("npy:sub/x", "jsonl:./sub/../sub/x"),
        std::pair("npy:sub/x", "hdf5:link/x"), std::pair("faiss:sub/x", "npy:sub//x"),
        std::pair("faiss:sub/x", "faiss:sub/x?factory=Flat"), std::pair("npy:sub/x", "jsonl:sub/x.keys.jsonl"),
        std::pair("npy:sub/x.partial", "fbin:sub/x"), std::pair("faiss:sub/x", "jsonl:sub/x.json"),
        std::pair("jsonl:sub/x.partial.lock", "fbin:sub/x")}) {
    for (const char* const verb : {"run", "plan"}) {
      const ProcessResult run =
          RunClean("/usr/bin/env", folder.path(),
                   {"-C", folder.path(), REEMBED_BINARY, verb, "--source", "jsonl:rows.jsonl", "--embedder", "builtin",
                    "--job", folder / "job", "--target", a, "--target", b});
      EXPECT_EQ(run.exit_code, 2) << a << " " << b << run.err;
      EXPECT_THAT(run.err, HasSubstr("would both write")) << a << " " << b;
      EXPECT_FALSE(fs::exists(folder / "job"));
      EXPECT_TRUE(fs::is_empty(folder / "sub"));
    }
  }
}

}  // namespace
}  // namespace reembed
