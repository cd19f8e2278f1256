// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARD_PLAN_H_
#define REEMBED_TOOLS_SHARD_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"
#include "engine/selection.h"
#include "io/job/job_records.h"
#include "tools/environment.h"

// One job in several shares, each a job directory of its own in one parent. What all of them must agree on is the plan
// in the parent, which is made once.
namespace reembed {

// Which share: `index` of 0 .. of - 1.
struct Shard {
  int index = 0;
  int of = 1;
  std::string Text() const;    // "3/32"
  std::string Folder() const;  // "shard-0003-of-0032"
  friend bool operator==(const Shard&, const Shard&) = default;
};

inline constexpr int kMaxShards = 9999;

// --shard: "3/32"; "/32" takes the index, and "auto" both, from the variables of a scheduler.
// Errors: kInvalidArgument (another form, an index that is none of these shares, no such variable).
absl::StatusOr<Shard> ParseShard(const std::string& text, const Environment& environment);

// The share whose folder has this name. nullopt: it is none's.
std::optional<Shard> ShardOfFolder(absl::string_view name);

// PARENT/shards.toml.
struct ShardPlan {
  std::string id;  // no other plan has it
  int shards = 1;
  std::vector<Key> cuts;  // [shards - 1], as StoreKind::cut gives them
  JobIdentity job;        // `selection`: its condition alone, as rows may be all or those without a vector
  std::vector<std::string> targets;
  int64_t rows = -1;  // as `reembed plan` counted them, likewise the next; -1: nobody has
  double cost_usd = -1;

  KeyRange RangeOf(const Shard& shard) const;
};

std::string ShardPlanPath(const std::string& parent);

// Errors: kNotFound (there is none); kInvalidArgument, kDataLoss (names the file).
absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& parent);

// In one step, durably. Gives it an id. Errors: of the file; kFailedPrecondition (a key that no text can hold).
absl::Status WriteShardPlan(const std::string& parent, ShardPlan* plan);

// Whether a plan is of this very job in so many shares. Errors: kInvalidArgument (names what is different, as planned
// and as asked for).
absl::Status CheckShardPlan(const std::string& parent, const ShardPlan& plan, int shards, const JobIdentity& job,
                            const std::vector<std::string>& targets);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARD_PLAN_H_
