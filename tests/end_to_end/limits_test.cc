// SPDX-License-Identifier: Apache-2.0
// What people bound a run by, and how they keep it from asking: --max-tokens, --max-duration, --no-input,
// --api-key-cmd,
// --no-env-file, --error-on-nothing, and the file of rejected rows.

#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class LimitsTest : public FaultTest {
 protected:
  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
};

TEST_F(LimitsTest, TokensAreNotUsedBeyondTheirNumberAndTheSameCommandGoesOn) {
  MakeNotes(60);
  std::atomic<int64_t> sold{0}, largest{0};
  Serve([&](int, const ServerRequest& request) {
    // As OpenAiAnswer() has it: three tokens a text.
    const int64_t tokens = 3 * static_cast<int64_t>(TextsOf(request.body).size());
    sold += tokens;
    for (int64_t before = largest; before < tokens && !largest.compare_exchange_weak(before, tokens);) {
    }
    return Sell(request);
  });
  constexpr int64_t kMost = 100;
  int runs = 0;
  ProcessResult run;
  do {
    const int64_t before = sold;
    run = Run({"--max-tokens", absl::StrCat(kMost)});
    ++runs;
    // Estimates lie above what this server charges, so nothing is used beyond.
    EXPECT_LE(sold - before, kMost) << run.err;
    if (run.exit_code == 0) break;
    EXPECT_EQ(run.exit_code, 7) << run.err;
    EXPECT_THAT(run.out, HasSubstr("\"exit_code\":7"));
    EXPECT_THAT(run.err, AllOf(HasSubstr("the cap of 100 tokens is reached"), HasSubstr("(--max-tokens)")));
    EXPECT_GT(sold, before) << "each run gets on";
  } while (runs < 20);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_GT(runs, 1);
  ExpectComplete();
  ExpectSoldAtMost(1);
}

TEST_F(LimitsTest, WhenTheTimeIsUpWhatIsInTheAirIsTakenAndTheRestIsLeft) {
  MakeNotes(40);
  // All but the first answers come when the command has said that it stops, which the test sees by its waiting.
  Serve([&](int number, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    if (number >= 2) {
      reply.slice_bytes = reply.body.size() / 4 + 1;
      reply.slice_pause = absl::Milliseconds(600);
    }
    return reply;
  });
  const ProcessResult run = Run({"--max-duration", "1.5", "--stop-wait", "30"});
  EXPECT_EQ(run.exit_code, 10) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"exit_code\":10"));
  EXPECT_THAT(run.err, HasSubstr("the time is up"));
  EXPECT_EQ(Summary(run, "texts_dropped"), "0");
  EXPECT_GE(ExpectNothingForeign(), 8) << "what was answered is kept";
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  EXPECT_EQ(Run().exit_code, 0);
  ExpectComplete();
  ExpectSoldAtMost(1);
}

TEST_F(LimitsTest, AHardLimitDropsWhatIsInTheAirAndSaysSo) {
  MakeNotes(40);
  Serve([&](int number, const ServerRequest& request) {
    ServerReply reply = Sell(request);
    if (number >= 2) reply.fault = ServerFault::kStall;
    return reply;
  });
  const ProcessResult run = Run({"--max-duration", "1s", "--cutoff", "hard", "--stop-wait", "600"});
  EXPECT_EQ(run.exit_code, 10) << run.err;
  EXPECT_EQ(Summary(run, "texts_dropped"), "8") << "two requests of four texts were in the air";
  server_->ReleaseStalled();
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  EXPECT_EQ(Run().exit_code, 0);
  ExpectComplete();
  ExpectSoldAtMost(2);
}

TEST_F(LimitsTest, ACautiousLimitLeavesTimeForWhatIsInTheAir) {
  MakeNotes(8);
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  // Less than what a stop may take: nothing begins.
  const ProcessResult run = Run({"--max-duration", "5m", "--cutoff", "cautious", "--stop-wait", "600"});
  EXPECT_EQ(run.exit_code, 10) << run.err;
  EXPECT_EQ(SoldTexts(), 0);
  EXPECT_EQ(Run({"--max-duration", "8h", "--cutoff", "cautious"}).exit_code, 0);
  ExpectComplete();
}

TEST_F(LimitsTest, ATimeThatIsNoneIsRefused) {
  MakeNotes(4);
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  for (const char* const wrong : {"0", "-5", "soon", "5 bananas", "nan"}) {
    const ProcessResult run = Run({"--max-duration", wrong});
    EXPECT_EQ(run.exit_code, 2) << wrong;
    EXPECT_THAT(run.err, HasSubstr("--max-duration"));
  }
  EXPECT_EQ(Run({"--max-duration", "1h", "--cutoff", "quick"}).exit_code, 2);
  EXPECT_EQ(SoldTexts(), 0);
}

TEST_F(LimitsTest, AKeyThatACommandPrintsIsUsedAndStaysSecret) {
  MakeNotes(4);
  std::atomic<int> with_key{0};
  Serve([&](int, const ServerRequest& request) {
    if (request.headers.at("authorization") == "Bearer sk-of-a-command-77") ++with_key;
    return Sell(request);
  });
  key_ = "";
  const std::string asked = folder_ / "asked";
  const std::string command = absl::StrCat("echo . >>", asked, "; echo sk-of-a-command-77; echo login: me");
  const ProcessResult run = Run({"--api-key-cmd", command});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_GT(with_key, 0);
  EXPECT_EQ(Content(asked), ".\n") << "it may ask somebody: once is enough";
  for (const auto& file : std::filesystem::recursive_directory_iterator(job())) {
    EXPECT_THAT(Content(file.path()), AllOf(Not(HasSubstr("sk-of-a-command")), Not(HasSubstr("echo ."))))
        << file.path();
  }
  EXPECT_THAT(run.out + run.err, Not(HasSubstr("sk-of-a-command")));
  ExpectComplete();
}

TEST_F(LimitsTest, ACommandThatGivesNoKeyEndsTheRunBeforeItBegins) {
  MakeNotes(4);
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  const ProcessResult failed = Run({"--api-key-cmd", "echo sk-half; exit 4"});
  EXPECT_EQ(failed.exit_code, 2) << failed.err;
  EXPECT_THAT(failed.err, AllOf(HasSubstr("--api-key-cmd"), HasSubstr("exit code 4"), Not(HasSubstr("sk-half"))));
  EXPECT_EQ(Run({"--api-key-cmd", "echo sk", "--api-key-file", "key"}).exit_code, 2);
  std::ofstream(folder_ / "asks.toml") << "api-key-cmd = \"touch " << folder_ / "touched"
                                       << "\"\n";
  const ProcessResult from_file =
      RunProcess({REEMBED_BINARY, "run", folder_ / "asks.toml"}, {{"HOME", folder_.path()}});
  EXPECT_EQ(from_file.exit_code, 2) << "a file that somebody sends runs no command";
  EXPECT_FALSE(std::filesystem::exists(folder_ / "touched"));
  EXPECT_EQ(SoldTexts(), 0);
}

TEST_F(LimitsTest, WithoutEnvFilesNoneIsRead) {
  MakeNotes(4);
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  const std::filesystem::path folder = folder_ / "here";
  std::filesystem::create_directory(folder);
  std::ofstream(folder / ".env") << "REEMBED_TEST_KEY=sk-of-a-file-12\n";
  const auto run = [&](const std::string& more) {
    return RunProcess(
        {"/bin/sh", "-c",
         absl::StrCat("cd ", folder.string(), " && exec ", REEMBED_BINARY, " run --source 'sqlite:", db(),
                      "?table=notes&key=id&text=body&vector=embedding' --model m --dimensions 8 --api-base ",
                      server_->url(), "/v1 --job ", job(), " --api-key-env REEMBED_TEST_KEY ", more)},
        {{"HOME", folder_.path()}});
  };
  const ProcessResult without = run("--no-env-file");
  EXPECT_EQ(without.exit_code, 6);
  EXPECT_THAT(without.err, HasSubstr("REEMBED_TEST_KEY"));
  EXPECT_EQ(SoldTexts(), 0);
  EXPECT_EQ(run("--no-env-file --env-file .env").exit_code, 2);
  const ProcessResult with = run("");
  EXPECT_EQ(with.exit_code, 0) << with.err;
  ExpectComplete();
}

TEST_F(LimitsTest, NothingToDoIsTellableByTheExitCode) {
  MakeNotes(4);
  Serve([&](int, const ServerRequest& request) { return Sell(request); });
  EXPECT_EQ(Run({"--error-on-nothing"}).exit_code, 0);
  const ProcessResult again = Run({"--error-on-nothing"});
  EXPECT_EQ(again.exit_code, 9) << again.err;
  EXPECT_THAT(again.out, HasSubstr("\"exit_code\":9"));
  EXPECT_EQ(Run().exit_code, 0) << "nobody asked";
  // A target that is added gets what is there.
  EXPECT_EQ(Run({"--error-on-nothing", "--target", "npy:" + (folder_ / "late.npy")}).exit_code, 0);
}

TEST_F(LimitsTest, RejectedRowsAreInAFileUntilTheyAreRejectedNoMore) {
  MakeNotes(6);
  bool refuses = true;
  Serve([&](int, const ServerRequest& request) {
    for (const std::string& text : TextsOf(request.body)) {
      if (refuses && (text == NoteText(2) || text == NoteText(5))) {
        return OpenAiError(400, "invalid_input", "invalid_request_error", "this input is not allowed: " + text);
      }
    }
    return Sell(request);
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 3) << run.err;
  const std::vector<std::string> lines = absl::StrSplit(Content(job() + "/rejects.jsonl"), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], AllOf(HasSubstr("\"message_type\":\"reject\""), HasSubstr("\"key\":2,"),
                              HasSubstr("\"code\":\"unusable text\"")));
  EXPECT_THAT(lines[1], HasSubstr("\"key\":5,"));
  EXPECT_THAT(lines[0] + lines[1], Not(HasSubstr(NoteText(2))));
  const ProcessResult status = RunProcess({REEMBED_BINARY, "status", job(), "--json"});
  EXPECT_THAT(status.out, AllOf(HasSubstr(lines[0] + "\n"), HasSubstr(lines[1] + "\n")));
  EXPECT_THAT(lines[0], HasSubstr("\"attempts\":1,"));
  const std::vector<std::string> retry = {REEMBED_BINARY, "retry-rejects", job(), "--yes"};
  EXPECT_EQ(RunProcess(retry, {{"OPENAI_API_KEY", kKey}}).exit_code, 3);
  EXPECT_EQ(Content(job() + "/rejects.jsonl"),
            absl::StrReplaceAll(lines[0] + "\n" + lines[1] + "\n", {{"\"attempts\":1,", "\"attempts\":2,"}}));
  refuses = false;
  const ProcessResult retried = RunProcess(retry, {{"OPENAI_API_KEY", kKey}});
  EXPECT_EQ(retried.exit_code, 0) << retried.err;
  EXPECT_FALSE(std::filesystem::exists(job() + "/rejects.jsonl"));
  ExpectComplete();
}

}  // namespace
}  // namespace reembed
