// SPDX-License-Identifier: Apache-2.0
// Rows whose text is edited behind a run: the same command embeds them again, everywhere, and pays once.

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/end_to_end/rollback_cases.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;

class ChangedRowsTest : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(db_).close(); }  // an empty database

  ProcessResult Reembed(std::vector<std::string> args) const {
    return RunClean(REEMBED_BINARY, folder_.path(), std::move(args));
  }

  // A table of `rows` texts, without vectors.
  void MakeNotes(int rows) {
    Change(db_, absl::StrCat("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, v BLOB); WITH RECURSIVE n(i) AS "
                             "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
                             rows, ") INSERT INTO notes SELECT i, 'note number ' || i, NULL FROM n"));
  }

  std::string Source(const std::string& vector = "&vector=v") const {
    return absl::StrCat("sqlite:", db_, "?table=notes&key=id&text=body", vector);
  }

  ProcessResult Do(const std::string& command, const std::vector<std::string>& more = {},
                   const std::string& source = "") const {
    std::vector<std::string> args = {command,
                                     "--source",
                                     source.empty() ? Source() : source,
                                     "--embedder",
                                     "builtin",
                                     "--dimensions",
                                     absl::StrCat(kDim),
                                     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return Reembed(args);
  }

  // Every row that has a text has its vector.
  void ExpectRight() const {
    for (const std::string& row : Query(db_, "SELECT id, body FROM notes WHERE length(body) > 0")) {
      const size_t bar = row.find('|');
      EXPECT_EQ(VectorOf(row.substr(0, bar)), Right(row.substr(bar + 1))) << row;
    }
  }

  std::string VectorOf(const std::string& id) const {
    const std::vector<std::string> rows = Query(db_, "SELECT hex(v) FROM notes WHERE id = " + id);
    return rows.empty() ? "no row" : rows[0];
  }

  // The vector of a text, likewise.
  static std::string Right(const std::string& text) {
    return absl::AsciiStrToUpper(absl::BytesToHexString(ExpectedEmbedding(text, kDim)));
  }

  std::string Job() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "state/reembed/jobs")) {
      return entry.path().string();
    }
    return "";
  }

  TempFolder folder_;
  const std::string db_ = folder_ / "notes.db";
};

TEST_F(ChangedRowsTest, TheSameCommandMendsWhatWasEdited) {
  MakeNotes(50);
  ASSERT_EQ(Do("run").exit_code, 0);
  Change(
      db_,
      "UPDATE notes SET body = 'another text' WHERE id = 7; UPDATE notes SET body = 'note number 9' WHERE id = "
      "11; INSERT INTO notes VALUES (51, 'a new one', NULL), (-3, 'in front', NULL); DELETE FROM notes WHERE id = 20");
  EXPECT_EQ(Reembed({"verify", Job()}).exit_code, 8);
  const ProcessResult plan = Do("plan");
  EXPECT_EQ(LastNumber(plan, "rows_changed"), 2) << plan.out << plan.err;
  EXPECT_EQ(LastNumber(plan, "rows_selected"), 4);
  EXPECT_GT(LastNumber(plan, "bytes_compared"), 500);
  const ProcessResult run = Do("run");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_changed"), 2) << run.out;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 4);
  EXPECT_EQ(LastNumber(run, "texts_embedded"), 3) << "row 9 has the text of row 11 already";
  ExpectRight();
  EXPECT_EQ(VectorOf("20"), "no row");
  const ProcessResult again = Do("run");
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(LastNumber(again, "requests"), 0);
  EXPECT_EQ(LastNumber(again, "rows_changed"), 0);
}

TEST_F(ChangedRowsTest, VerifyIsSatisfiedAfterTheMend) {
  MakeNotes(20);
  ASSERT_EQ(Do("run").exit_code, 0);
  Change(db_, "UPDATE notes SET body = body || '!' WHERE id IN (3, 20)");
  const ProcessResult before = Reembed({"verify", Job()});
  EXPECT_EQ(before.exit_code, 8);
  EXPECT_THAT(before.out, HasSubstr("2 problems"));
  ASSERT_EQ(Do("run").exit_code, 0);
  const ProcessResult after = Reembed({"verify", Job()});
  EXPECT_EQ(after.exit_code, 0) << after.out << after.err;
}

TEST_F(ChangedRowsTest, NoChangedLeavesThem) {
  MakeNotes(20);
  ASSERT_EQ(Do("run").exit_code, 0);
  const std::string old = VectorOf("3");
  Change(db_, "UPDATE notes SET body = 'edited' WHERE id = 3; INSERT INTO notes VALUES (-1, 'new', NULL)");
  EXPECT_EQ(LastNumber(Do("plan", {"--no-changed"}), "rows_changed"), 0);
  const ProcessResult run = Do("run", {"--no-changed"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 1);
  EXPECT_EQ(VectorOf("3"), old);
  EXPECT_EQ(VectorOf("-1"), Right("new"));
  ASSERT_EQ(Do("run").exit_code, 0);
  ExpectRight();
}

TEST_F(ChangedRowsTest, AVectorThatWentIsWrittenAgainAtNoPurchase) {
  MakeNotes(20);
  ASSERT_EQ(Do("run").exit_code, 0);
  Change(db_, "UPDATE notes SET v = NULL WHERE id IN (3, 20)");
  EXPECT_EQ(LastNumber(Do("plan"), "rows_lost"), 2);
  const ProcessResult run = Do("run");
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
  EXPECT_EQ(LastNumber(run, "texts_embedded"), 0);
  ExpectRight();
}

TEST_F(ChangedRowsTest, ATextThatIsNoneAnyMoreIsRejectedAndTakenUpWhenItIsBack) {
  MakeNotes(5);
  ASSERT_EQ(Do("run").exit_code, 0);
  Change(db_, "UPDATE notes SET body = NULL WHERE id = 2; UPDATE notes SET body = '' WHERE id = 3");
  const ProcessResult run = Do("run");
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_rejected"), 2);
  EXPECT_EQ(LastNumber(Do("run"), "rows_changed"), 0) << "it is known";
  Change(db_, "UPDATE notes SET body = 'here again' WHERE id IN (2, 3)");
  const ProcessResult back = Do("run");
  EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
  ExpectRight();
}

TEST_F(ChangedRowsTest, WhetherARunIsForAllRowsIsNoMatterOfTheJob) {
  MakeNotes(10);
  Change(db_, "UPDATE notes SET v = zeroblob(128) WHERE id <= 4");
  ASSERT_EQ(Do("run", {"--mix"}).exit_code, 0);
  const std::string job = Job();
  EXPECT_EQ(VectorOf("4"), std::string(256, '0'));
  // The other four need a yes, once.
  EXPECT_EQ(Do("run", {"--all"}).exit_code, 2);
  const ProcessResult all = Do("run", {"--all", "--yes"});
  EXPECT_EQ(all.exit_code, 0) << all.err;
  EXPECT_EQ(LastNumber(all, "rows_embedded"), 4) << all.out;
  ExpectRight();
  Change(db_, "UPDATE notes SET body = 'edited' WHERE id = 8; INSERT INTO notes VALUES (11, 'new', NULL)");
  const ProcessResult rest = Do("run");
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(LastNumber(rest, "rows_embedded"), 2) << rest.out;
  ExpectRight();
  EXPECT_EQ(LastNumber(Do("run", {"--all"}), "requests"), 0);
  EXPECT_EQ(Job(), job);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / "state/reembed/jobs"), {}), 1);
  EXPECT_EQ(Reembed({"verify", job}).exit_code, 0);
}

TEST_F(ChangedRowsTest, TheHashesOfAnEarlierJobOverThePlaceAreUsed) {
  MakeNotes(30);
  ASSERT_EQ(Do("run").exit_code, 0);
  Change(db_, "UPDATE notes SET body = 'edited' WHERE id IN (5, 6)");
  const std::vector<std::string> other = {"--job", folder_ / "other"};
  EXPECT_EQ(LastNumber(Do("plan", other), "rows_changed"), 2);
  const ProcessResult run = Do("run", other);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_embedded"), 2) << run.out;
  ExpectRight();
  EXPECT_EQ(LastNumber(Do("run", other), "rows_embedded"), 0);
}

TEST_F(ChangedRowsTest, RowsThatCameBetweenOthersAreTakenInEveryOrder) {
  Change(db_, "CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT, v BLOB)");
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 5; ++i) {
      const int id = (round * 7919 + i * 104729) % 1000;
      Change(db_, absl::StrCat("INSERT OR IGNORE INTO notes VALUES ('k", id, "', 'text ", id, "', NULL)"));
    }
    if (round > 0) Change(db_, "UPDATE notes SET body = body || '!' WHERE rowid = 2");
    const ProcessResult run = Do("run", {"--target", absl::StrCat("npy:", folder_ / "out.npy")});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(LastNumber(run, "rows_embedded"), round == 0 ? 5 : 6) << run.out;
    EXPECT_EQ(Reembed({"verify", Job()}).exit_code, 0);
  }
  EXPECT_EQ(Query(db_, "SELECT count(*) FROM notes WHERE v IS NULL")[0], "0");
}

// The edit must not be forgotten when nobody answers just then (samvallad33/vestige#108).
TEST_F(ChangedRowsTest, AnEditIsRememberedWhenTheEmbedderIsAway) {
  MakeNotes(10);
  auto server = EmbeddingServer::Start({.dim = kDim});
  ASSERT_THAT(server, IsOk());
  const auto run = [&](const std::string& url) {
    return Reembed({"run", "--source", Source(), "--api-base", url, "--model", "reembed-lexical-1", "--dimensions",
                    absl::StrCat(kDim), "--job", folder_ / "job", "--max-wait", "0.05", "--json"});
  };
  ASSERT_EQ(run((*server)->base_url()).exit_code, 0);
  Change(db_, "UPDATE notes SET body = 'edited' WHERE id = 4");
  ScriptedServer away([](const ServerRequest&) { return ServerReply{.status = 401, .body = "{}"}; });
  EXPECT_NE(run(away.url() + "/v1").exit_code, 0);
  const ProcessResult later = run((*server)->base_url());
  EXPECT_EQ(later.exit_code, 0) << later.err;
  EXPECT_EQ(LastNumber(later, "texts_embedded"), 1) << later.out;
  ExpectRight();
  EXPECT_EQ(Reembed({"verify", folder_ / "job"}).exit_code, 0);
}

// What is compared is the text that is embedded, not the row (Synaptic-Labs-AI/PACT-Plugin#1469), nor a time
// (gptme/gptme-contrib#1534).
TEST_F(ChangedRowsTest, AnotherColumnOrANewTimeIsNoOtherText) {
  Change(db_,
         "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT, tags TEXT, updated_at TEXT, v BLOB); "
         "INSERT INTO notes VALUES (1, 'a', 'one', 'x', '2026', NULL), (2, 'b', 'two', 'y', '2026', NULL)");
  const std::string source =
      absl::StrCat("sqlite:", db_, "?table=notes&key=id&vector=v&template=", "%7Btitle%7D: %7Bbody%7D");
  ASSERT_EQ(Do("run", {}, source).exit_code, 0);
  Change(db_, "UPDATE notes SET tags = 'z', updated_at = '2027'; UPDATE notes SET body = body");
  const ProcessResult same = Do("run", {}, source);
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_EQ(LastNumber(same, "requests"), 0) << same.out;
  Change(db_, "UPDATE notes SET title = 'c' WHERE id = 2");
  const ProcessResult other = Do("run", {}, source);
  EXPECT_EQ(LastNumber(other, "rows_changed"), 1) << other.out;
  EXPECT_EQ(VectorOf("2"), Right("c: two"));
}

// A complete table must not hide what is stale in it (garrytan/gbrain#4246): the edit came after the vector, and the
// vector has the right width and the right model.
TEST_F(ChangedRowsTest, ARightModelAndACompleteTableHideNothing) {
  MakeNotes(10);
  Change(db_, "ALTER TABLE notes ADD COLUMN model TEXT");
  const std::string source = Source() + "&model_column=model";
  ASSERT_EQ(Do("run", {}, source).exit_code, 0);
  Change(db_, "UPDATE notes SET body = 'edited ' || id WHERE id > 5");
  const ProcessResult run = Do("run", {}, source);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_changed"), 5) << run.out;
  ExpectRight();
}

// Whatever kind a target is, it has the new vector, once.
class ChangedTargetsTest : public ChangedRowsTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(ChangedTargetsTest, FilesAreBuiltAgainFromTheJobsVectors) {
  const std::string lines = folder_ / "rows.jsonl";
  const auto write = [&](const std::string& five, int rows) {
    std::ofstream file(lines, std::ios::trunc);
    for (int i = 0; i < rows; ++i) {
      file << "{\"id\":" << i << ",\"text\":\"" << (i == 5 ? five : absl::StrCat("row ", i)) << "\"}\n";
    }
  };
  const std::string out = folder_ / "out.x";
  const std::vector<std::string> target = {
      "--target", absl::StrCat(GetParam(), ":", out, GetParam() == "faiss" ? "?factory=Flat" : "")};
  const std::string source = "jsonl:" + lines;
  write("row 5", 40);
  const ProcessResult first = Do("run", target, source);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  write("row five, edited", 42);
  EXPECT_EQ(Reembed({"verify", Job()}).exit_code, 8);
  const ProcessResult plan = Do("plan", target, source);
  EXPECT_EQ(LastNumber(plan, "rows_changed"), 1) << plan.out << plan.err;
  const ProcessResult run = Do("run", target, source);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "texts_embedded"), 3) << run.out;
  const ProcessResult verified = Reembed({"verify", Job()});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  EXPECT_FALSE(std::filesystem::exists(out + ".previous")) << "it was our own";
  EXPECT_EQ(LastNumber(Do("run", target, source), "requests"), 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, ChangedTargetsTest, ::testing::Values("npy", "fbin", "hdf5", "jsonl", "faiss"),
                         [](const auto& info) { return info.param; });

TEST_F(ChangedRowsTest, ATableAndAFileGetTheRowAndNothingElseIsWritten) {
  MakeNotes(200);
  const std::vector<std::string> target = {"--target", absl::StrCat("npy:", folder_ / "out.npy")};
  ASSERT_EQ(Do("run", target).exit_code, 0);
  // Whoever writes a row of the table leaves a mark.
  Change(db_,
         "CREATE TABLE touched(id); CREATE TRIGGER t AFTER UPDATE OF v ON notes BEGIN INSERT INTO touched VALUES "
         "(new.id); END; UPDATE notes SET body = 'edited' WHERE id = 100");
  const ProcessResult run = Do("run", target);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "texts_embedded"), 1) << run.out;
  EXPECT_EQ(Query(db_, "SELECT group_concat(id) FROM touched")[0], "100");
  ExpectRight();
  EXPECT_EQ(Reembed({"verify", Job()}).exit_code, 0);
}

TEST_F(ChangedRowsTest, AKillInTheMiddleOfTheMendIsResumedAndPaysOnce) {
  MakeNotes(3000);
  auto server = EmbeddingServer::Start({.dim = kDim});
  ASSERT_THAT(server, IsOk());
  const std::vector<std::string> command = {REEMBED_BINARY,  "run",
                                            "--source",      Source(),
                                            "--target",      absl::StrCat("npy:", folder_ / "out.npy"),
                                            "--api-base",    (*server)->base_url(),
                                            "--model",       "reembed-lexical-1",
                                            "--dimensions",  absl::StrCat(kDim),
                                            "--batch-size",  "8",
                                            "--concurrency", "2",
                                            "--job",         folder_ / "job",
                                            "--json"};
  const ProcessResult first = RunProcess(command);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const std::string undo = RunProcess({REEMBED_BINARY, "status", folder_ / "job"}).out;
  Change(db_, "UPDATE notes SET body = body || ' edited' WHERE id % 2 = 0");
  const int64_t before = (*server)->counts().texts;
  int kills = 0;
  for (int64_t wanted = before + 100; kills < 5; wanted += 250) {
    Process process(command);
    while (process.IsRunning() && (*server)->counts().texts < wanted) usleep(1000);
    if (!process.IsRunning()) break;
    process.Signal(SIGKILL);
    process.Wait();
    ++kills;
  }
  EXPECT_GT(kills, 2);
  const ProcessResult last = RunProcess(command);
  ASSERT_EQ(last.exit_code, 0) << last.out << last.err;
  ExpectRight();
  EXPECT_EQ(RunProcess({REEMBED_BINARY, "verify", folder_ / "job"}).exit_code, 0);
  const int64_t bound = LastNumber(last, "texts_possibly_rebought");
  EXPECT_LE((*server)->counts().texts - before, 1500 + bound + (kills + 1) * 20);
  EXPECT_EQ(LastNumber(RunProcess(command), "texts_embedded"), 0);
}

// Every store where rows are filled in place: mended, and then put back to the very first state.
class ChangedStoresTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ChangedStoresTest, EditedRowsAreMendedAndRollbackKnowsTheFirstState) {
  TempFolder folder;
  const std::string job = folder / "job";
  const std::unique_ptr<RollbackCase> store = MakeRollbackCase(GetParam(), folder);
  const std::string before = store->Dump();
  const auto run = [&] {
    std::vector<std::string> args = {
        REEMBED_BINARY, "run", "--yes", "--embedder", "builtin", "--dimensions", absl::StrCat(RollbackCase::kDim),
        "--job",        job,   "--json"};
    const std::vector<std::string> more = store->Args();
    args.insert(args.end(), more.begin(), more.end());
    return RunProcess(args);
  };
  const ProcessResult first = run();
  ASSERT_THAT(first.exit_code, AnyOf(0, 3)) << first.err;
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", job});
  store->EditTexts(false);
  EXPECT_EQ(RunProcess({REEMBED_BINARY, "verify", job}).exit_code, 8);
  const ProcessResult mend = run();
  ASSERT_EQ(mend.exit_code, first.exit_code) << mend.out << mend.err;
  EXPECT_EQ(LastNumber(mend, "rows_changed"), 3) << mend.out;
  EXPECT_THAT(LastNumber(mend, "texts_embedded"), AllOf(::testing::Ge(1), ::testing::Le(3))) << mend.out;
  const ProcessResult after = RunProcess({REEMBED_BINARY, "verify", job});
  EXPECT_EQ(after.exit_code, verified.exit_code) << after.out << after.err;
  const ProcessResult again = run();
  EXPECT_EQ(LastNumber(again, "rows_changed"), 0) << again.out;
  EXPECT_EQ(LastNumber(again, "texts_embedded"), 0) << again.out;
  store->EditTexts(true);
  const ProcessResult rollback = RunProcess({REEMBED_BINARY, "rollback", job, "--yes"});
  EXPECT_EQ(rollback.exit_code, 0) << rollback.out << rollback.err;
  EXPECT_EQ(store->Difference(before), "");
}

INSTANTIATE_TEST_SUITE_P(Stores, ChangedStoresTest,
                         ::testing::Values("agentloop", "libsql", "memu", "postgres", "postgres_wide", "falkordb",
                                           "automem", "mcp_memory", "mcp_memory_text", "mcp_memory_libsql",
                                           "espressobot", "espressobot_simple"),
                         [](const auto& info) { return info.param; });

TEST_F(ChangedRowsTest, PointsOfQdrantGetTheVectorOfTheirNewText) {
  QdrantServer server;
  server.Do("PUT", "/collections/notes", R"({"vectors":{"size":32,"distance":"Cosine"}})");
  std::string zeros = "[1";
  for (int i = 1; i < kDim; ++i) zeros += ",0";
  std::string points;
  for (int i = 1; i <= 20; ++i) {
    absl::StrAppend(&points, i == 1 ? "" : ",", R"({"id":)", i, R"(,"vector":)", zeros,
                    R"(],"payload":{"content":"point )", i, R"("}})");
  }
  server.Do("PUT", "/collections/notes/points?wait=true", absl::StrCat(R"({"points":[)", points, "]}"));
  const std::string source = absl::StrCat("qdrant:", server.url(), "/notes?text=content");
  const std::vector<std::string> target = {"--target", absl::StrCat("qdrant:", server.url(), "/notes"), "--yes"};
  const ProcessResult first = Do("run", target, source);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  server.Do("PUT", "/collections/notes/points?wait=true",
            absl::StrCat(R"({"points":[{"id":4,"vector":)", zeros, R"(],"payload":{"content":"another text"}}]})"));
  EXPECT_EQ(Reembed({"verify", Job()}).exit_code, 8);
  const ProcessResult run = Do("run", target, source);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(LastNumber(run, "rows_changed"), 1) << run.out;
  EXPECT_EQ(LastNumber(run, "texts_embedded"), 1) << run.out;
  const ProcessResult verified = Reembed({"verify", Job()});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
}

}  // namespace
}  // namespace reembed
