// SPDX-License-Identifier: Apache-2.0
// The command against a real FalkorDB: in place, twice, with a change of the width, and what mistakes cost.

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "io/store/falkordb/falkordb_reader.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;
constexpr int kNodes = 20000;
constexpr char kPlace[] = "label=Memory&key=id&text=content&vector=embedding&model_property=model";

class FalkorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
    // As many as the server gives in one answer by default in some installations; there are twice as many nodes.
    server_.Command({"GRAPH.CONFIG", "SET", "RESULTSET_SIZE", "10000"});
  }

  // Every tenth node has no text.
  void MakeNodes(int nodes = kNodes) {
    server_.Run(absl::StrCat("UNWIND range(0,", nodes - 1,
                             ") AS i CREATE (:Memory {id: 'm' + i, content: CASE i % 10 WHEN 0 THEN NULL WHEN 5 THEN "
                             "'' ELSE 'memory ' + i % 7000 END, importance: 0.5, tags: ['a', 'b' + i]})-[:NEXT {w: "
                             "i}]->(:Other {content: 'not asked for'})"));
    server_.Run("CREATE INDEX FOR (n:Memory) ON (n.id)");
    others_ = Others();
  }

  // What is none of our business, as one number for each part.
  std::string Others() {
    return server_.Ask(
               "MATCH (n:Memory) WITH n ORDER BY n.id WITH collect(n.id + '=' + coalesce(n.content, 'NULL') + "
               "n.importance + n.tags[0] + n.tags[1]) AS l RETURN size(l), l[0], l[9999], reduce(s = '', x IN l | s + "
               "x)") +
           server_.Ask("MATCH (n:Other) RETURN count(n), max(size(keys(n)))") +
           server_.Ask("MATCH ()-[e:NEXT]->() RETURN count(e), sum(e.w)");
  }

  std::vector<std::string> Command(const std::string& verb, const std::string& place = kPlace,
                                   const std::vector<std::string>& more = {}) const {
    return CommandAt(verb, server_.Uri(place), more);
  }

  std::vector<std::string> CommandAt(const std::string& verb, const std::string& source,
                                     const std::vector<std::string>& more = {}) const {
    std::vector<std::string> args = {REEMBED_BINARY,  verb,
                                     "--source",      source,
                                     "--api-base",    embedder_->base_url(),
                                     "--model",       "reembed-lexical-1",
                                     "--dimensions",  absl::StrCat(kDim),
                                     "--batch-size",  "64",
                                     "--concurrency", "4",
                                     "--job",         folder_ / "job"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  // The probe and the canary, and every text once.
  int64_t Texts() {
    return 1 + static_cast<int64_t>(CanaryTexts().size()) +
           std::stoll(server_.Ask("MATCH (n:Memory) WHERE n.content <> '' RETURN count(DISTINCT n.content)"));
  }

  void ExpectComplete(const std::string& property = "embedding") {
    EXPECT_EQ(Others() == others_, true) << "something else has changed";
    auto reader = OpenFalkorReader(server_.At("label=Memory&key=id&vector=" + property), kDim);
    ASSERT_THAT(reader, IsOk());
    int64_t read = 0;
    while (true) {
      const auto row = (*reader)->Next();
      ASSERT_THAT(row, IsOk());
      if (!row->has_value()) break;
      ++read;
      const int number = std::stoi(KeyText((*row)->key).substr(1));
      const std::string wanted = ExpectedEmbedding(absl::StrCat("memory ", number % 7000), kDim);
      ASSERT_EQ(std::memcmp((*row)->vector.data(), wanted.data(), wanted.size()), 0) << number;
    }
    EXPECT_EQ(absl::StrCat(read),
              server_.Ask("MATCH (n:Memory) WHERE n.content <> '' AND n.model = 'reembed-lexical-1' RETURN count(n)"));
    EXPECT_EQ(server_.Ask(absl::StrCat("MATCH (n) WHERE coalesce(n.content, '') = '' AND n.", property,
                                       " IS NOT NULL RETURN count(n)")),
              "0");
  }

  FalkorServer server_;  // of each test, as it reads its file again when it starts
  TempFolder folder_;
  std::string others_;
  std::unique_ptr<EmbeddingServer> embedder_;
};

TEST_F(FalkorTest, FillsNodesInPlaceAndPaysOnce) {
  MakeNodes();
  const ProcessResult plan = RunProcess(Command("plan"));
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("20,000"));
  EXPECT_EQ(server_.Ask("MATCH (n:Memory) WHERE n.embedding IS NOT NULL RETURN count(n)"), "0");
  const ProcessResult run = RunProcess(Command("run"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;  // nodes without a text are rejected
  ExpectComplete();
  EXPECT_EQ(embedder_->counts().texts, Texts());
  const int64_t requests = embedder_->counts().requests;
  EXPECT_EQ(RunProcess(Command("run")).exit_code, 3);
  EXPECT_EQ(embedder_->counts().requests, requests) << "a finished job asked again";
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  server_.Run(
      "MATCH (a:Memory {id: 'm4'}), (b:Memory {id: 'm1234'}) SET a.embedding = NULL WITH a, b SET a.embedding = "
      "b.embedding");
  const ProcessResult foreign = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(foreign.exit_code, 8) << foreign.out << foreign.err;
  EXPECT_THAT(foreign.out, HasSubstr("row m4: holds another vector"));
}

TEST_F(FalkorTest, AllReplacesVectorsOfTheSameWidth) {
  MakeNodes(2000);
  std::string old = "[0.5";
  for (int i = 1; i < kDim; ++i) old += ",0.25";
  server_.Run(absl::StrCat("MATCH (n:Memory) WHERE n.content <> '' SET n.embedding = vecf32(", old, "])"));
  const ProcessResult asked = RunProcess(Command("run", kPlace, {"--all"}));
  EXPECT_EQ(asked.exit_code, 2) << asked.out << asked.err;
  EXPECT_THAT(asked.err, HasSubstr("--all replaces 1,600 vectors"));
  EXPECT_EQ(embedder_->counts().requests, 0);
  const ProcessResult run = RunProcess(Command("run", kPlace, {"--all", "--yes"}));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectComplete();
}

TEST_F(FalkorTest, AnotherWidthIsRefusedAndGoesIntoAnotherProperty) {
  MakeNodes(2000);
  server_.Run("MATCH (n:Memory) SET n.embedding = vecf32([1.0, 2.0, 3.0])");
  server_.Run(
      "CREATE VECTOR INDEX FOR (n:Memory) ON (n.embedding) OPTIONS {dimension: 3, similarityFunction: 'cosine'}");
  others_ = Others();
  const ProcessResult mixed = RunProcess(Command("run"));
  EXPECT_EQ(mixed.exit_code, 6) << mixed.out << mixed.err;
  EXPECT_THAT(mixed.err, HasSubstr("not 32"));
  const ProcessResult indexed = RunProcess(Command("run", kPlace, {"--all", "--yes"}));
  EXPECT_EQ(indexed.exit_code, 6) << indexed.out << indexed.err;
  EXPECT_THAT(indexed.err, HasSubstr("DROP VECTOR INDEX FOR (n:`Memory`) ON (n.`embedding`)"));
  EXPECT_EQ(embedder_->counts().requests, 0) << "before anything was paid";
  const ProcessResult run = RunProcess(
      Command("run", "label=Memory&key=id&text=content&vector=embedding_32&model_property=model&index=cosine"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectComplete("embedding_32");
  EXPECT_EQ(server_.Ask("MATCH (n:Memory) WHERE n.embedding = vecf32([1.0, 2.0, 3.0]) RETURN count(n)"), "2000");
  const ProcessResult found = RunProcess({REEMBED_BINARY, "search", "memory 1234", "--target",
                                          server_.Uri("label=Memory&key=id&vector=embedding_32"), "--source",
                                          server_.Uri("label=Memory&key=id&text=content"), "--api-base",
                                          embedder_->base_url(), "--model", "reembed-lexical-1"});
  EXPECT_EQ(found.exit_code, 0) << found.err;
  EXPECT_THAT(found.out, HasSubstr("memory 1234"));
}

TEST_F(FalkorTest, MistakesCostNothing) {
  MakeNodes(20);
  server_.Run("MATCH (n:Memory) SET n.twice = 1, n.title = CASE n.id WHEN 'm1' THEN NULL ELSE 'title' END");
  for (const auto& [source, message] : std::vector<std::pair<std::string, std::string>>{
           {server_.Uri("label=Memorie&key=id&text=content&vector=v"), "did you mean `Memory`?"},
           {server_.Uri("label=Memory&key=ids&text=content&vector=v"), "did you mean `id`?"},
           {server_.Uri("label=Memory&key=id&text=contnet&vector=v"), "did you mean `content`?"},
           {server_.Uri("label=Memory&key=id&text=content&vector=v&indx=cosine"), "did you mean `index`?"},
           {server_.Uri("label=Memory&key=id&text=content&vector=content"), "is where the texts are"},
           {server_.Uri("label=Memory&key=id&text=content&vector=id"), "is another property too"},
           {server_.Uri("label=Memory&key=id&text=content&vector=title"), "19 values that are no vectors"},
           {server_.Uri("label=Memory&key=twice&text=content&vector=v"), "20 nodes `Memory` have the key 1"},
           {server_.Uri("label=Memory&text=content&vector=v"), "no key"},
           {server_.Uri(kPlace, "h"), "no graph `h`"},
           {server_.Uri(kPlace, ""), "no graph"},
           {absl::StrCat("redis", server_.Uri(kPlace).substr(8)),
            "`redis` is no source; these are: sqlite, libsql, postgres"},
           {"falkordb://127.0.0.1:1/g?label=M&key=id&text=c&vector=v", "is the server running"}}) {
    const ProcessResult run = RunProcess(CommandAt("run", source));
    EXPECT_NE(run.exit_code, 0) << source;
    EXPECT_THAT(run.err, HasSubstr(message)) << source;
  }
  EXPECT_EQ(embedder_->counts().requests, 0);
  EXPECT_EQ(Others() == others_, true);
}

TEST_F(FalkorTest, ThePasswordIsWantedAndShownNowhere) {
  FalkorServer locked({.password = "pass word"});
  locked.Run("CREATE (:Memory {id: 'a', content: 'memory 1'})");
  const std::vector<std::string> command = CommandAt("run", locked.Uri(kPlace));
  const ProcessResult without = RunProcess(command, {{"FALKORDB_PASSWORD", ""}});
  EXPECT_EQ(without.exit_code, 6) << without.err;
  EXPECT_THAT(without.err, HasSubstr("FALKORDB_PASSWORD"));
  const ProcessResult wrong = RunProcess(command, {{"FALKORDB_PASSWORD", "s3cr3t"}});
  EXPECT_EQ(wrong.exit_code, 6) << wrong.err;
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("password"), Not(HasSubstr("s3cr3t"))));
  EXPECT_EQ(embedder_->counts().requests, 0);
  const ProcessResult run = RunProcess(command, {{"FALKORDB_PASSWORD", "pass word"}});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(locked.Ask("MATCH (n:Memory) WHERE n.embedding IS NOT NULL RETURN count(n)"), "1");
  EXPECT_EQ(RunProcess({"/bin/grep", "-r", "pass word", folder_.path()}).exit_code, 1);
}

TEST_F(FalkorTest, GoesOnThroughARestartOfTheServer) {
  MakeNodes(2000);
  Process process(Command("run"));
  while (process.IsRunning() && embedder_->counts().texts < 300) {
  }
  ASSERT_TRUE(process.IsRunning()) << "too fast for this test";
  server_.Stop();
  server_.Start();
  const ProcessResult run = process.Wait();
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectComplete();
  EXPECT_EQ(embedder_->counts().texts, Texts());
}

}  // namespace
}  // namespace reembed
