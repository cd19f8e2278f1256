// SPDX-License-Identifier: Apache-2.0
// The command against a Qdrant server: a collection's own points again, another width, mistakes, and a restart.

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/qdrant_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr int kOldDim = 8;
constexpr int kDim = 32;
constexpr int kPoints = 20000;
constexpr int kWithText = kPoints - kPoints / 10;

std::string IdOf(int i) {
  return i % 2 == 0 ? absl::StrCat(i)
                    : absl::StrCat("\"00000000-0000-4000-8000-", absl::Hex(i, absl::kZeroPad12), "\"");
}

class QdrantTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = EmbeddingServer::Start({.dim = kDim});
    ASSERT_THAT(server, IsOk());
    embedder_ = *std::move(server);
  }

  // Every tenth point has no text.
  void Fill(int dim, int points = kPoints) {
    qdrant_.Do("PUT", "/collections/memories",
               absl::StrCat(R"({"vectors":{"size":)", dim, R"(,"distance":"Cosine"}})"));
    std::string vector = "[1";
    for (int i = 1; i < dim; ++i) vector += ",0";
    for (int begin = 0; begin < points; begin += 2000) {
      std::string body = R"({"points":[)";
      for (int i = begin; i < begin + 2000 && i < points; ++i) {
        absl::StrAppend(&body, i == begin ? "" : ",", R"({"id":)", IdOf(i), R"(,"vector":)", vector,
                        R"(],"payload":{"archived":)", i % 3 == 0 ? "true" : "false", R"(,"relevance_score":0.)", i,
                        i % 10 == 9 ? "" : absl::StrCat(R"(,"content":"memory )", i % 7000, R"( \u20ac")"), "}}");
      }
      qdrant_.Do("PUT", "/collections/memories/points?wait=true", body + "]}");
    }
    before_ = qdrant_.Points("memories");
  }

  std::vector<std::string> Command(const std::string& verb, const std::string& more = "") const {
    const std::string place = absl::StrCat("qdrant:", qdrant_.url(), "/memories");
    return {REEMBED_BINARY, verb,
            "--source",     place,
            "--target",     place + more,
            "--api-base",   embedder_->base_url(),
            "--model",      "reembed-lexical-1",
            "--dimensions", absl::StrCat(kDim),
            "--job",        folder_ / "job"};
  }

  // Points with text have a new vector, and no payload has changed.
  void ExpectDone(bool all_points) {
    const auto after = qdrant_.Points("memories");
    EXPECT_EQ(after.size(), all_points ? before_.size() : static_cast<size_t>(kWithText));
    int changed = 0;
    for (const auto& [id, point] : after) {
      const QdrantServer::Point& old = before_.at(id);
      ASSERT_EQ(point.payload, old.payload) << id;
      if (point.vectors != old.vectors) ++changed;
    }
    EXPECT_EQ(changed, kWithText);
  }

  TempFolder folder_;
  QdrantServer qdrant_;
  std::unique_ptr<EmbeddingServer> embedder_;
  std::map<std::string, QdrantServer::Point> before_;
};

TEST_F(QdrantTest, GivesACollectionsOwnPointsNewVectorsAndPaysOnce) {
  Fill(kDim);
  const ProcessResult plan = RunProcess(Command("plan"));
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("20,000"));
  EXPECT_EQ(qdrant_.Points("memories"), before_);
  const ProcessResult run = RunProcess(Command("run"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;  // points without text are rejected
  ExpectDone(true);
  const int64_t bought = embedder_->counts().texts;
  EXPECT_EQ(RunProcess(Command("run")).exit_code, 3);
  EXPECT_EQ(embedder_->counts().texts, bought) << "a finished job bought again";
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  std::string foreign = "[0";
  for (int i = 1; i < kDim; ++i) foreign += i == 3 ? ",1" : ",0";
  qdrant_.Do("PUT", "/collections/memories/points/vectors?wait=true",
             absl::StrCat(R"({"points":[{"id":4,"vector":)", foreign, "]}]}"));
  const ProcessResult wrong = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_EQ(wrong.exit_code, 8) << wrong.out << wrong.err;
  EXPECT_THAT(wrong.out, HasSubstr("row 4: holds another vector"));
}

TEST_F(QdrantTest, AnotherWidthIsRefusedOrBuiltBeside) {
  Fill(kOldDim);
  const ProcessResult refused = RunProcess(Command("run"));
  EXPECT_EQ(refused.exit_code, 6) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("on_width=side"));
  EXPECT_EQ(embedder_->counts().texts, 0);
  const ProcessResult plan = RunProcess(Command("plan", "?on_width=side"));
  EXPECT_THAT(plan.out, AllOf(HasSubstr("memories__reembed_32"), HasSubstr("memories__before_8"))) << plan.err;
  EXPECT_THAT(qdrant_.Collections(), UnorderedElementsAre("memories"));
  const ProcessResult run = RunProcess(Command("run", "?on_width=side"));
  EXPECT_EQ(run.exit_code, 3) << run.out << run.err;
  EXPECT_THAT(qdrant_.Collections(), UnorderedElementsAre("memories", "memories__before_8"));
  EXPECT_EQ(qdrant_.Dim("memories"), kDim);
  EXPECT_EQ(qdrant_.Points("memories__before_8"), before_);
  ExpectDone(false);
  const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", folder_ / "job"});
  EXPECT_THAT(verified.out, HasSubstr("vectors compared")) << verified.err;
}

TEST_F(QdrantTest, ARollbackPutsThePointsBackAndTheNextRunBuysNothing) {
  Fill(kDim, 2000);
  ASSERT_EQ(RunProcess(Command("run")).exit_code, 3);
  ASSERT_NE(qdrant_.Points("memories"), before_);
  const auto written = qdrant_.Points("memories");
  const ProcessResult without_yes = RunProcess({REEMBED_BINARY, "rollback", folder_ / "job"});
  EXPECT_EQ(without_yes.exit_code, 2) << without_yes.err;
  EXPECT_EQ(qdrant_.Points("memories"), written);
  const ProcessResult rollback = RunProcess({REEMBED_BINARY, "rollback", folder_ / "job", "--yes"});
  EXPECT_EQ(rollback.exit_code, 0) << rollback.out << rollback.err;
  EXPECT_THAT(rollback.out, HasSubstr("1,800 rows put back"));
  EXPECT_EQ(qdrant_.Points("memories"), before_);
  const int64_t bought = embedder_->counts().texts;
  EXPECT_EQ(RunProcess(Command("run")).exit_code, 3);
  EXPECT_EQ(embedder_->counts().texts, bought);
  EXPECT_EQ(qdrant_.Points("memories"), written);
}

TEST_F(QdrantTest, ARollbackSwitchesBackToTheOldCollection) {
  Fill(kOldDim, 500);
  ASSERT_EQ(RunProcess(Command("run", "?on_width=side")).exit_code, 3);
  ASSERT_EQ(qdrant_.Dim("memories"), kDim);
  const ProcessResult rollback = RunProcess({REEMBED_BINARY, "rollback", folder_ / "job", "--yes"});
  EXPECT_EQ(rollback.exit_code, 0) << rollback.out << rollback.err;
  EXPECT_THAT(rollback.out, HasSubstr("memories__reembed_32 stays"));
  EXPECT_EQ(qdrant_.Dim("memories"), kOldDim);
  EXPECT_EQ(qdrant_.Points("memories"), before_);
  const int64_t bought = embedder_->counts().texts;
  EXPECT_EQ(RunProcess(Command("run", "?on_width=side")).exit_code, 3);
  EXPECT_EQ(embedder_->counts().texts, bought);
  EXPECT_EQ(qdrant_.Dim("memories"), kDim);
}

TEST_F(QdrantTest, ARestartOfTheServerInTheMiddleIsWaitedFor) {
  Fill(kDim);
  Process process(Command("run"));
  while (process.IsRunning() && embedder_->counts().texts < 2000) std::this_thread::yield();
  qdrant_.Stop();
  qdrant_.Start();
  const ProcessResult ended = process.Wait();
  EXPECT_EQ(ended.exit_code, 3) << ended.out << ended.err;
  ExpectDone(true);
}

TEST_F(QdrantTest, MistakesCostNothing) {
  Fill(kDim, 10);
  std::vector<std::string> command = Command("run");
  for (const auto& [target, message] :
       {std::pair(absl::StrCat("qdrant:", qdrant_.url(), "/memoriez"), "did you mean `memories`"),
        std::pair(std::string("qdrant:http://127.0.0.1:1/memories"), "is Qdrant running"),
        std::pair(absl::StrCat("qdrant:", qdrant_.url(), "/memories?vector=x"), "has no name")}) {
    command[5] = target;
    const ProcessResult run = RunProcess(command);
    EXPECT_NE(run.exit_code, 0);
    EXPECT_THAT(run.err, HasSubstr(message));
  }
  EXPECT_EQ(embedder_->counts().texts, 0);
}

TEST_F(QdrantTest, TheKeyIsShownNowhere) {
  QdrantServer locked({.api_key = "s3cr3t-key"});
  std::vector<std::string> command = Command("run");
  Fill(kDim, 10);
  command[5] = absl::StrCat("qdrant:", locked.url(), "/copy");
  const ProcessResult without = RunProcess(command, {{"QDRANT_API_KEY", ""}});
  EXPECT_EQ(without.exit_code, 6) << without.err;
  EXPECT_THAT(without.err, HasSubstr("QDRANT_API_KEY"));
  const ProcessResult wrong = RunProcess(command, {{"QDRANT_API_KEY", "wr0ng-key"}});
  EXPECT_NE(wrong.exit_code, 0);
  EXPECT_THAT(wrong.err, Not(HasSubstr("wr0ng-key")));
  EXPECT_EQ(embedder_->counts().texts, 0);
}

}  // namespace
}  // namespace reembed
