// SPDX-License-Identifier: Apache-2.0
#include "tools/shard_plan.h"

#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"
#include "tools/shard_parent.h"

namespace reembed {
namespace {

TEST(ShardPlanTest, ComesBackAsItWasWritten) {
  const TempFolder folder;
  ShardPlan plan{
      .shards = 7,
      .cuts = {std::numeric_limits<int64_t>::min(), int64_t{0}, std::numeric_limits<int64_t>::max(),
               std::string("'\"\\ \t\n\r\x01\x7f"), std::string("\xf0\x9f\x98\x80 \xe2\x80\xa8"),
               std::string("12:3:ff")},
      .job = {.source = "sqlite:a?b=c", .recipe = "text of x", .model = "m", .normalization = "unit", .dim = 3},
      .targets = {"fbin:x", "npy:'y'"}};
  ASSERT_THAT(WriteShardPlan(folder.path(), &plan), IsOk());
  const auto read = ReadShardPlan(folder.path());
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->cuts, plan.cuts);
  EXPECT_EQ(read->id, plan.id);
  EXPECT_EQ(read->targets, plan.targets);
  EXPECT_THAT(CheckShardPlan(folder.path(), *read, 7, plan.job, plan.targets), IsOk());
  EXPECT_FALSE(read->RangeOf({0, 7}).from.has_value());
  EXPECT_EQ(*read->RangeOf({0, 7}).before, plan.cuts[0]);
  EXPECT_EQ(*read->RangeOf({6, 7}).from, plan.cuts[5]);
  EXPECT_FALSE(read->RangeOf({6, 7}).before.has_value());
  // No two plans have one id.
  const std::string id = plan.id;
  ASSERT_THAT(WriteShardPlan(folder.path(), &plan), IsOk());
  EXPECT_NE(plan.id, id);
}

TEST(ShardPlanTest, AKeyThatNoTextHoldsIsRefused) {
  const TempFolder folder;
  ShardPlan plan{.shards = 2, .cuts = {std::string("\xff\xfe")}};
  EXPECT_EQ(WriteShardPlan(folder.path(), &plan).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ShardPlanTest, FoldersAreNamedAndKnown) {
  EXPECT_EQ((Shard{3, 32}.Folder()), "shard-0003-of-0032");
  EXPECT_EQ(ShardOfFolder("shard-0003-of-0032"), (Shard{3, 32}));
  for (const char* const other : {"shard-3-of-32", "shard-0032-of-0032", "shard-", "messages", "shard-0003-of-0032x"}) {
    EXPECT_EQ(ShardOfFolder(other), std::nullopt) << other;
  }
}

TEST(ShardPlanTest, IndexesAreListedAsSchedulersTakeThem) {
  EXPECT_EQ(IndexList({}), "");
  EXPECT_EQ(IndexList({4}), "4");
  EXPECT_EQ(IndexList({0, 1, 2, 5, 7, 8}), "0-2,5,7-8");
}

}  // namespace
}  // namespace reembed
