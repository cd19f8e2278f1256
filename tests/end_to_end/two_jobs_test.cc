// SPDX-License-Identifier: Apache-2.0
// Two jobs with different models on one column: the second is turned away, and a mixture never ends with exit 0.

#include <signal.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/rollback_cases.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/pgbouncer.h"
#include "tests/fakes/postgres_server.h"
#include "tests/fakes/process.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// A model behind an API, with vectors of its own.
class Model {
 public:
  // `stalls_from`: the first reply that is held back until Release(); -1: none is.
  explicit Model(std::string name, int stalls_from = -1)
      : name_(std::move(name)), stalls_from_(stalls_from), server_([this](const ServerRequest& request) {
          std::vector<std::string> texts = TextsOf(request.body);
          for (std::string& text : texts) text = absl::StrCat(name_, " ", text);
          const bool base64 = absl::StrContains(request.body, "base64");
          ServerReply reply{.body = OpenAiReply(texts, base64 ? VectorFormat::kBase64 : VectorFormat::kFloat,
                                                {.dim = RollbackCase::kDim})};
          if (stalls_from_ >= 0 && request.number >= stalls_from_) reply.fault = ServerFault::kStall;
          return reply;
        }) {}

  std::vector<std::string> Command(const std::vector<std::string>& place, const std::string& job) const {
    std::vector<std::string> args = {REEMBED_BINARY,
                                     "run",
                                     "--yes",
                                     "--api-base",
                                     absl::StrCat(server_.url(), "/v1"),
                                     "--model",
                                     name_,
                                     "--dimensions",
                                     absl::StrCat(RollbackCase::kDim),
                                     "--job",
                                     job,
                                     "--batch-size",
                                     "32",
                                     "--concurrency",
                                     "2"};
    args.insert(args.end(), place.begin(), place.end());
    return args;
  }
  void WaitForStalled() { server_.WaitForStalled(1); }
  void Release() { server_.ReleaseStalled(); }
  int requests() const { return server_.request_count(); }

 private:
  const std::string name_;
  const int stalls_from_;
  ScriptedServer server_;
};

const std::map<std::string, std::string> kKey = {{"OPENAI_API_KEY", "sk-two-jobs"}};

class TwoJobsTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "pgbouncer") {
      case_ = MakeRollbackCase("postgres", folder_);
      bouncer_ = std::make_unique<PgBouncer>(TestPostgres());
    } else {
      case_ = MakeRollbackCase(GetParam(), folder_);
    }
  }

  std::vector<std::string> Place() const {
    if (bouncer_ == nullptr) return case_->Args();
    return {"--source", bouncer_->Uri("table=messages&key=id&text=content&vector=embedding&model_column=model"),
            "--all"};
  }

  // What reaches nobody before the first is over.
  void ExpectTurnedAway(const std::string& holder) {
    Model other("other");
    const ProcessResult second = RunProcess(other.Command(Place(), folder_ / "second"), kKey);
    EXPECT_EQ(second.exit_code, 11) << second.err;
    EXPECT_THAT(second.err, AllOf(HasSubstr("is being written by process"), HasSubstr(holder)));
    EXPECT_EQ(other.requests(), 0);
  }

  void ExpectSound(const std::string& job) {
    const ProcessResult verified = RunProcess({REEMBED_BINARY, "verify", job});
    EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  }

  const TempFolder folder_;
  std::unique_ptr<RollbackCase> case_;
  std::unique_ptr<PgBouncer> bouncer_;
};

TEST_P(TwoJobsTest, TheSecondIsTurnedAwayAndHasItsTurnAfterwards) {
  const std::string first_job = folder_ / "first";
  Model model("first", /*stalls_from=*/6);
  Process first(model.Command(Place(), first_job), kKey);
  model.WaitForStalled();
  ExpectTurnedAway(first_job);
  model.Release();
  const ProcessResult done = first.Wait();
  EXPECT_THAT(done.exit_code, AnyOf(0, 3)) << done.err;
  ExpectSound(first_job);
  Model other("other");
  const ProcessResult second = RunProcess(other.Command(Place(), folder_ / "second"), kKey);
  EXPECT_THAT(second.exit_code, AnyOf(0, 3)) << second.err;
  ExpectSound(folder_ / "second");
}

TEST_P(TwoJobsTest, ARollbackWaitsItsTurnToo) {
  Model earlier("earlier");
  ASSERT_THAT(RunProcess(earlier.Command(Place(), folder_ / "earlier"), kKey).exit_code, AnyOf(0, 3));
  Model model("first", /*stalls_from=*/6);
  Process first(model.Command(Place(), folder_ / "first"), kKey);
  model.WaitForStalled();
  const ProcessResult back = RunProcess({REEMBED_BINARY, "rollback", folder_ / "earlier", "--yes"});
  EXPECT_EQ(back.exit_code, 11) << back.out << back.err;
  EXPECT_THAT(back.err, HasSubstr("is being written by process"));
  model.Release();
  EXPECT_THAT(first.Wait().exit_code, AnyOf(0, 3));
  ExpectSound(folder_ / "first");
}

TEST_P(TwoJobsTest, TheSameCommandGoesOnAtOnceAfterAKill) {
  const std::string job = folder_ / "first";
  {
    Model model("first", /*stalls_from=*/6);
    Process first(model.Command(Place(), job), kKey);
    model.WaitForStalled();
    first.Signal(SIGKILL);
    first.Wait();
  }
  Model model("first");
  const ProcessResult again = RunProcess(model.Command(Place(), job), kKey);
  EXPECT_THAT(again.exit_code, AnyOf(0, 3)) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("has it, or has died")));
  ExpectSound(job);
}

TEST_P(TwoJobsTest, AnotherJobGoesOnAfterAKill) {
  {
    Model model("first", /*stalls_from=*/6);
    Process first(model.Command(Place(), folder_ / "first"), kKey);
    model.WaitForStalled();
    first.Signal(SIGKILL);
    first.Wait();
  }
  Model other("other");
  const ProcessResult second = RunProcess(other.Command(Place(), folder_ / "second"), kKey);
  EXPECT_THAT(second.exit_code, AnyOf(0, 3)) << second.err;
  ExpectSound(folder_ / "second");
}

INSTANTIATE_TEST_SUITE_P(Stores, TwoJobsTest,
                         ::testing::Values("agentloop", "libsql", "memu", "postgres", "postgres_wide", "pgbouncer",
                                           "espressobot_import", "falkordb"),
                         [](const auto& info) { return info.param; });

// A store without a lock: what the first has written is another's when it ends, and it says so.
TEST(TwoJobsWithoutALockTest, AMixtureDoesNotEndAsIfAllWereWellAutomem) {
  const TempFolder folder;
  const std::unique_ptr<RollbackCase> store = MakeRollbackCase("automem", folder);
  Model model("first", /*stalls_from=*/12);
  Process first(model.Command(store->Args(), folder / "first"), kKey);
  model.WaitForStalled();
  Model other("other");
  const ProcessResult second = RunProcess(other.Command(store->Args(), folder / "second"), kKey);
  EXPECT_THAT(second.exit_code, AnyOf(0, 3)) << second.err;
  model.Release();
  const ProcessResult done = first.Wait();
  EXPECT_EQ(done.exit_code, 8) << done.out << done.err;
  EXPECT_THAT(done.err, AllOf(HasSubstr("another vector than this job has written"), HasSubstr("--repair")));
  // What it advises makes the column one model's again, without a purchase.
  Model silent("first");
  const ProcessResult repaired = RunProcess(
      {REEMBED_BINARY, "verify", "--repair", folder / "first", "--api-base", absl::StrCat(silent.Command({}, "")[4])},
      kKey);
  EXPECT_THAT(repaired.exit_code, AnyOf(0, 3)) << repaired.out << repaired.err;
}

// The lock keeps a server connection for itself, and a pool of one has none left.
TEST(TwoJobsPoolTest, APoolOfOneIsRefusedBeforeAnythingIsBought) {
  const TempFolder folder;
  const std::unique_ptr<RollbackCase> store = MakeRollbackCase("postgres", folder);
  const PgBouncer bouncer(TestPostgres(), "default_pool_size = 1\nreserve_pool_size = 0");
  Model model("first");
  const ProcessResult run = RunProcess(
      model.Command({"--source", bouncer.Uri("table=messages&key=id&text=content&vector=embedding"), "--all"},
                    folder / "job"),
      kKey);
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, HasSubstr("one connection to the server"));
  EXPECT_EQ(model.requests(), 0);
}

}  // namespace
}  // namespace reembed
