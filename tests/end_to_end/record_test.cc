// SPDX-License-Identifier: Apache-2.0
// run --record: the receipt of a job becomes one memory of AutoMem, with the vector of its own text.

#include <poll.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/text/lexical_embedder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/automem.h"
#include "tests/fakes/clean_command.h"
#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pointwise;

constexpr int kDim = 64;
constexpr int kWider = 96;
constexpr int kKills = 8;
constexpr char kRecords[] = "MATCH (m:Memory) WHERE 'migration' IN m.tags AND 'config' IN m.tags RETURN m.id";

class RecordTest : public ::testing::Test {
 protected:
  void SetUp() override {
    graph_.Command({"CONFIG", "SET", "maxmemory", "0"});
    StartEmbedder(kDim);
  }

  void StartEmbedder(int dim) {
    auto server = EmbeddingServer::Start({.dim = dim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
  }

  std::vector<std::string> Args(const std::string& command, const std::vector<std::string>& more, int dim) const {
    const std::string uri = graph_.Uri("", "memories");
    std::vector<std::string> args = {command,
                                     "--system",
                                     "automem",
                                     "--db",
                                     uri.substr(0, uri.find('?')),
                                     "--target",
                                     absl::StrCat("qdrant:", qdrant_.url(), "/memories"),
                                     "--api-base",
                                     embedder_->base_url(),
                                     "--model",
                                     kLexicalModelName,
                                     "--dimensions",
                                     absl::StrCat(dim),
                                     "--job",
                                     job_,
                                     "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  ProcessResult Run(const std::vector<std::string>& more, const std::string& command = "run", int dim = kDim) {
    return RunClean(REEMBED_BINARY, folder_.path(), Args(command, more, dim));
  }
  ProcessResult Command(const std::vector<std::string>& args) { return RunClean(REEMBED_BINARY, folder_.path(), args); }

  std::vector<std::string> Records() {
    return absl::StrSplit(graph_.Ask(kRecords, "memories"), '\n', absl::SkipEmpty());
  }

  // There is one, it is whole, and its point has the vector of its text and the payload of a memory.
  void ExpectOneRecord(int dim = kDim) {
    const std::vector<std::string> ids = Records();
    ASSERT_EQ(ids.size(), 1u);
    const std::string of = absl::StrCat("MATCH (m:Memory {id: '", ids[0], "'}) RETURN ");
    const std::string text = graph_.Ask(of + "m.content", "memories");
    const auto points = qdrant_.Points("memories");
    ASSERT_EQ(points.count(ids[0]), 1u) << "it has no vector";
    std::vector<float> wanted(static_cast<size_t>(dim));
    EmbedLexically(text, absl::MakeSpan(wanted));
    EXPECT_THAT(points.at(ids[0]).vectors.at(""), Pointwise(FloatNear(1e-6f), wanted));
    const std::map<std::string, std::string>& payload = points.at(ids[0]).payload;
    EXPECT_THAT(payload.at("content"), HasSubstr(text));
    EXPECT_EQ(payload.at("importance"), "0.8");
    EXPECT_EQ(payload.at("tags"), R"(["migration","config","embeddings"])");
    EXPECT_EQ(payload.at("tag_prefixes"), payload.at("tags"));
    EXPECT_EQ(payload.at("type"), R"("Context")");
    EXPECT_THAT(payload.at("metadata"), AllOf(HasSubstr("\"requests\":"), HasSubstr("\"cost_usd\":"),
                                              HasSubstr(absl::StrCat("\"dimensions\":", dim)),
                                              HasSubstr(embedder_->base_url()), HasSubstr("\"switched\":\"2")));
    EXPECT_EQ(graph_.Ask(of + "m.timestamp = m.t_valid AND m.timestamp ENDS WITH '+00:00' AND m.processed = false",
                         "memories"),
              "true");
    EXPECT_THAT(text, AllOf(HasSubstr(kLexicalModelName), HasSubstr(absl::StrCat(dim, " dimensions")),
                            HasSubstr("requests"), HasSubstr(" UTC.")));
    EXPECT_LT(text.size(), 500u) << "the server would shorten it";
  }

  // Everything else is as without a record.
  void ExpectRight(const AutomemStore& store, AutomemRun run, int dim = kDim) {
    auto points = qdrant_.Points("memories");
    for (const std::string& id : Records()) points.erase(id);
    const AutomemCheck check = CheckAutomem(store, points, dim, run);
    EXPECT_EQ(check.right, check.needed);
    EXPECT_EQ(check.changed, 0) << check.first_problem;
  }

  TempFolder folder_;
  FalkorServer& graph_ = TestFalkor();
  QdrantServer qdrant_;
  std::unique_ptr<EmbeddingServer> embedder_;
  std::string job_ = folder_ / "job";
};

TEST_F(RecordTest, IsOneMemoryWithItsOwnVectorHoweverOftenTheCommandIsGiven) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 400, .dim = kDim});
  EXPECT_THAT(RunClean(REEMBED_BINARY, folder_.path(),
                       [&] {
                         auto args = Args("plan", {"--record"}, kDim);
                         args.erase(std::find(args.begin(), args.end(), "--json"));
                         return args;
                       }())
                  .out,
              HasSubstr("one memory with the job's receipt"));
  const ProcessResult run = Run({"--record"});
  ASSERT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectOneRecord();
  ExpectRight(store, AutomemRun::kInPlace);
  EXPECT_THAT(run.out, HasSubstr(absl::StrCat("\"memory\":\"", Records().at(0), "\"")));
  EXPECT_THAT(graph_.Ask("MATCH (m:Memory) WHERE 'migration' IN m.tags RETURN m.content", "memories"),
              HasSubstr(absl::StrCat("Embedded ", store.needed, " memories")));

  const int64_t requests = embedder_->counts().requests;
  for (int i = 0; i < 2; ++i) {
    const ProcessResult again = Run({"--record"});
    EXPECT_EQ(again.exit_code, 3) << again.err;
    EXPECT_THAT(again.out, Not(HasSubstr("\"memory\"")));
  }
  EXPECT_EQ(embedder_->counts().requests, requests) << "something was bought again";
  ExpectOneRecord();
  const ProcessResult verify = Command({"verify", job_});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  const ProcessResult status = Command({"status", job_, "--json"});
  EXPECT_EQ(LastNumber(status, "rows_embedded"), 0) << "of the last run";
  EXPECT_THAT(status.out, HasSubstr(absl::StrCat("\"rows_embedded\":", store.needed + 1))) << "and the record";
}

TEST_F(RecordTest, IsInTheNewCollectionOfAnotherWidth) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 300, .dim = kDim});
  StartEmbedder(kWider);
  const std::vector<std::string> args = {"--all", "--yes", "--record"};
  const ProcessResult run = Run(args, "run", kWider);
  ASSERT_EQ(run.exit_code, 3) << run.out << run.err;
  ExpectOneRecord(kWider);
  EXPECT_THAT(qdrant_.Collections(), ElementsAre("memories", "memories__before_64"));
  EXPECT_THAT(graph_.Ask("MATCH (m:Memory) WHERE 'migration' IN m.tags RETURN m.content", "memories"),
              HasSubstr("Re-embedded"));
  const int64_t requests = embedder_->counts().requests;
  EXPECT_EQ(Run(args, "run", kWider).exit_code, 3);
  EXPECT_EQ(embedder_->counts().requests, requests);
  ExpectOneRecord(kWider);
  const ProcessResult verify = Command({"verify", job_});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
  // The way back knows of it, too.
  const ProcessResult rollback = Command({"rollback", job_, "--yes"});
  EXPECT_EQ(rollback.exit_code, 0) << rollback.out << rollback.err;
  EXPECT_EQ(qdrant_.Dim("memories"), kDim);
  EXPECT_TRUE(IsCopyOfAutomem(store, qdrant_.Points("memories")));
}

TEST_F(RecordTest, AJobThatIsDoneGetsItsReceiptLater) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 60, .dim = kDim});
  // It is in every target of the job.
  const std::string npy = folder_ / "rows.npy", faiss = folder_ / "rows.faiss";
  const std::vector<std::string> targets = {"--target", "npy:" + npy, "--target", "faiss:" + faiss + "?factory=Flat"};
  ASSERT_EQ(Run(targets).exit_code, 3);
  EXPECT_THAT(Records(), IsEmpty());
  EXPECT_EQ(std::filesystem::file_size(npy), 128u + static_cast<uint64_t>(store.needed) * kDim * sizeof(float));
  const int64_t texts = embedder_->counts().texts;
  std::vector<std::string> with_record = targets;
  with_record.push_back("--record");
  const ProcessResult later = Run(with_record);
  ASSERT_EQ(later.exit_code, 3) << later.err;
  ExpectOneRecord();
  EXPECT_EQ(embedder_->counts().texts, texts + 5 + 1) << "the canary's, and that of the record";
  EXPECT_EQ(std::filesystem::file_size(npy), 128u + static_cast<uint64_t>(store.needed + 1) * kDim * sizeof(float));
  const ProcessResult verify = Command({"verify", job_});
  EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

TEST_F(RecordTest, WhatKeepsItFromBeingStoredTakesNothingFromTheRun) {
  const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 200, .dim = kDim});
  // The graph takes no change, and is read as before.
  graph_.Command({"CONFIG", "SET", "maxmemory", "1"});
  const ProcessResult run = Run({"--record"});
  EXPECT_EQ(run.exit_code, 5) << run.out << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("the receipt is not stored"), HasSubstr("same command again")));
  graph_.Command({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_THAT(Records(), IsEmpty());
  ExpectRight(store, AutomemRun::kInPlace);
  // Nor does a collection that refuses its point.
  qdrant_.FailNext(1, 400, [](const std::string& method, const std::string& path) {
    return method == "PUT" && absl::StrContains(path, "/memories/points");
  });
  const ProcessResult refused = Run({"--record"});
  EXPECT_EQ(refused.exit_code, 5) << refused.out << refused.err;
  EXPECT_THAT(refused.err, AllOf(HasSubstr("the receipt is not stored"), Not(HasSubstr("behind this run"))));
  ExpectRight(store, AutomemRun::kInPlace);
  const int64_t texts = embedder_->counts().texts;
  const ProcessResult again = Run({"--record"});
  EXPECT_EQ(again.exit_code, 3) << again.out << again.err;
  ExpectOneRecord();
  ExpectRight(store, AutomemRun::kInPlace);
  EXPECT_EQ(embedder_->counts().texts, texts) << "its vector was bought already";
}

TEST_F(RecordTest, KilledAtAnyMomentThereIsOneInTheEnd) {
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  int64_t whole_run = 0;
  int killed = 0;
  for (int i = 0; i <= kKills; ++i) {
    const AutomemStore store = MakeAutomem(&graph_, &qdrant_, {.rows = 60, .dim = kDim, .seed = seed % 1000 + 1});
    job_ = folder_ / absl::StrCat("job", i);
    // What is killed is a run that has nothing else to do.
    const ProcessResult before = Run({});
    // Whether there is a memory without text is up to the seed.
    ASSERT_THAT(before.exit_code, ::testing::AnyOf(0, 3)) << before.err;
    std::vector<std::string> args = Args("run", {"--record"}, kDim);
    args.insert(args.begin(), REEMBED_BINARY);
    const auto start = std::chrono::steady_clock::now();
    const std::map<std::string, std::string> clean = {{"HOME", folder_.path()}, {"OPENAI_API_KEY", ""}};
    Process process(args, clean);
    if (i > 0) {
      const auto deadline = start + std::chrono::milliseconds(random() % static_cast<uint64_t>(whole_run));
      pollfd none{.fd = -1, .events = 0, .revents = 0};
      while (process.IsRunning() && std::chrono::steady_clock::now() < deadline) poll(&none, 1, 1);
      process.Signal(SIGKILL);
    }
    killed += process.Wait().signal == SIGKILL ? 1 : 0;
    if (i == 0) {
      whole_run =
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
    }
    const ProcessResult again = Run({"--record"});
    ASSERT_EQ(again.exit_code, before.exit_code) << again.out << again.err;
    ExpectOneRecord();
    ExpectRight(store, AutomemRun::kInPlace);
  }
  EXPECT_GT(killed, 0) << "no kill came in time";
}

TEST_F(RecordTest, IsRefusedBeforeAnythingIsBought) {
  MakeAutomem(&graph_, &qdrant_, {.rows = 40, .dim = kDim});
  for (const auto& [flag, value] :
       {std::pair("--limit", "5"), std::pair("--where", "n.importance <> 0.8"), std::pair("--resume-from", "5")}) {
    const ProcessResult part = Run({"--record", flag, value});
    EXPECT_EQ(part.exit_code, 2) << flag;
    EXPECT_THAT(part.err, HasSubstr("--record: not with --limit, --where or --resume-from"));
  }
  const std::string db = folder_ / "memory.db";
  ASSERT_EQ(Command({"systems", "agentloop", "--make-sample", db, "--rows", "20"}).exit_code, 0);
  const ProcessResult none = Command({"run", "--system", "agentloop", "--db", db, "--record", "--api-base",
                                      embedder_->base_url(), "--model", kLexicalModelName});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, AllOf(HasSubstr("only AutoMem"), HasSubstr("reembed status")));
  EXPECT_EQ(embedder_->counts().requests, 0);
  EXPECT_FALSE(std::filesystem::exists(job_));
}

}  // namespace
}  // namespace reembed
