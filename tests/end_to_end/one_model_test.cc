// SPDX-License-Identifier: Apache-2.0
// One column, one model: what the command does where vectors are already, and nobody has recorded who made them.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/text_vector.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 64;

// The bytes of a cell.
std::string BytesOf(const std::vector<float>& vector) {
  return {reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)};
}
std::string Ours(const std::string& text) { return ExpectedEmbedding(text, kDim); }
std::string Another(const std::string& text) { return BytesOf(TextVector("another model: " + text, kDim)); }

std::string TextOf(int id) { return absl::StrCat("note ", id, " is about topic number ", id * 7919 % 1000); }

class OneModelTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream{db()}; }

  // So many notes with the vector that `vector` gives for their text, and behind them so many without.
  void MakeNotes(int with, int without, const std::function<std::string(const std::string&)>& vector) {
    if (!made_) Change(db(), "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB, model TEXT)");
    made_ = true;
    std::string sql = "BEGIN;";
    for (int id = 1; id <= with + without; ++id) {
      absl::StrAppend(&sql, "INSERT INTO notes(id, body, embedding) VALUES (", id, ", '", TextOf(id), "', ",
                      id <= with ? absl::StrCat("x'", absl::BytesToHexString(vector(TextOf(id))), "'") : "NULL", ");");
    }
    Change(db(), sql + "COMMIT");
  }

  std::string Source(const std::string& more = "") {
    return absl::StrCat("sqlite:", db(), "?table=notes&key=id&text=body&vector=embedding", more);
  }
  ProcessResult Command(const std::string& command, const std::vector<std::string>& more = {},
                        const std::string& source = "") {
    std::vector<std::string> args = {command,           "--source", source.empty() ? Source() : source,
                                     "--embedder",      "builtin",  "--dimensions",
                                     absl::StrCat(kDim)};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  }

  std::string Dump() { return absl::StrJoin(Query(db(), "SELECT id, body, hex(embedding) FROM notes"), "\n"); }
  int64_t Jobs() {
    return std::filesystem::exists(folder_ / "state/reembed/jobs")
               ? std::distance(std::filesystem::directory_iterator(folder_ / "state/reembed/jobs"),
                               std::filesystem::directory_iterator())
               : 0;
  }
  std::string db() const { return folder_ / "notes.db"; }

  TempFolder folder_;
  bool made_ = false;
};

TEST_F(OneModelTest, WhereNoRowLacksAVectorItSaysWhatIsThere) {
  MakeNotes(301, 0, Another);
  const std::string before = Dump();
  const std::string words = "no row lacks a vector; 301 have one, of a model that is not recorded; --all replaces them";
  const ProcessResult plan = Command("plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr(words));
  EXPECT_EQ(LastNumber(Command("plan", {"--json"}), "unknown_model_rows"), 301);
  const ProcessResult run = Command("run");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, AllOf(HasSubstr(words), Not(HasSubstr("all 0 rows"))));
  EXPECT_EQ(LastNumber(Command("run", {"--json"}), "unknown_model_rows"), 301);
  EXPECT_EQ(Dump(), before);
}

TEST_F(OneModelTest, NothingIsAddedBesideVectorsOfAnotherModel) {
  MakeNotes(300, 1, Another);
  const std::string before = Dump();
  const ProcessResult plan = Command("plan");
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out,
              HasSubstr("300 rows have vectors of a model that is not recorded; run compares eight of them first"));
  const ProcessResult run = Command("run");
  EXPECT_EQ(run.exit_code, 6) << run.out << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("column embedding holds 300 vectors of a model that is not recorded"),
                             HasSubstr("8 of them were compared"), HasSubstr("another model made them"),
                             HasSubstr("--all"), HasSubstr("--mix"), HasSubstr("8 texts")));
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(Jobs(), 0) << "a job that did not begin leaves nothing behind";

  const ProcessResult mixed = Command("run", {"--mix", "--json"});
  EXPECT_EQ(mixed.exit_code, 0) << mixed.err;
  EXPECT_EQ(LastNumber(mixed, "rows_embedded"), 1);
  EXPECT_EQ(LastNumber(mixed, "sample_compared"), 0);
  EXPECT_THAT(Query(db(), "SELECT hex(embedding) FROM notes WHERE id = 301"),
              ElementsAre(absl::AsciiStrToUpper(absl::BytesToHexString(Ours(TextOf(301))))));
  // Who has mixed once goes on with it, but not with vectors that came later from somewhere else.
  Change(db(), "INSERT INTO notes(id, body) VALUES (302, 'one more')");
  EXPECT_EQ(Command("run").exit_code, 0);
  Change(db(),
         "INSERT INTO notes(id, body, embedding) SELECT 400 + id, body || '!', embedding FROM notes "
         "WHERE id <= 50; INSERT INTO notes(id, body) VALUES (600, 'and one more')");
  EXPECT_EQ(Command("run").exit_code, 6);
}

TEST_F(OneModelTest, TheSameModelIsRecognisedAndPaidForOnce) {
  MakeNotes(300, 2, Ours);
  const ProcessResult run = Command("run", {"--job", folder_ / "job"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("of 8 that were compared 8 are those of reembed-lexical-1"),
                             HasSubstr("a sample, not a proof")));
  EXPECT_THAT(Query(db(), "SELECT hex(embedding) FROM notes WHERE id = 302"),
              ElementsAre(absl::AsciiStrToUpper(absl::BytesToHexString(Ours(TextOf(302))))));
  // The second run of the job knows, and so does its receipt what the comparison cost.
  Change(db(), "INSERT INTO notes(id, body) VALUES (303, 'one more')");
  const ProcessResult second = Command("run", {"--job", folder_ / "job", "--json"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(LastNumber(second, "rows_embedded"), 1);
  EXPECT_EQ(LastNumber(second, "sample_compared"), 0);
  EXPECT_EQ(LastNumber(second, "unknown_model_rows"), 0);
  // Another job over the same table looks again.
  const ProcessResult other = Command("run", {"--job", folder_ / "other", "--json", "--mix"});
  EXPECT_EQ(LastNumber(other, "unknown_model_rows"), 303);
}

TEST_F(OneModelTest, WhatTheComparisonCostIsOnTheBill) {
  MakeNotes(20, 1, Ours);
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  const auto run = [&](std::vector<std::string> more) {
    std::vector<std::string> args = {"run",     "--source", Source(),       "--api-base",       server.url() + "/v1",
                                     "--model", "m",        "--dimensions", absl::StrCat(kDim), "--canary-interval",
                                     "off",     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  };
  const ProcessResult refused = run({});
  EXPECT_EQ(refused.exit_code, 6) << refused.err;
  ASSERT_EQ(server.request_count(), 2) << "the probe, and the comparison";
  EXPECT_EQ(TextsOf(server.requests()[1].body).size(), 8u);
  Change(db(), absl::StrCat("UPDATE notes SET embedding = NULL"));
  for (int id = 1; id <= 20; ++id) {
    Change(db(), absl::StrCat("UPDATE notes SET embedding = x'",
                              absl::BytesToHexString(BytesOf(TextVector(TextOf(id), kDim))), "' WHERE id = ", id));
  }
  const ProcessResult done = run({});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(LastNumber(done, "requests"), 3);
  EXPECT_EQ(LastNumber(done, "sample_compared"), 8);
  EXPECT_EQ(LastNumber(done, "sample_same"), 8);
  EXPECT_EQ(LastNumber(done, "tokens"), 3 * (1 + 8 + 1)) << "three for each text";
}

// text-embedding-3-large and -small both give 512 numbers when asked for them.
TEST_F(OneModelTest, TheSameWidthIsNotTheSameModel) {
  Change(db(), "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, embedding BLOB, model TEXT)");
  for (int id = 1; id <= 12; ++id) {
    const std::string vector = BytesOf(TextVector("small: " + TextOf(id), 512));
    Change(db(), absl::StrCat("INSERT INTO notes(id, body, embedding) VALUES (", id, ", '", TextOf(id), "', ",
                              id == 12 ? "NULL" : absl::StrCat("x'", absl::BytesToHexString(vector), "'"), ")"));
  }
  ScriptedServer server([](const ServerRequest& request) {
    EXPECT_THAT(request.body, HasSubstr("\"dimensions\":512"));
    return OpenAiAnswer(request, {.dim = 512});
  });
  const ProcessResult run = RunClean(REEMBED_BINARY, folder_.path(),
                                     {"run", "--source", Source(), "--api-base", server.url() + "/v1", "--model",
                                      "text-embedding-3-large", "--dimensions", "512"},
                                     {{"OPENAI_API_KEY", "sk-test"}});
  EXPECT_EQ(run.exit_code, 6) << run.out << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("text-embedding-3-large"), HasSubstr("another model made them")));
  EXPECT_THAT(Query(db(), "SELECT count(*) FROM notes WHERE embedding IS NULL"), ElementsAre("1"));
}

TEST_F(OneModelTest, AnotherTemplateIsNamedAsAReason) {
  MakeNotes(40, 1, [](const std::string& text) { return Ours("A note of the archive, category general: " + text); });
  const ProcessResult run = Command("run");
  EXPECT_EQ(run.exit_code, 6) << run.out << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("0 are alike"), HasSubstr("template"), HasSubstr("--input-type"),
                             HasSubstr("cut"), HasSubstr("--mix")));
  // By the recipe that they were made with it is the same model.
  const ProcessResult right =
      Command("run", {"--json"},
              absl::StrCat("sqlite:", db(),
                           "?table=notes&key=id&vector=embedding&template=A note of the archive, category general: "
                           "{body}"));
  EXPECT_EQ(right.exit_code, 0) << right.err;
  EXPECT_EQ(LastNumber(right, "sample_same"), 8);
}

TEST_F(OneModelTest, TwoStaleRowsOfEightAreTextsThatWereEdited) {
  MakeNotes(8, 1, Ours);
  Change(db(),
         "UPDATE notes SET body = 'quite another text' WHERE id = 3; UPDATE notes SET body = 'and one more' "
         "WHERE id = 7");
  const ProcessResult run = Command("run");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("of 8 that were compared 6 are those of"), HasSubstr("edited")));
  Change(db(), "UPDATE notes SET body = 'a third' WHERE id = 5; UPDATE notes SET embedding = NULL WHERE id = 9");
  const ProcessResult again = Command("run", {"--job", folder_ / "other"});
  EXPECT_EQ(again.exit_code, 6) << again.err;
  EXPECT_THAT(again.err, HasSubstr("5 are alike"));
}

// What an earlier job of the same recipe wrote is known, and nothing is compared; what one of another recipe wrote is
// compared, and its name is in the refusal.
TEST_F(OneModelTest, EarlierJobsAreAskedFirst) {
  MakeNotes(0, 40, Ours);
  ASSERT_EQ(Command("run").exit_code, 0);
  Change(db(), "INSERT INTO notes(id, body) VALUES (100, 'one more')");
  const ProcessResult known = Command("run", {"--json", "--job", folder_ / "second"});
  EXPECT_EQ(known.exit_code, 0) << known.err;
  EXPECT_EQ(LastNumber(known, "sample_compared"), 0);
  EXPECT_EQ(LastNumber(known, "rows_embedded"), 1);

  Change(db(), "INSERT INTO notes(id, body) VALUES (101, 'and another')");
  const std::string before = Dump();
  const std::string other = absl::StrCat(
      "sqlite:", db(), "?table=notes&key=id&template=somebody who likes whales wrote down: {body}&vector=embedding");
  const ProcessResult refused = Command("run", {"--job", folder_ / "third"}, other);
  EXPECT_EQ(refused.exit_code, 6) << refused.out << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("an earlier job has written there: "), HasSubstr("64 dimensions")));
  EXPECT_EQ(Dump(), before);
}

TEST_F(OneModelTest, WhoReplacesAllComparesNothing) {
  MakeNotes(300, 2, Another);
  const ProcessResult plan = Command("plan", {"--all"});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, Not(HasSubstr("not recorded")));
  const ProcessResult run = Command("run", {"--all", "--yes", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "sample_compared"), 0);
  for (const int id : {1, 300, 302}) {
    EXPECT_THAT(Query(db(), absl::StrCat("SELECT hex(embedding) FROM notes WHERE id = ", id)),
                ElementsAre(absl::AsciiStrToUpper(absl::BytesToHexString(Ours(TextOf(id))))));
  }
}

// What it has numbered it would go on with, and say that all rows have a vector: some of one model, some of another.
TEST_F(OneModelTest, WhoReplacedAllUntilHeWasStoppedDoesNotGoOnWithoutSayingSo) {
  MakeNotes(300, 0, Another);
  int answers = 4;  // and the one that finds out how wide they are
  ScriptedServer server([&answers](const ServerRequest& request) {
    return answers-- > 0 ? OpenAiAnswer(request, {.dim = kDim})
                         : OpenAiError(401, "invalid_api_key", "invalid_request_error", "no such key");
  });
  const auto run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {
        "run",          "--source",         Source(),       "--api-base", server.url() + "/v1", "--model", "fake",
        "--dimensions", absl::StrCat(kDim), "--batch-size", "16",         "--concurrency",      "1",       "--yes"};
    args.insert(args.end(), more.begin(), more.end());
    return RunClean(REEMBED_BINARY, folder_.path(), args);
  };
  const std::string first = Dump();
  const ProcessResult stopped = run({"--all"});
  ASSERT_EQ(stopped.exit_code, 6) << stopped.out << stopped.err;
  answers = 1000;
  const std::string before = Dump();
  ASSERT_TRUE(before != first) << "nothing was replaced";
  const ProcessResult refused = run({});
  EXPECT_EQ(refused.exit_code, 6) << refused.out << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("of a model that is not recorded"), HasSubstr("use --all to replace them")));
  EXPECT_TRUE(Dump() == before);
  EXPECT_EQ(run({"--all"}).exit_code, 0);
  const std::vector<std::string> old = absl::StrSplit(first, '\n'), now = absl::StrSplit(Dump(), '\n');
  ASSERT_EQ(old.size(), now.size());
  for (size_t i = 0; i < old.size(); ++i) EXPECT_NE(old[i], now[i]);
  EXPECT_EQ(run({}).exit_code, 0) << "it is all of one model now";
}

TEST_F(OneModelTest, WhatAnotherJobHasReplacedSinceIsSaid) {
  MakeNotes(0, 40, Ours);
  ASSERT_EQ(Command("run").exit_code, 0);
  const std::string other = absl::StrCat(
      "sqlite:", db(), "?table=notes&key=id&template=somebody who likes whales wrote down: {body}&vector=embedding");
  ASSERT_EQ(Command("run", {"--all", "--yes"}, other).exit_code, 0);
  const auto expect_it_is_said = [this] {
    const ProcessResult again = Command("run");
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_THAT(again.out, AllOf(HasSubstr("no row lacks a vector; 40 have one, of a model that is not recorded"),
                                 HasSubstr("an earlier job has written there: "), HasSubstr("--all replaces them")));
  };
  expect_it_is_said();
  // A run that bought nothing has put none of its vectors back.
  expect_it_is_said();
  Change(db(), "INSERT INTO notes(id, body) VALUES (100, 'one more')");
  const ProcessResult mixing = Command("run");
  EXPECT_EQ(mixing.exit_code, 6) << mixing.out << mixing.err;
  EXPECT_THAT(mixing.err, HasSubstr("an earlier job has written there: "));
  Change(db(), "DELETE FROM notes WHERE id = 100");
  // As if it had been killed before it could say how far it was.
  for (const auto& job : std::filesystem::directory_iterator(folder_ / "state/reembed/jobs")) {
    const std::string ledger = job.path() / "ledger.db";
    if (Query(ledger, "SELECT value FROM meta WHERE key = 'recipe' AND value LIKE '%whales%'").empty()) continue;
    Change(ledger, "DELETE FROM sinks; DELETE FROM receipts; UPDATE meta SET value = 0 WHERE key = 'clean'");
  }
  expect_it_is_said();
}

TEST_F(OneModelTest, FewerThanThreeUsableRowsDecideNothing) {
  MakeNotes(2, 1, Ours);
  const ProcessResult two = Command("run");
  EXPECT_EQ(two.exit_code, 6) << two.err;
  EXPECT_THAT(two.err, AllOf(HasSubstr("only 2 of them could be compared"), HasSubstr("--mix")));
  EXPECT_EQ(Command("run", {"--mix"}).exit_code, 0);
}

// A placeholder, zeros, numbers that are none, texts that a model may have cut: none of them says anything.
TEST_F(OneModelTest, WhatSaysNothingIsNotCompared) {
  MakeNotes(60, 1, Ours);
  Change(db(),
         "UPDATE notes SET embedding = zeroblob(256) WHERE id % 5 = 0;"
         "UPDATE notes SET embedding = (SELECT embedding FROM notes WHERE id = 1) WHERE id % 5 = 1 AND id <= 60;"
         "UPDATE notes SET body = replace(hex(zeroblob(3000)), '0', 'word ') WHERE id % 5 = 2");
  std::vector<float> nan(kDim, std::nanf(""));
  Change(db(),
         absl::StrCat("UPDATE notes SET embedding = x'", absl::BytesToHexString(BytesOf(nan)), "' WHERE id % 5 = 3"));
  const ProcessResult run = Command("run", {"--json", "--job", folder_ / "job"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "sample_compared"), 8);
  EXPECT_EQ(LastNumber(run, "sample_same"), 8);
}

TEST_F(OneModelTest, OnlyTheSelectionIsLookedAt) {
  MakeNotes(100, 100, Another);
  const ProcessResult run = Command("run", {"--where", "id > 100", "--json"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 100);
  EXPECT_EQ(LastNumber(run, "sample_compared"), 0);
}

TEST_F(OneModelTest, WithoutATextToEmbedNothingIsCompared) {
  MakeNotes(100, 1, Another);
  Change(db(), "UPDATE notes SET body = NULL WHERE id = 101");
  const ProcessResult run = Command("run", {"--json"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_rejected"), 1);
}

TEST_F(OneModelTest, AModelColumnThatNamesTheModelIsBelieved) {
  MakeNotes(100, 1, Another);
  const std::string source = Source("&model_column=model");
  Change(db(), "UPDATE notes SET model = 'reembed-lexical-1:latest' WHERE embedding IS NOT NULL");
  const ProcessResult run = Command("run", {"--json"}, source);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "sample_compared"), 0);
  Change(db(), "UPDATE notes SET model = 'm2' WHERE id = 7; UPDATE notes SET embedding = NULL WHERE id = 101");
  const ProcessResult other = Command("run", {"--job", folder_ / "other"}, source);
  EXPECT_EQ(other.exit_code, 6);
  EXPECT_THAT(other.err, AllOf(HasSubstr("1 vector of the model m2"), HasSubstr("--mix")));
  EXPECT_EQ(Command("run", {"--job", folder_ / "other", "--mix"}, source).exit_code, 0);
  // Some without a name are compared like those of a table without such a column.
  Change(db(),
         "UPDATE notes SET model = NULL WHERE id > 50; UPDATE notes SET model = 'reembed-lexical-1' WHERE id = 7; "
         "UPDATE notes SET embedding = NULL WHERE id = 101");
  const ProcessResult unnamed = Command("run", {"--job", folder_ / "third"}, source);
  EXPECT_EQ(unnamed.exit_code, 6);
  EXPECT_THAT(unnamed.err, HasSubstr("50 vectors of a model that is not recorded"));
}

TEST_F(OneModelTest, RowsWithoutAVectorOfTheWidthCountForNoModel) {
  MakeNotes(20, 200, Ours);
  Change(db(),
         "UPDATE notes SET model = 'reembed-lexical-1' WHERE embedding IS NOT NULL;"
         "UPDATE notes SET model = 'm2', embedding = x'' WHERE id = 30;"
         "UPDATE notes SET model = 'm2', embedding = zeroblob(12) WHERE id = 31");
  const ProcessResult run = Command("run", {}, Source("&model_column=model"));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(Query(db(), "SELECT count(*), count(DISTINCT model) FROM notes WHERE length(embedding) = 256"),
              ElementsAre("220|1"));
  // In a column with hardly anything else, too.
  Change(db(),
         "UPDATE notes SET embedding = NULL, model = NULL; UPDATE notes SET model = 'm2', embedding = zeroblob(12) "
         "WHERE id = 31");
  const ProcessResult alone = Command("run", {"--job", folder_ / "job"}, Source("&model_column=model"));
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
}

}  // namespace
}  // namespace reembed
