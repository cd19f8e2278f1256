// SPDX-License-Identifier: Apache-2.0
// The command as its users meet it: what they do right, and everything they may do wrong.

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/text/piece_meter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/process.h"
#include "tests/fakes/read_file.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CliTest : public ::testing::Test {
 protected:
  // A clean room: no keys, no settings of the one who runs the test.
  ProcessResult Cli(std::vector<std::string> args, std::map<std::string, std::string> environment = {},
                    const std::string& input = "") {
    args.insert(args.begin(), REEMBED_BINARY);
    environment.emplace("HOME", folder_.path());
    environment.emplace("XDG_STATE_HOME", folder_ / "state");
    environment.emplace("XDG_CONFIG_HOME", folder_ / "config");
    environment.emplace("OPENAI_API_KEY", "");
    environment.emplace("OPENAI_BASE_URL", "");
    return RunProcess(args, environment, input);
  }

  std::string MakeSample(int rows = 300) {
    const std::string db = folder_ / "memory.db";
    const ProcessResult made = Cli({"systems", "agentloop", "--make-sample", db, "--rows", absl::StrCat(rows)});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return db;
  }

  // A plain table of three notes.
  std::string MakeNotes() {
    const std::string db = folder_ / "notes.db";
    sqlite3* handle = nullptr;
    sqlite3_open(db.c_str(), &handle);
    sqlite3_close(handle);
    std::ofstream(db).close();
    Change(db,
           "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB);"
           "INSERT INTO notes(body) VALUES ('buy potatoes'), ('call the plumber'), ('a trip to Lisbon')");
    return db;
  }

  std::vector<std::string> RunArgs(const std::string& db, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"run", "--system", "agentloop", "--db", db, "--embedder", "builtin", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  std::string NotesSource(const std::string& db) {
    return absl::StrCat("sqlite:", db, "?table=notes&key=id&text=body&vector=embedding");
  }

  TempFolder folder_;
};

// The value of a member of the summary, as JSON text.
std::string Summary(const ProcessResult& result, const std::string& name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = result.out.rfind(key);
  if (at == std::string::npos) return "(no summary)";
  const size_t begin = at + key.size();
  return result.out.substr(begin, result.out.find_first_of(",}", begin) - begin);
}

TEST_F(CliTest, FillsEveryRowOfAgentloopAndChangesNothingElse) {
  const std::string db = MakeSample();
  const std::string before = DumpWithoutEmbeddings(db);
  const auto expected = EmbeddableMessages(db);
  const ProcessResult run = Cli(RunArgs(db));
  EXPECT_EQ(run.exit_code, Summary(run, "rows_rejected") == "0" ? 0 : 3) << run.err;
  const auto stored = StoredEmbeddings(db);
  EXPECT_EQ(stored.size(), expected.size());
  for (const auto& [key, text] : expected) EXPECT_EQ(stored.at(key), ExpectedEmbedding(text, 512)) << "row " << key;
  EXPECT_EQ(stored.begin()->second.size(), 2048u);
  EXPECT_EQ(DumpWithoutEmbeddings(db), before);
  EXPECT_THAT(Query(db, "SELECT DISTINCT embedding_model FROM messages WHERE embedding IS NOT NULL"),
              ElementsAre("reembed-lexical-1"));
  EXPECT_THAT(Query(db, "PRAGMA integrity_check"), ElementsAre("ok"));
  EXPECT_EQ(Summary(run, "rows_embedded"), absl::StrCat(expected.size()));
}

TEST_F(CliTest, AddsTheColumnsToAnOldDatabase) {
  const std::string db = MakeSample();
  Change(db, "ALTER TABLE messages DROP COLUMN embedding; ALTER TABLE messages DROP COLUMN embedding_model");
  const auto expected = EmbeddableMessages(db);
  const ProcessResult plan = Cli({"plan", "--system", "agentloop", "--db", db, "--embedder", "builtin"});
  EXPECT_THAT(plan.out, HasSubstr("adds the column embedding")) << plan.err;
  EXPECT_THAT(StoredEmbeddings(db), IsEmpty());
  Cli(RunArgs(db));
  EXPECT_EQ(StoredEmbeddings(db).size(), expected.size());
}

TEST_F(CliTest, ASecondRunSendsNothing) {
  const std::string db = MakeSample();
  const ProcessResult first = Cli(RunArgs(db, {"--target", "faiss:" + (folder_ / "m.faiss")}));
  const std::string bytes = ReadFile(db);
  const ProcessResult second = Cli(RunArgs(db, {"--target", "faiss:" + (folder_ / "m.faiss")}));
  EXPECT_EQ(second.exit_code, first.exit_code);
  EXPECT_EQ(Summary(second, "requests"), "0");
  EXPECT_EQ(Summary(second, "rows_embedded"), "0");
  EXPECT_EQ(Summary(second, "rows_skipped"), Summary(first, "rows_embedded"));
  EXPECT_EQ(ReadFile(db), bytes);
}

// What a kill leaves between the making of the file and its first commit.
TEST_F(CliTest, AJobWhoseRunWasKilledBeforeItHadBegunBegins) {
  const std::string source = NotesSource(MakeNotes());
  std::filesystem::create_directory(folder_ / "job");
  std::ofstream{folder_ / "job/ledger.db"};
  const std::vector<std::string> args = {"--source", source, "--embedder", "builtin", "--job", folder_ / "job"};
  for (const char* const command : {"plan", "run"}) {
    std::vector<std::string> all = {command};
    all.insert(all.end(), args.begin(), args.end());
    const ProcessResult result = Cli(all);
    EXPECT_EQ(result.exit_code, 0) << command << ": " << result.err;
  }
}

TEST_F(CliTest, ATargetThatIsAddedLaterCostsNoRequest) {
  const std::string db = MakeSample();
  const ProcessResult first = Cli(RunArgs(db));
  const ProcessResult second = Cli(RunArgs(db, {"--target", "npy:" + (folder_ / "m.npy")}));
  EXPECT_EQ(Summary(second, "requests"), "0") << second.err;
  const ProcessResult verify = Cli({"verify", absl::StrReplaceAll(Summary(second, "job"), {{"\"", ""}})});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  EXPECT_THAT(verify.out, HasSubstr(absl::StrCat("m.npy: ", Summary(first, "rows_embedded"), " vectors compared")));
}

TEST_F(CliTest, ResumeFromIsInclusive) {
  const std::string db = MakeSample();
  const auto expected = EmbeddableMessages(db);
  const int64_t from = std::next(expected.begin(), 100)->first;
  Cli(RunArgs(db, {"--resume-from", absl::StrCat(from)}));
  const auto stored = StoredEmbeddings(db);
  ASSERT_FALSE(stored.empty());
  EXPECT_EQ(stored.begin()->first, from);
  EXPECT_EQ(stored.size(), expected.size() - 100);
}

TEST_F(CliTest, RowsWithoutUsableTextAreListedWithTheReason) {
  const std::string db = MakeNotes();
  Change(db,
         "INSERT INTO notes(id, body) VALUES (10, NULL), (11, ''), (12, CAST(x'ff41' AS TEXT)), "
         "(13, CAST(zeroblob(10485760) AS TEXT))");
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--json"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(Summary(run, "rows_embedded"), "3");
  EXPECT_EQ(Summary(run, "rows_rejected"), "4");
  EXPECT_THAT(run.out, HasSubstr("\"rejected_keys\":[10,11,12,13],\"table_rows\":7,\"table_rows_with_vector\":3,"));
  EXPECT_THAT(Query(db, "SELECT count(*) FROM notes WHERE embedding IS NOT NULL"), ElementsAre("3"));
  const ProcessResult status = Cli({"status", absl::StrReplaceAll(Summary(run, "job"), {{"\"", ""}})});
  EXPECT_THAT(status.out, AllOf(HasSubstr("row 10: the text is NULL"), HasSubstr("row 11: the text is empty"),
                                HasSubstr("row 12: the text is not valid UTF-8"), HasSubstr("row 13: the text has")));
}

TEST_F(CliTest, TheSummaryNamesTenRejectedRowsAndTheCoverageOfTheTable) {
  const std::string db = MakeNotes();
  Change(db,
         "WITH RECURSIVE n(i) AS (SELECT 21 UNION ALL SELECT i + 1 FROM n WHERE i < 32) INSERT INTO notes(id, body) "
         "SELECT i, '' FROM n");
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("12 rows have no vector: 21 22 23 24 25 26 27 28 29 30 and 2 more; why: reembed "
                                       "status "),
                             HasSubstr("; 3 of 15 rows have a vector now (20.00 %)")));
  // Somebody else clears one, and does so again: the table has the last word, whatever the job has done.
  Change(
      db,
      "UPDATE notes SET embedding = NULL WHERE id = 2; CREATE TRIGGER clears AFTER UPDATE OF embedding ON notes WHEN "
      "new.id = 2 AND new.embedding IS NOT NULL BEGIN UPDATE notes SET embedding = NULL WHERE id = 2; END");
  EXPECT_THAT(Cli({"run", "--source", NotesSource(db), "--embedder", "builtin"}).out,
              HasSubstr("; 2 of 15 rows have a vector now"));
}

TEST_F(CliTest, PlanWritesNothing) {
  const std::string db = MakeSample();
  const std::string bytes = ReadFile(db);
  const ProcessResult plan = Cli({"plan", "--system", "agentloop", "--db", db, "--rpm", "3", "--tpm", "40000"});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("rows"), HasSubstr("different"), HasSubstr("tokens"), HasSubstr("requests"),
                              HasSubstr("$"), HasSubstr("at the given limits"), HasSubstr("memory"), HasSubstr("disk"),
                              HasSubstr("nothing was written or sent")));
  EXPECT_EQ(ReadFile(db), bytes);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "state"));
}

TEST_F(CliTest, SearchFindsTheTextItself) {
  const std::string db = MakeSample();
  const auto expected = EmbeddableMessages(db);
  Cli(RunArgs(db, {"--target", "faiss:" + (folder_ / "m.faiss") + "?factory=Flat"}));
  const auto& [key, text] = *std::next(expected.begin(), 5);
  const ProcessResult search = Cli({"search", "--index", folder_ / "m.faiss", "--json", "-k", "1", text});
  EXPECT_EQ(search.exit_code, 0) << search.err;
  EXPECT_THAT(search.out, HasSubstr("\"score\":1"));
  const std::string found = search.out.substr(search.out.find("\"key\":") + 6);
  EXPECT_EQ(expected.at(std::stoll(found)), text);
}

TEST_F(CliTest, VerifyFindsAVectorThatSomebodyChanged) {
  const std::string db = MakeNotes();
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--json"});
  const std::string job = absl::StrReplaceAll(Summary(run, "job"), {{"\"", ""}});
  EXPECT_EQ(Cli({"verify", job, "--sample", "3"}).exit_code, 0);
  Change(db, "UPDATE notes SET embedding = (SELECT embedding FROM notes WHERE id = 1) WHERE id = 2");
  const ProcessResult verify = Cli({"verify", job});
  EXPECT_EQ(verify.exit_code, 8);
  EXPECT_THAT(verify.out, HasSubstr("row 2: holds another vector"));
}

TEST_F(CliTest, JsonLinesGoThroughStandardInputAndOutput) {
  const ProcessResult run = Cli({"run", "--source", "-", "--target", "-", "--embedder", "builtin", "--dimensions", "32",
                                 "--quiet", "--job", folder_ / "job"},
                                {}, "{\"id\": 1, \"text\": \"one\"}\n{\"id\": \"two\", \"text\": \"zwei\"}\n");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr("{\"key\":1,\"embedding\":["), HasSubstr("{\"key\":\"two\",\"embedding\":[")));
}

// What users do wrong: each gets a clear message and the right code, and nothing is written or sent.
TEST_F(CliTest, WithoutAKeyNothingHappens) {
  const std::string db = MakeNotes();
  const std::string bytes = ReadFile(db);
  const ProcessResult run = Cli({"run", "--source", NotesSource(db)});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_THAT(run.err, AllOf(HasSubstr("OPENAI_API_KEY"), HasSubstr("--api-key-file")));
  EXPECT_EQ(ReadFile(db), bytes);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "state"));
}

TEST_F(CliTest, AMissingFileIsNamed) {
  const ProcessResult run = Cli({"run", "--source", NotesSource(folder_ / "nowhere.db"), "--embedder", "builtin"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("nowhere.db"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "nowhere.db"));
}

TEST_F(CliTest, AFileThatIsNoDatabaseIsRefused) {
  const std::string path = folder_ / "text.db";
  std::ofstream(path) << std::string(5000, 'x');
  const ProcessResult run = Cli({"run", "--source", NotesSource(path), "--embedder", "builtin"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("text.db"), HasSubstr("database")));
  EXPECT_EQ(ReadFile(path), std::string(5000, 'x'));
}

TEST_F(CliTest, AMisspeltTableOrColumnIsAnsweredWithTheNearest) {
  const std::string db = MakeNotes();
  const auto source = [&](const char* table, const char* text) {
    return absl::StrCat("sqlite:", db, "?table=", table, "&key=id&vector=embedding&text=", text);
  };
  const ProcessResult table = Cli({"run", "--source", source("note", "body"), "--embedder", "builtin"});
  EXPECT_EQ(table.exit_code, 2);
  EXPECT_THAT(table.err, HasSubstr("notes"));
  const ProcessResult column = Cli({"run", "--source", source("notes", "boddy"), "--embedder", "builtin"});
  EXPECT_EQ(column.exit_code, 2);
  EXPECT_THAT(column.err, HasSubstr("body"));
}

TEST_F(CliTest, AnUnknownFlagOrSystemIsAnsweredWithUsage) {
  EXPECT_EQ(Cli({"run", "--sauce", "x"}).exit_code, 2);
  EXPECT_EQ(Cli({"rum"}).exit_code, 2);
  const ProcessResult system = Cli({"run", "--system", "agentlop", "--embedder", "builtin"});
  EXPECT_EQ(system.exit_code, 2);
  EXPECT_THAT(system.err, HasSubstr("did you mean `agentloop`?"));
  const ProcessResult scheme =
      Cli({"run", "--source", NotesSource(MakeNotes()), "--target", "fiass:x", "--embedder", "builtin"});
  EXPECT_EQ(scheme.exit_code, 2);
  EXPECT_THAT(scheme.err, HasSubstr("did you mean `faiss`?"));
}

TEST_F(CliTest, AReadOnlyDatabaseIsRefusedBeforeAnythingIsSent) {
  const std::string db = MakeNotes();
  chmod(db.c_str(), 0444);
  chmod(folder_.path().c_str(), 0555);
  std::vector<std::string> args;
  if (geteuid() == 0) {
    // Nothing is read-only for root, so somebody else runs it, from a place where he may.
    const std::string program = std::filesystem::temp_directory_path() / absl::StrCat("reembed_", getpid());
    std::filesystem::copy_file(REEMBED_BINARY, program);
    args = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program};
  } else {
    args = {REEMBED_BINARY};
  }
  args.insert(args.end(), {"run", "--source", NotesSource(db), "--embedder", "builtin", "--job", "/dev/null/job"});
  const ProcessResult run = RunProcess(args, {{"REEMBED_DATA", absl::StrCat(REEMBED_SOURCE_DIR, "/data")}});
  chmod(folder_.path().c_str(), 0755);
  if (geteuid() == 0) std::filesystem::remove(args[4]);
  EXPECT_THAT(run.exit_code, ::testing::AnyOf(2, 6)) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("notes.db"), HasSubstr("write"))) << "and not the job folder, which comes later";
}

TEST_F(CliTest, AWidthThatDoesNotFitIsRefusedBeforeTheFirstRequest) {
  const std::string db = MakeNotes();
  EXPECT_EQ(Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--dimensions", "64"}).exit_code, 0);
  Change(db, "UPDATE notes SET embedding = NULL WHERE id = 1");
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--dimensions", "128"});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_THAT(run.err, AllOf(HasSubstr("64 dimensions"), HasSubstr("128"), HasSubstr("--all")));
}

TEST_F(CliTest, ReplacingVectorsWantsAYes) {
  const std::string db = MakeNotes();
  EXPECT_EQ(Cli({"run", "--source", NotesSource(db), "--embedder", "builtin", "--dimensions", "64"}).exit_code, 0);
  const std::vector<std::string> all = {"run",     "--source",     NotesSource(db), "--embedder",
                                        "builtin", "--dimensions", "128",           "--all"};
  const ProcessResult without = Cli(all);
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_THAT(without.err, HasSubstr("replaces 3 vectors"));
  EXPECT_THAT(Query(db, "SELECT DISTINCT length(embedding) FROM notes"), ElementsAre("256"));
  std::vector<std::string> with_yes = all;
  with_yes.push_back("--yes");
  EXPECT_EQ(Cli(with_yes).exit_code, 0);
  EXPECT_THAT(Query(db, "SELECT DISTINCT length(embedding) FROM notes"), ElementsAre("512"));
}

TEST_F(CliTest, AForeignFileIsNotReplaced) {
  const std::string path = folder_ / "mine.npy";
  std::ofstream(path) << "precious";
  const ProcessResult run =
      Cli({"run", "--source", NotesSource(MakeNotes()), "--target", "npy:" + path, "--embedder", "builtin"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, HasSubstr("mine.npy"));
  EXPECT_EQ(ReadFile(path), "precious");
}

TEST_F(CliTest, ALockedDatabaseIsATemporaryFailure) {
  const std::string db = MakeNotes();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(db.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--embedder", "builtin"});
  sqlite3_close(other);
  EXPECT_EQ(run.exit_code, 5) << run.err;
  EXPECT_THAT(run.err, HasSubstr("locked"));
}

TEST_F(CliTest, TheKeyIsNeverShownAndNeverStored) {
  const std::string db = MakeNotes();
  ScriptedServer server([](const ServerRequest& request) {
    return OpenAiError(401, "invalid_api_key", "invalid_request_error",
                       absl::StrCat("Incorrect API key provided: ", request.headers.at("authorization")));
  });
  const ProcessResult run = Cli({"run", "--source", NotesSource(db), "--api-base", server.url() + "/v1", "--json"},
                                {{"OPENAI_API_KEY", "sk-very-secret-0123456789"}});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_THAT(run.out + run.err, Not(HasSubstr("sk-very-secret")));
  EXPECT_EQ(server.request_count(), 1);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!entry.is_regular_file()) continue;
    EXPECT_THAT(ReadFile(entry.path()), Not(HasSubstr("sk-very-secret"))) << entry.path();
  }
  EXPECT_THAT(Query(db, "SELECT count(*) FROM notes WHERE embedding IS NOT NULL"), ElementsAre("0"));
}

TEST_F(CliTest, TwoRunsOfOneJobDoNotMeet) {
  const std::string db = MakeNotes();
  std::string job;
  ScriptedServer server([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  const std::vector<std::string> args = {REEMBED_BINARY,       "run",   "--source",     NotesSource(db), "--api-base",
                                         server.url() + "/v1", "--job", folder_ / "job"};
  Process first(args);
  server.WaitForStalled(1);
  const ProcessResult second = RunProcess(args);
  EXPECT_EQ(second.exit_code, 11) << second.err;
  EXPECT_THAT(second.err, HasSubstr("in use by process"));
}

// The rows that text-embedding-3-small takes: the sample has some texts with more words than it takes tokens.
std::map<int64_t, std::string> TakenByOpenAi(const std::string& db) {
  std::map<int64_t, std::string> messages = EmbeddableMessages(db);
  const PieceMeter meter;
  std::erase_if(messages, [&](const auto& message) { return meter.AtLeast(message.second) > 8192; });
  return messages;
}

TEST_F(CliTest, TheSpendCapStopsTheRunBeforeItIsReached) {
  const std::string db = MakeSample(1000);
  const size_t expected = TakenByOpenAi(db).size();
  ScriptedServer server(
      [](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 512, .bytes_per_token = 4}); });
  const auto run = [&](const char* dollars) {
    return Cli({"run", "--system", "agentloop", "--db", db, "--api-base", server.url() + "/v1", "--batch-size", "20",
                "--concurrency", "1", "--job", folder_ / "job", "--json", "--max-spend", dollars});
  };
  // About 55,000 tokens at 0.02 dollars a million.
  const ProcessResult capped = run("0.0004");
  EXPECT_EQ(capped.exit_code, 7) << capped.err;
  const size_t stored = StoredEmbeddings(db).size();
  EXPECT_GT(stored, 0u);
  EXPECT_LT(stored, expected);
  EXPECT_LE(std::stod(Summary(capped, "cost_usd")), 0.0004 * 1.1);  // the count before sending is an estimate
  const ProcessResult rest = run("10");
  EXPECT_THAT(rest.exit_code, ::testing::AnyOf(0, 3)) << rest.err;
  EXPECT_EQ(StoredEmbeddings(db).size(), expected);
}

TEST_F(CliTest, CtrlCFinishesWhatIsUnderWayAndTheSameCommandGoesOn) {
  const std::string db = MakeSample(2000);
  const auto expected = TakenByOpenAi(db);
  std::atomic<int> answered{0};
  ScriptedServer server([&](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = 512});
    if (++answered > 10) reply.fault = ServerFault::kStall;
    return reply;
  });
  const std::vector<std::string> args = {REEMBED_BINARY,  "run",
                                         "--system",      "agentloop",
                                         "--db",          db,
                                         "--api-base",    server.url() + "/v1",
                                         "--batch-size",  "20",
                                         "--concurrency", "4",
                                         "--job",         folder_ / "job",
                                         "--json"};
  Process run(args);
  server.WaitForStalled(1);
  run.Signal(SIGINT);
  ASSERT_TRUE(run.WaitFor("stopping")) << run.out() << run.err();
  server.ReleaseStalled();
  const ProcessResult stopped = run.Wait();
  EXPECT_EQ(stopped.exit_code, 130) << stopped.err;
  // Everything that was answered is in the database.
  std::set<std::string> bought;
  for (const ServerRequest& request : server.requests()) {
    for (std::string& text : TextsOf(request.body)) bought.insert(std::move(text));
  }
  const auto stored = StoredEmbeddings(db);
  std::set<std::string> stored_texts;
  int64_t could_be_embedded = 0;
  for (const auto& [id, text] : expected) {
    if (stored.contains(id)) stored_texts.insert(text);
    could_be_embedded += bought.contains(text) ? 1 : 0;
  }
  for (const auto& [id, text] : expected) {
    EXPECT_TRUE(!bought.contains(text) || stored_texts.contains(text)) << "bought, not stored: that of row " << id;
  }
  // A row counts as embedded, too, if it has the text of another and its batch was not sent any more.
  const int64_t embedded = std::stoll(Summary(stopped, "rows_embedded"));
  EXPECT_GE(embedded, static_cast<int64_t>(stored.size()));
  EXPECT_LE(embedded, could_be_embedded);
  const int before = server.request_count();
  const ProcessResult rest = RunProcess(args);
  EXPECT_EQ(StoredEmbeddings(db).size(), expected.size()) << rest.err;
  EXPECT_GT(server.request_count(), before);
}

}  // namespace
}  // namespace reembed
