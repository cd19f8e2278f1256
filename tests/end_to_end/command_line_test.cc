// SPDX-License-Identifier: Apache-2.0
// What the command answers to words that it does not know, and what it shows: one line that names the nearest, lines
// that are JSON where JSON was asked for, and a progress that fits its window.

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "simdjson.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"
#include "tools/registry.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> LinesOf(const std::string& text) { return absl::StrSplit(text, '\n', absl::SkipEmpty()); }

MATCHER(IsJson, "is a JSON object with a message_type") {
  simdjson::dom::parser parser;
  simdjson::dom::element element;
  std::string_view found;
  if (parser.parse(std::string(arg)).get(element) != simdjson::SUCCESS) return false;
  return element["message_type"].get(found) == simdjson::SUCCESS;
}

class CommandLineTest : public ::testing::Test {
 protected:
  ProcessResult Cli(const std::vector<std::string>& args, const std::map<std::string, std::string>& environment = {}) {
    return RunClean(REEMBED_BINARY, folder_.path(), args, environment);
  }

  // What is said, in one line, of a command line that is refused.
  std::string Refusal(const std::vector<std::string>& args,
                      const std::map<std::string, std::string>& environment = {}) {
    const ProcessResult result = Cli(args, environment);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(LinesOf(result.err), SizeIs(1)) << result.err;
    return result.err;
  }

  std::string MakeNotes(int rows = 3) {
    const std::string db = folder_ / "notes.db";
    std::ofstream(db).close();
    Change(db, absl::StrCat("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB);"
                            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                            rows, ") INSERT INTO notes SELECT i, 'a note of ' || i, NULL FROM n"));
    return db;
  }

  std::string NotesSource(const std::string& db) {
    return absl::StrCat("sqlite:", db, "?table=notes&key=id&text=body&vector=embedding");
  }

  TempFolder folder_;
};

TEST_F(CommandLineTest, AnUnknownFlagIsAnsweredWithTheNearest) {
  EXPECT_THAT(Refusal({"run", "--sorce", "x"}), HasSubstr("did you mean `--source`?"));
  EXPECT_THAT(Refusal({"run", "--batchsize=5"}), HasSubstr("did you mean `--batch-size`?"));
  EXPECT_THAT(Refusal({"search", "--embeder", "builtin", "trip"}), HasSubstr("did you mean `--embedder`?"));
  EXPECT_THAT(Refusal({"bench", "endpoint", "--concurency", "5"}), HasSubstr("did you mean `--concurrency`?"));
  EXPECT_THAT(Refusal({"plan", "--sample", "5"}),
              AllOf(HasSubstr("--sample is no flag of `plan`, but of `verify`"), Not(HasSubstr("did you mean"))));
  EXPECT_THAT(
      Refusal({"report", "--output", "x.html"}),
      AllOf(HasSubstr("--output is no flag of `report`, but of `index build`"), HasSubstr("`reembed report --help`")));
  EXPECT_THAT(Refusal({"run", "--wholly-unheard-of"}), HasSubstr("`reembed run --help`"));
  EXPECT_THAT(Refusal({"--system", "agentloop"}), HasSubstr("as in `reembed run --system`"));
}

TEST_F(CommandLineTest, AnUnknownCommandIsAnsweredWithTheNearest) {
  EXPECT_THAT(Refusal({"rnu"}), HasSubstr("did you mean `run`?"));
  EXPECT_THAT(Refusal({"statsu", "--all"}), HasSubstr("statsu"));
  EXPECT_THAT(Refusal({"bench", "endpont"}), HasSubstr("did you mean `endpoint`?"));
  EXPECT_THAT(Refusal({}), AllOf(HasSubstr("say what to do: run, plan"), HasSubstr("version")));
  EXPECT_THAT(Refusal({"help", "serch"}), HasSubstr("did you mean `search`?"));
  EXPECT_THAT(Refusal({"status", "--all", "--rejects"}), HasSubstr("--rejects"));
}

TEST_F(CommandLineTest, HelpAndVersionAreCommandsToo) {
  EXPECT_EQ(Cli({"version"}).out, Cli({"--version"}).out);
  EXPECT_EQ(Cli({"help"}).out, Cli({"--help"}).out);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"run"}, {"search"}, {"bench"}, {"bench", "endpoint"}}) {
    std::vector<std::string> asked = {"help"}, flag = command;
    asked.insert(asked.end(), command.begin(), command.end());
    flag.push_back("--help");
    const ProcessResult help = Cli(asked);
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.out, Cli(flag).out);
    EXPECT_THAT(help.out, HasSubstr("Usage: reembed " + command.front()));
  }
}

// Of an address for documentation, which is nobody's: RFC 5737.
TEST_F(CommandLineTest, AServerThatOthersCanReachWithoutAKeyIsRemarked) {
  const ProcessResult open = Cli({"serve", "--address", "192.0.2.1", "--port", "0"});
  EXPECT_NE(open.exit_code, 0);
  EXPECT_THAT(open.err,
              AllOf(HasSubstr("anyone who can reach 192.0.2.1 can use this server"), HasSubstr("--api-key-env")));
}

TEST_F(CommandLineTest, AWrongValueNamesTheFlagOrTheVariableThatItCameFrom) {
  const std::vector<std::string> plan = {"plan", "--source", NotesSource(MakeNotes()), "--embedder", "builtin"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = plan;
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  const auto batch = AllOf(HasSubstr("expected a whole number, 0 or more, got `abc`"), Not(HasSubstr("Value")));
  EXPECT_THAT(Refusal(plan, {{"REEMBED_BATCH_SIZE", "abc"}}), AllOf(HasSubstr("variable REEMBED_BATCH_SIZE:"), batch));
  EXPECT_THAT(Refusal(with({"--batch-size", "abc"})), AllOf(HasSubstr("--batch-size:"), batch));
  EXPECT_THAT(Refusal(with({"--batch-size", "abc"}), {{"REEMBED_BATCH_SIZE", "5"}}), HasSubstr("--batch-size:"));
  EXPECT_THAT(Refusal(with({"--batch-size", "-1"})), HasSubstr("got `-1`"));
  EXPECT_THAT(Refusal(with({"--batch-size", "1.5"})), HasSubstr("got `1.5`"));
  EXPECT_THAT(Refusal(plan, {{"REEMBED_TPM", "many"}}), HasSubstr("REEMBED_TPM: expected a number, 0 or more"));
  EXPECT_THAT(Refusal(plan, {{"REEMBED_ALL", "perhaps"}}), HasSubstr("REEMBED_ALL"));
  EXPECT_THAT(Refusal(plan, {{"REEMBED_PROGRESS", "maybe"}}), HasSubstr("REEMBED_PROGRESS"));
}

TEST_F(CommandLineTest, AVariableThatNobodyReadsIsNamed) {
  const std::vector<std::string> plan = {"plan", "--source", NotesSource(MakeNotes()), "--embedder", "builtin"};
  const ProcessResult near = Cli(plan, {{"REEMBED_BATCHSIZE", "5"}});
  EXPECT_EQ(near.exit_code, 0) << near.err;
  EXPECT_THAT(near.err, AllOf(HasSubstr("REEMBED_BATCHSIZE"), HasSubstr("did you mean `REEMBED_BATCH_SIZE`?")));
  const ProcessResult read = Cli(plan, {{"REEMBED_BATCH_SIZE", "5"}});
  EXPECT_THAT(read.err, Not(HasSubstr("nobody reads")));
  std::vector<std::string> named = plan;
  named.insert(named.end(), {"--api-key-env", "REEMBED_OWN_KEY"});
  EXPECT_THAT(Cli(named, {{"REEMBED_OWN_KEY", "x"}}).err, Not(HasSubstr("nobody reads")));
}

TEST_F(CommandLineTest, AnEmptyValueIsRefused) {
  const std::vector<std::string> plan = {"plan", "--source", NotesSource(MakeNotes()), "--embedder", "builtin"};
  for (const std::string flag : {"--job", "--where", "--target", "--env-file"}) {
    std::vector<std::string> args = plan;
    args.insert(args.end(), {flag, ""});
    EXPECT_THAT(Refusal(args), AllOf(HasSubstr(flag + ":"), HasSubstr("empty")));
  }
  EXPECT_THAT(Refusal({"status", ""}), HasSubstr("empty"));
  EXPECT_THAT(Refusal({"rollback", "", "--yes"}), HasSubstr("empty"));
}

TEST_F(CommandLineTest, AUriThatTheShellHasCutIsToBeQuoted) {
  const std::string db = MakeNotes();
  EXPECT_THAT(Refusal({"run", "--embedder", "builtin", "--source", absl::StrCat("sqlite:", db, "?table=notes")}),
              HasSubstr("quote the whole URI: the shell ends a command at &"));
  EXPECT_THAT(Refusal({"run", "--embedder", "builtin", "--target", "npy:" + (folder_ / "q.npy"), "--source",
                       absl::StrCat("sqlite:", db, "?table=notes")}),
              AllOf(HasSubstr("no column of texts"), HasSubstr("quote the whole URI")));
  EXPECT_THAT(
      Refusal({"plan", "--embedder", "builtin", "--source", absl::StrCat("sqlite:", db, "?table=notes&text=body")}),
      Not(HasSubstr("quote")));
}

TEST_F(CommandLineTest, APlaceOfNoKindIsAnsweredInOneShortLine) {
  const std::string source = NotesSource(MakeNotes());
  const auto refusal = [&](const std::string& target) {
    return Refusal({"run", "--source", source, "--embedder", "builtin", "--target", target});
  };
  EXPECT_THAT(refusal("q.npy"), HasSubstr("did you mean npy:q.npy?"));
  const std::string near = refusal("fais:q.faiss");
  EXPECT_THAT(near, AllOf(HasSubstr("did you mean `faiss`?"), Not(HasSubstr("these are"))));
  EXPECT_LT(near.size(), 120u);
  EXPECT_THAT(refusal("zebra:q"), HasSubstr("these are: sqlite, libsql, postgres"));
  EXPECT_THAT(Refusal({"run", "--source", "npy:" + (folder_ / "x.npy"), "--target", "-", "--embedder", "builtin"}),
              AllOf(HasSubstr("`npy` is no source"), Not(HasSubstr("did you mean"))));
}

TEST_F(CommandLineTest, AMisspeltModelIsAnsweredWithTheNearest) {
  EXPECT_THAT(Refusal({"plan", "--source", NotesSource(MakeNotes()), "--model", "text-embeding-3-small"}),
              HasSubstr("did you mean `text-embedding-3-small`?"));
}

TEST_F(CommandLineTest, HelpNamesEveryKindOfPlace) {
  const std::string help = Cli({"run", "--help"}).out;
  const std::string target = help.substr(help.find("--target"), help.find("Selection:") - help.find("--target"));
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->make_sink == nullptr) continue;
    EXPECT_THAT(target, HasSubstr(kind->example));
  }
}

TEST_F(CommandLineTest, SearchJoinsItsWords) {
  const std::string db = MakeNotes();
  const std::string index = folder_ / "notes.faiss";
  ASSERT_EQ(Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--target", "faiss:" + index}).exit_code,
            0);
  const ProcessResult apart = Cli({"search", "--index", index, "a", "note", "of", "2", "--json"});
  EXPECT_EQ(apart.exit_code, 0) << apart.err;
  EXPECT_EQ(apart.out, Cli({"search", "--index", index, "a note of 2", "--json"}).out);
  EXPECT_THAT(LinesOf(apart.out).front(), HasSubstr("\"key\":2"));
  // Words that are commands elsewhere are words here.
  EXPECT_EQ(Cli({"search", "--index", index, "run", "and", "verify"}).exit_code, 0);
}

TEST_F(CommandLineTest, EveryPlaceIsNamedOnceWithItsScheme) {
  const std::string db = MakeNotes();
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::vector<std::string> parts = absl::StrSplit(run.out, db);
  ASSERT_THAT(parts, SizeIs(2)) << run.out;
  EXPECT_TRUE(absl::EndsWith(parts[0], "target sqlite:")) << run.out;
  EXPECT_THAT(parts[1], HasSubstr("complete; 3 of 3 rows have a vector now (100.00 %)"));
  for (const std::string& line : LinesOf(Cli({"verify"}).out)) {
    if (!absl::StrContains(line, db)) continue;
    EXPECT_THAT(line, HasSubstr("sqlite:" + db));
  }
}

TEST_F(CommandLineTest, WhatIsWrongIsJsonToo) {
  const std::string source = NotesSource(MakeNotes());
  const std::vector<std::vector<std::string>> wrong = {{"run", "--sorce", "x", "--json"},
                                                       {"rnu", "--json"},
                                                       {"--json"},
                                                       {"run", "--progress", "json", "--batch-size", "abc"},
                                                       {"run", "--progress=json"},
                                                       {"run", "--json", "--job", ""},
                                                       {"verify", "--json"},
                                                       {"search", "--json", "x"},
                                                       {"restore", "--json"}};
  for (const std::vector<std::string>& args : wrong) {
    const ProcessResult result = Cli(args);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(LinesOf(result.err), AllOf(SizeIs(1), Each(IsJson())));
    EXPECT_THAT(result.err, HasSubstr("\"exit_code\":2"));
  }
  EXPECT_THAT(Cli({"run", "--sorce", "x", "--json"}).err, HasSubstr("\"command\":\"run\""));
  const ProcessResult note = Cli({"plan", "--source", source, "--embedder", "builtin", "--json"}, {{"REEMBED_X", "1"}});
  EXPECT_THAT(LinesOf(note.out), Each(IsJson()));
  EXPECT_THAT(LinesOf(note.err), AllOf(SizeIs(1), Each(IsJson())));
  EXPECT_THAT(LinesOf(Cli({"run", "--sorce", "x"}, {{"REEMBED_JSON", "1"}}).err), Each(IsJson()));
}

TEST_F(CommandLineTest, WithJsonEveryLineOfStandardOutputIsJson) {
  const std::string db = MakeNotes();
  Change(db, "INSERT INTO notes(body) VALUES (NULL), (x'ff')");
  const std::string index = folder_ / "notes.faiss";
  const std::vector<std::string> run = {"run",     "--source", NotesSource(db), "--embedder",
                                        "builtin", "--target", "faiss:" + index};
  const auto check = [&](std::vector<std::string> args, const std::vector<std::string>& more, int code) {
    args.insert(args.end(), more.begin(), more.end());
    const ProcessResult result = Cli(args);
    EXPECT_EQ(result.exit_code, code) << args.front() << ": " << result.err;
    EXPECT_THAT(result.out, Not(IsEmpty())) << args.front();
    EXPECT_THAT(LinesOf(result.out), Each(IsJson())) << args.front();
    return result;
  };
  check(run, {"--progress", "json"}, 3);
  check(run, {"--json"}, 3);
  check({"plan", "--source", NotesSource(db), "--embedder", "builtin"}, {"--progress", "json"}, 0);
  const ProcessResult status = check({"status", "--json"}, {}, 0);
  EXPECT_THAT(LinesOf(status.err), Each(IsJson()));
  EXPECT_THAT(status.out, AllOf(HasSubstr("\"code\":\"unusable text\""), HasSubstr("\"outcome\":\"done\""),
                                Not(HasSubstr("INVALID_ARGUMENT"))));
  check({"status", "--all", "--json"}, {}, 0);
  check({"search", "--index", index, "--json", "a", "note"}, {}, 0);
  const ProcessResult verified = check({"verify", "--json"}, {}, 0);
  EXPECT_EQ(LastNumber(verified, "vectors_compared"), 6);  // three in each of two targets
  EXPECT_EQ(LastNumber(verified, "texts_compared"), 3);
  EXPECT_EQ(LastNumber(verified, "vectors_read"), 3);
  EXPECT_EQ(LastNumber(verified, "rows_with_vector"), 3);
  EXPECT_EQ(LastNumber(verified, "rows_selected"), 5);
  check({"verify", "--json", "--sample", "2"}, {}, 0);
  const std::string backup = folder_ / "backup";
  check({"backup", "--source", "sqlite:" + db, "--to", backup, "--json"}, {}, 0);
  check({"restore", backup, "--db", folder_ / "other.db", "--yes", "--json"}, {}, 0);
  const auto job = std::filesystem::directory_iterator(folder_ / "state/reembed/jobs")->path().string();
  check({"retry-rejects", job, "--json"}, {}, 3);
  check({"rollback", job, "--yes", "--json"}, {}, 0);
}

TEST_F(CommandLineTest, FiguresThatMeanNothingForTheTargetAreLeftOut) {
  const std::string db = MakeNotes();
  const ProcessResult table = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--json"});
  EXPECT_THAT(table.out, AllOf(HasSubstr("\"table_rows\":3"), HasSubstr("\"sample_compared\":0"),
                               Not(HasSubstr("row_level_security")), Not(HasSubstr("table_rows_known"))));
  std::ofstream(folder_ / "rows.jsonl") << R"({"id": 1, "text": "one"})"
                                        << "\n";
  const ProcessResult file = Cli({"run", "--source", "jsonl:" + (folder_ / "rows.jsonl"), "--target",
                                  "npy:" + (folder_ / "rows.npy"), "--embedder", "builtin", "--json"});
  EXPECT_EQ(file.exit_code, 0) << file.err;
  EXPECT_THAT(file.out,
              AllOf(HasSubstr("\"rows_embedded\":1"), Not(HasSubstr("table_rows")),
                    Not(HasSubstr("row_level_security")), Not(HasSubstr("rows_emptied")), Not(HasSubstr("sample_"))));
}

// A program that reads the vectors must not meet a summary for people.
TEST_F(CommandLineTest, VectorsOnStandardOutputHaveItForThemselves) {
  std::ofstream(folder_ / "rows.jsonl") << R"({"id": 1, "text": "one"})"
                                        << "\n";
  const ProcessResult run = Cli({"run", "--source", "jsonl:" + (folder_ / "rows.jsonl"), "--target", "-", "--embedder",
                                 "builtin", "--dimensions", "32"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(LinesOf(run.out), SizeIs(1));
  EXPECT_THAT(run.out, HasSubstr("{\"key\":1,\"embedding\":["));
  EXPECT_THAT(run.err, HasSubstr("embedded 1 row "));
}

// The command with its messages on a terminal of so many columns.
class TerminalCommand {
 public:
  TerminalCommand(const std::vector<std::string>& args, const std::string& home, unsigned short columns) {
    struct winsize size = {.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    int terminal = -1;
    if (openpty(&master_, &terminal, nullptr, nullptr, &size) != 0) return;
    std::vector<std::string> words = {REEMBED_BINARY};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      setenv("HOME", home.c_str(), 1);
      setenv("XDG_STATE_HOME", (home + "/state").c_str(), 1);
      setenv("TERM", "xterm", 1);
      dup2(terminal, STDERR_FILENO);
      const int nothing = open("/dev/null", O_RDWR);
      dup2(nothing, STDIN_FILENO);
      dup2(nothing, STDOUT_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(terminal);
    reader_ = std::thread([this] {
      char bytes[4096];
      // The end of the last process on the other side reads as an error.
      for (ssize_t n; (n = read(master_, bytes, sizeof bytes)) > 0;) said_.append(bytes, n);
    });
  }
  ~TerminalCommand() {
    if (reader_.joinable()) Wait();
    if (master_ >= 0) close(master_);
  }

  // Its exit code; then said() is all.
  int Wait() {
    reader_.join();
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // The lines that were drawn over each other.
  std::vector<std::string> Drawn() const {
    std::vector<std::string> lines;
    for (const absl::string_view part : absl::StrSplit(said_, "\r\033[K")) {
      if (absl::StrContains(part, " rows")) lines.emplace_back(part.substr(0, part.find_first_of("\r\n")));
    }
    return lines;
  }
  const std::string& said() const { return said_; }

 private:
  int master_ = -1;
  pid_t pid_ = -1;
  std::string said_;
  std::thread reader_;
};

TEST_F(CommandLineTest, ProgressFitsItsWindow) {
  EmbeddingServerOptions options{.dim = 32};
  options.speed.latency = absl::Milliseconds(100);
  const auto server = EmbeddingServer::Start(options);
  ASSERT_THAT(server, IsOk());
  const std::string db = MakeNotes(400);
  for (const unsigned short columns : {40, 80}) {
    Change(db, "UPDATE notes SET embedding = NULL");
    TerminalCommand run(
        {"run", "--source", NotesSource(db), "--api-base", (*server)->base_url(), "--model", "m", "--dimensions", "32",
         "--batch-size", "10", "--concurrency", "4", "--job", folder_ / absl::StrCat("job", columns)},
        folder_.path(), columns);
    EXPECT_EQ(run.Wait(), 0) << run.said();
    const std::vector<std::string> drawn = run.Drawn();
    EXPECT_GE(drawn.size(), 3u) << run.said();
    for (const std::string& line : drawn) EXPECT_LT(line.size(), columns) << line;
    // One line all the time: what is longer than a window begins another one with each drawing.
    EXPECT_THAT(drawn, Each(AllOf(HasSubstr(" of 400 rows"), HasSubstr("%"))));
  }
}

TEST_F(CommandLineTest, ProgressSaysThatItWaitsForQuota) {
  ScriptedServer server([](const ServerRequest& request) {
    if (request.number != 3) return OpenAiAnswer(request, {.dim = 32});
    ServerReply reply = OpenAiError(429, "rate_limit_exceeded", "requests", "slow down");
    reply.headers.emplace_back("Retry-After", "3");
    return reply;
  });
  const std::string db = MakeNotes(40);
  TerminalCommand run({"run", "--source", NotesSource(db), "--api-base", server.url() + "/v1", "--model", "m",
                       "--dimensions", "32", "--batch-size", "2", "--concurrency", "1", "--canary-interval", "off"},
                      folder_.path(), 80);
  EXPECT_EQ(run.Wait(), 0) << run.said();
  EXPECT_THAT(run.Drawn(), testing::Contains(HasSubstr("waiting for quota, ")));
}

}  // namespace
}  // namespace reembed
