// SPDX-License-Identifier: Apache-2.0
// Passwords in addresses, links that somebody planted in a job's folder, and what a row or a file may do to a terminal.
// All that the command writes and says is searched.

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "simdjson.h"
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

constexpr char kPassword[] = "geheim-0123456789";
constexpr char kLogin[] = "somebody:geheim-0123456789";
constexpr int kDim = 8;

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

mode_t RightsOf(const fs::path& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
}

class SecretsTest : public ::testing::Test {
 protected:
  SecretsTest() : before_(umask(0)) {
    std::ofstream notes(folder_ / "notes.jsonl");
    for (int i = 0; i < 20; ++i) notes << "{\"id\":" << i << ",\"text\":\"note " << i << "\"}\n";
  }
  ~SecretsTest() override { umask(before_); }

  ProcessResult Cli(const std::vector<std::string>& args, const std::map<std::string, std::string>& environment = {}) {
    ProcessResult result = RunClean(REEMBED_BINARY, folder_.path(), args, environment);
    said_ += result.out + result.err;
    return result;
  }

  // A server that wants to be told `kLogin`, and otherwise repeats what it got.
  ScriptedServer::Handler WantsLogin() {
    return [this](const ServerRequest& request) {
      const std::string wanted = absl::StrCat("Basic ", absl::Base64Escape(kLogin));
      const auto found = request.headers.find("authorization");
      const std::string got = found == request.headers.end() ? "nothing" : found->second;
      if (got == wanted && !refuses_) return OpenAiAnswer(request, {.dim = kDim});
      const std::string login = got == wanted ? kLogin : "";
      return ServerReply{.status = 401,
                         .body = absl::StrCat(R"({"error":{"message":"not )", got, " = ", login, R"("}})")};
    };
  }

  std::string WithLogin(const std::string& url) const {
    return absl::StrReplaceAll(url, {{"://", absl::StrCat("://", kLogin, "@")}});
  }

  std::vector<std::string> RunArgs(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"run",
                                     "--source",
                                     "jsonl:" + folder_ / "notes.jsonl",
                                     "--target",
                                     "fbin:" + folder_ / "out.fbin",
                                     "--job",
                                     folder_ / "job",
                                     "--model",
                                     "m",
                                     "--dimensions",
                                     std::to_string(kDim),
                                     "--progress",
                                     "off"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  void RemoveJob() {
    for (const char* const name : {"job", "out.fbin", "out.fbin.keys.jsonl"}) fs::remove_all(folder_ / name);
  }

  // In whatever was said and written, in whatever spelling.
  void ExpectNoSecret() {
    const std::vector<std::string> spellings = {kPassword, absl::Base64Escape(kLogin), "0123456789"};
    for (const std::string& secret : spellings) EXPECT_THAT(said_, Not(HasSubstr(secret)));
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (!entry.is_regular_file()) continue;
      for (const std::string& secret : spellings) {
        EXPECT_FALSE(absl::StrContains(Content(entry.path().string()), secret)) << entry.path() << " has " << secret;
      }
    }
  }

  const mode_t before_;
  TempFolder folder_;
  bool refuses_ = false;
  std::string said_;
};

TEST_F(SecretsTest, ALoginInTheAddressIsUsedAndWrittenNowhere) {
  ScriptedServer server(WantsLogin());
  const std::string url = WithLogin(server.url()) + "/v1";
  const std::vector<std::vector<std::string>> ways = {
      {"--api-base", url}, {"--endpoint", url + ",concurrency=2"}, {"--api-base", url, "--json"}};
  for (const std::vector<std::string>& way : ways) {
    RemoveJob();
    EXPECT_EQ(Cli(RunArgs(way)).exit_code, 0) << said_;
    for (const std::vector<std::string>& command :
         std::vector<std::vector<std::string>>{{"status"}, {"status", "--json"}, {"verify"}}) {
      std::vector<std::string> args = command;
      args.push_back(folder_ / "job");
      EXPECT_EQ(Cli(args).exit_code, 0) << said_;
    }
    ExpectNoSecret();
  }
  RemoveJob();
  std::vector<std::string> plan = RunArgs({"--api-base", url});
  plan.front() = "plan";
  EXPECT_EQ(Cli(plan).exit_code, 0) << said_;
  EXPECT_EQ(Cli({"bench", "endpoint", "--api-base", url, "--model", "m", "--dimensions", "8", "--seconds", "0.05",
                 "--concurrency", "1", "--batch-size", "1"})
                .exit_code,
            0)
      << said_;
  ExpectNoSecret();
}

TEST_F(SecretsTest, AVariableHoldsTheLoginForLaterCommands) {
  ScriptedServer server(WantsLogin());
  const std::map<std::string, std::string> environment = {{"REEMBED_API_BASE", WithLogin(server.url()) + "/v1"}};
  EXPECT_EQ(Cli(RunArgs({}), environment).exit_code, 0) << said_;
  const ProcessResult verified = Cli({"verify", folder_ / "job", "--sample", "5"}, environment);
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  EXPECT_EQ(Cli({"verify", folder_ / "job", "--sample", "5"}).exit_code, 6) << "who does not know it is refused";
  ExpectNoSecret();
}

TEST_F(SecretsTest, NoErrorShowsALogin) {
  ScriptedServer server(WantsLogin());
  refuses_ = true;
  const std::string url = WithLogin(server.url()) + "/v1";
  EXPECT_EQ(Cli(RunArgs({"--api-base", url})).exit_code, 6) << said_;
  EXPECT_EQ(Cli(RunArgs({"--endpoint", url})).exit_code, 6) << said_;
  const std::string proxy = absl::StrCat("http://", kLogin, "@127.0.0.1:1");
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {"--api-base", server.url(), "--proxy", proxy},
           {"--api-base", server.url(), "--proxy", absl::StripPrefix(proxy, "http://").data()},
           {"--api-base", absl::StrCat(kLogin, "@127.0.0.1:1/v1")},
           {"--api-base", absl::StrCat("http://somebody:a/", kPassword, "@127.0.0.1:1/v1")},
           {"--api-base", absl::StrCat("http://somebody:%zz", kPassword, "@127.0.0.1:1/v1")},
           {"--api-base", absl::StrCat("ftp://", kLogin, "@127.0.0.1:1/v1")},
           {"--api-base", absl::StrCat("http://", kLogin, "@127.0.0.1:1/v1")},
           {"--endpoint", absl::StrCat("http://", kLogin, "@127.0.0.1:1/v1,rpm=x")},
           {"--endpoint", absl::StrCat("https:", kLogin, "@127.0.0.1:1/v1")},
           {"--endpoint", url, "--endpoint", url},
           {"--no-such-flag", absl::StrCat("http://", kLogin, "@127.0.0.1:1/v1")},
           {absl::StrCat("http://", kLogin, "@127.0.0.1:1/v1")},
           {"--target", absl::StrCat("postgres://", kLogin, "@127.0.0.1:1/db?table=t")},
           {"--target", absl::StrCat("postgres://me@127.0.0.1:1/db?table=t&options=-c%20x.password%3D", kPassword)},
           {"--target", absl::StrCat("qdrant:http://", kLogin, "@127.0.0.1:1/c")}}) {
    std::vector<std::string> args = RunArgs(wrong);
    args.insert(args.end(), {"--timeout", "2", "--max-wait", "0.01"});
    EXPECT_NE(Cli(args, {{"OPENAI_API_KEY", "sk-nothing"}}).exit_code, 0) << wrong.back();
    ExpectNoSecret();
  }
}

TEST_F(SecretsTest, TheListOfProcessesDoesNotShowALogin) {
  ScriptedServer server([](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    reply.fault = ServerFault::kStall;
    return reply;
  });
  std::vector<std::string> args = RunArgs({"--api-base", WithLogin(server.url()) + "/v1", "--proxy",
                                           "x:geheim-9@" + std::string(absl::StripPrefix(server.url(), "http://"))});
  args.insert(args.begin(), REEMBED_BINARY);
  Process process(args, {{"HOME", folder_.path()}});
  server.WaitForStalled(1);
  bool found = false;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string words = Content(entry.path().string() + "/cmdline");
    if (!absl::StrContains(words, folder_ / "job") || !absl::StrContains(words, "reembed")) continue;
    found = true;
    EXPECT_THAT(words, AllOf(Not(HasSubstr("geheim")), HasSubstr("--api-base")));
  }
  EXPECT_TRUE(found);
  process.Signal(SIGKILL);
  process.Wait();
}

TEST_F(SecretsTest, AllOfAJobIsForItsUserAlone) {
  ASSERT_EQ(mkdir((folder_ / "job").c_str(), 0755), 0);
  std::ofstream(folder_ / "job/ledger.db");  // as an earlier version left them
  std::ofstream(folder_ / "job/job.toml");
  fs::create_directories(folder_ / "given");
  ASSERT_EQ(chmod((folder_ / "job/ledger.db").c_str(), 0644), 0);
  std::vector<std::string> args = BuiltinRun(folder_.path());
  EXPECT_EQ(Cli(args).exit_code, 0) << said_;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "job")) {
    EXPECT_EQ(RightsOf(entry.path()), 0600u) << entry.path();
  }
  args[6] = folder_ / "jobs/new";
  args[4] = "fbin:" + folder_ / "out2.fbin";
  EXPECT_EQ(Cli(args).exit_code, 0) << said_;
  EXPECT_EQ(RightsOf(folder_ / "jobs"), 0700u);
  EXPECT_EQ(RightsOf(folder_ / "jobs/new"), 0700u);
}

TEST_F(SecretsTest, PlantedLinksAreNotFollowed) {
  const std::string victim = folder_ / "victim";
  std::vector<std::string> args = BuiltinRun(folder_.path());
  for (const char* const name : {"vectors.f32", "lock", "ledger.db", "ledger.db-wal", "ledger.db.partial",
                                 "job.toml.partial", "job.toml", "targets.partial", "canary.f32.partial"}) {
    RemoveJob();
    std::ofstream(victim) << "precious";
    fs::create_directories(folder_ / "job");
    ASSERT_EQ(chmod((folder_ / "job").c_str(), 0700), 0);
    fs::create_symlink(victim, folder_ / ("job/" + std::string(name)));
    const ProcessResult result = Cli(args);
    EXPECT_EQ(Content(victim), "precious") << name;
    // What is replaced as a whole may go on; what is written into must not.
    const bool replaced =
        name == std::string("job.toml") || (absl::StrContains(name, "partial") && !absl::StrContains(name, "ledger"));
    // A ledger is read first, whatever it is, and this one is none.
    const int refused = name == std::string("ledger.db") ? 1 : 2;
    EXPECT_EQ(result.exit_code, replaced ? 0 : refused) << name << ": " << result.err;
    EXPECT_TRUE(result.exit_code != 2 || absl::StrContains(result.err, "symbolic link")) << name << ": " << result.err;
  }
}

TEST_F(SecretsTest, AJobFolderThatOthersMayWriteToIsRefused) {
  ASSERT_EQ(mkdir((folder_ / "job").c_str(), 0777), 0);
  std::ofstream(folder_ / "job/something") << "x";
  const ProcessResult refused = Cli(BuiltinRun(folder_.path()));
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("chmod go-w"));
}

TEST_F(SecretsTest, NothingFromOutsideReachesATerminalRaw) {
  const std::string evil =
      "\x1b]0;owned\x07\xC2\x9B"
      "2J\x9B\x7F";
  std::string json_key;
  for (const char c : evil) {
    const auto byte = static_cast<unsigned char>(c);
    absl::StrAppend(&json_key, byte < 0x20 ? absl::StrFormat("\\u%04x", byte) : std::string(1, c));
  }
  std::ofstream(folder_ / "notes.jsonl") << "{\"id\":\"" << absl::StrReplaceAll(json_key, {{"\x9B\x7F", "\x7F"}})
                                         << "\",\"text\":\"\"}\n{\"id\":\"b\",\"text\":\"good\"}\n";
  std::vector<std::string> args = BuiltinRun(folder_.path());
  const auto expect_harmless = [](const std::string& said) {
    for (const char* const raw : {"\x1b", "\x07", "\xC2\x9B", "\x7F"}) EXPECT_THAT(said, Not(HasSubstr(raw)));
  };
  EXPECT_EQ(Cli(args).exit_code, 3) << said_;
  EXPECT_EQ(Cli({"status", folder_ / "job"}).exit_code, 0);
  EXPECT_THAT(said_, HasSubstr("\\u001b]0;owned"));
  const ProcessResult lines = Cli({"status", folder_ / "job", "--json"});
  simdjson::dom::parser parser;
  for (const absl::string_view line : absl::StrSplit(lines.out, '\n', absl::SkipEmpty())) {
    EXPECT_EQ(parser.parse(std::string(line)).error(), simdjson::SUCCESS) << line;
  }
  EXPECT_EQ(Cli({"run", "--source", "jsonl:" + folder_ / evil}).exit_code, 2);
  EXPECT_EQ(Cli({evil}).exit_code, 2);
  EXPECT_EQ(Cli({"run", "--" + evil}).exit_code, 2);
  expect_harmless(said_);
}

TEST_F(SecretsTest, AManifestIsBelievedOnlyAsItWasWritten) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "a.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "CREATE TABLE t(x); INSERT INTO t VALUES (1)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  ASSERT_EQ(Cli({"backup", "--source", "sqlite:" + folder_ / "a.db", "--to", folder_ / "saved"}).exit_code, 0) << said_;
  EXPECT_EQ(Cli({"restore", folder_ / "saved", "--yes"}).exit_code, 0) << said_;
  const std::string manifest = folder_ / "saved/manifest.json";
  const std::string whole = Content(manifest);
  std::ofstream(manifest) << absl::StrReplaceAll(whole, {{"a.db\",\"bytes", "victim.db\",\"bytes"}});
  const ProcessResult changed = Cli({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(changed.exit_code, 1) << changed.err;
  EXPECT_THAT(changed.err, HasSubstr("was changed"));
  EXPECT_FALSE(fs::exists(folder_ / "victim.db"));
  // Whoever takes the checksum out, too, is asked where it goes.
  const std::string without = whole.substr(0, whole.find(",\n \"manifest_xxh3_128\"")) + "}\n";
  std::ofstream(manifest) << absl::StrReplaceAll(without, {{"a.db\",\"bytes", "victim.db\",\"bytes"}});
  const ProcessResult doubtful = Cli({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(doubtful.exit_code, 2) << doubtful.err;
  EXPECT_THAT(doubtful.err, AllOf(HasSubstr("--db"), HasSubstr("victim.db")));
  EXPECT_FALSE(fs::exists(folder_ / "victim.db"));
  EXPECT_EQ(Cli({"restore", folder_ / "saved", "--yes", "--db", folder_ / "named.db"}).exit_code, 0) << said_;
  EXPECT_TRUE(fs::exists(folder_ / "named.db"));
  // A place that is not of the part's kind.
  std::ofstream(manifest) << absl::StrReplaceAll(without, {{"\"origin\":\"sqlite:", "\"origin\":\"npy:"}});
  const ProcessResult mixed = Cli({"restore", folder_ / "saved", "--yes"});
  EXPECT_EQ(mixed.exit_code, 1) << mixed.err;
  EXPECT_THAT(mixed.err, HasSubstr("is of the kind sqlite, and came from npy:"));
  // Others can have written what they may write to.
  std::ofstream(manifest) << whole;
  ASSERT_EQ(chmod(manifest.c_str(), 0666), 0);
  EXPECT_EQ(Cli({"restore", folder_ / "saved", "--yes"}).exit_code, 2);
}

}  // namespace
}  // namespace reembed
