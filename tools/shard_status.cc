// SPDX-License-Identifier: Apache-2.0
#include "tools/shard_status.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "tools/format.h"
#include "tools/job_at_work.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/shard_parent.h"
#include "tools/shards_resolved.h"
#include "tools/spending.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

struct ShardState {
  const char* word = "not begun";
  int64_t rows = 0, rows_done = 0, rows_rejected = 0, rows_pending = 0;
  double usd = 0;
  int64_t texts_rebought = 0;  // at most
  absl::Duration elapsed;
  std::string last_outcome;
};

absl::StatusOr<ShardState> StateOf(const std::string& folder) {
  ShardState state;
  const absl::StatusOr<std::unique_ptr<JobReader>> job = JobReader::Open(folder);
  if (absl::IsNotFound(job.status())) {
    if (fs::exists(folder + "/lock") && IsAtWork(folder)) state.word = "running";
    return state;
  }
  ABSL_RETURN_IF_ERROR(job.status());
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, (*job)->Stats());
  state.rows = stats.rows;
  state.rows_rejected = stats.rejected_rows;
  state.rows_pending = stats.rows_pending;
  state.rows_done = stats.rows - stats.rows_pending - stats.rejected_rows;
  state.usd = SpentBefore(stats);
  state.texts_rebought = stats.texts_possibly_rebought;
  for (const Receipt& receipt : stats.receipts) {
    state.elapsed += std::max(absl::ZeroDuration(), receipt.ended - receipt.started);
    state.last_outcome = receipt.outcome;
  }
  state.word = IsShardComplete(folder) ? "complete" : IsAtWork(folder) ? "running" : "stopped";
  return state;
}

std::string TimeText(const ShardState& state) {
  return state.elapsed > absl::ZeroDuration() ? absl::StrCat(", ", DurationText(state.elapsed)) : "";
}

// Whether `reembed launch` has been at work there.
bool IsLaunched(const std::string& parent) { return fs::is_directory(parent + "/launch"); }

// All shards of a job as they are now.
struct ShardsNow {
  ShardState sum;
  std::vector<ShardState> states;             // of each
  std::vector<int> complete, running, again;  // numbers of shards
  int slowest = -1;                           // -1: there is none
};

absl::StatusOr<ShardsNow> LookAtShards(const Shards& shards) {
  ShardsNow now;
  for (int i = 0; i < shards.plan.shards; ++i) {
    ABSL_ASSIGN_OR_RETURN(const ShardState state, StateOf(shards.folders[static_cast<size_t>(i)]));
    now.sum.rows += state.rows;
    now.sum.rows_done += state.rows_done;
    now.sum.rows_rejected += state.rows_rejected;
    now.sum.rows_pending += state.rows_pending;
    now.sum.usd += state.usd;
    now.sum.texts_rebought += state.texts_rebought;
    const std::string word = state.word;
    (word == "complete" ? now.complete : word == "running" ? now.running : now.again).push_back(i);
    now.states.push_back(state);
  }
  // Of those that are under way the one with the fewest rows; when all are complete, the one that took longest.
  const std::vector<int>& slow = now.running.empty() ? now.complete : now.running;
  const auto slower = [&now](int a, int b) {
    const ShardState &x = now.states[static_cast<size_t>(a)], &y = now.states[static_cast<size_t>(b)];
    return now.running.empty() ? x.elapsed > y.elapsed : x.rows_done < y.rows_done;
  };
  if (!slow.empty()) now.slowest = *std::min_element(slow.begin(), slow.end(), slower);
  return now;
}

// Of shards that a scheduler has, and has not started yet.
void PrintNoneBegun(const std::string& parent, bool json) {
  if (json) {
    std::cout << JsonLine("summary").Add("job", parent).Add("shards_complete", 0).Add("shards_running", 0).ToString()
              << std::endl;
  } else {
    std::cout << "job       " << parent << "\nshards    none has begun yet; their logs will be in " << parent
              << "/launch/log" << std::endl;
  }
}

void PrintJson(const std::string& parent, const Shards& shards, const ShardsNow& now) {
  for (int i = 0; i < shards.plan.shards; ++i) {
    const ShardState& state = now.states[static_cast<size_t>(i)];
    JsonLine line("shard");
    line.Add("shard", i)
        .Add("of", shards.plan.shards)
        .Add("state", state.word)
        .Add("rows", state.rows)
        .Add("rows_with_vector", state.rows_done)
        .Add("rows_rejected", state.rows_rejected)
        .Add("rows_pending", state.rows_pending)
        .Add("cost_usd", state.usd)
        .Add("elapsed_seconds", absl::ToDoubleSeconds(state.elapsed))
        .Add("last_outcome", state.last_outcome)
        .Add("job", shards.folders[static_cast<size_t>(i)]);
    std::cout << line.ToString() << "\n";
  }
  JsonLine line("summary");
  line.Add("job", parent)
      .Add("source", shards.plan.job.source)
      .Add("model", shards.plan.job.model)
      .Add("dimensions", shards.plan.job.dim)
      .Add("plan", shards.plan.id)
      .Add("shards", shards.plan.shards)
      .Add("shards_complete", static_cast<int64_t>(now.complete.size()))
      .Add("shards_running", static_cast<int64_t>(now.running.size()))
      .Add("rows_planned", shards.plan.rows)
      .Add("rows", now.sum.rows)
      .Add("rows_with_vector", now.sum.rows_done)
      .Add("rows_rejected", now.sum.rows_rejected)
      .Add("rows_pending", now.sum.rows_pending)
      .Add("cost_usd", now.sum.usd)
      .Add("texts_possibly_rebought", now.sum.texts_rebought)
      .Add("slowest", now.slowest)
      .Add("run_again", IndexList(now.again))
      .AddRaw("published", IsPublished(parent) ? "true" : "false");
  std::cout << line.ToString() << std::endl;
}

void PrintText(const std::string& parent, const Shards& shards, const ShardsNow& now) {
  const JobIdentity& id = shards.plan.job;
  std::cout << "job       " << parent << ", " << shards.plan.shards << " shards\nsource    " << id.source
            << (id.selection.empty() ? "" : id.selection) << "\nmodel     " << id.model << ", " << id.dim
            << " dimensions, " << id.normalization << "\nrows      " << WithCommas(now.sum.rows)
            << (shards.plan.rows >= 0 ? absl::StrCat(" of about ", WithCommas(shards.plan.rows)) : "") << ": "
            << WithCommas(now.sum.rows_done) << " have a vector, " << WithCommas(now.sum.rows_rejected) << " rejected, "
            << WithCommas(now.sum.rows_pending) << " to do\nmoney     " << MoneyText(now.sum.usd)
            << (now.sum.texts_rebought > 0
                    ? absl::StrCat("; at most ", Counted(now.sum.texts_rebought, "text was", "texts were"),
                                   " bought twice")
                    : "")
            << "\nshards    " << now.complete.size() << " complete, " << now.running.size() << " at work, "
            << now.again.size() << " stopped or not begun\n";
  if (now.slowest >= 0) {
    const ShardState& state = now.states[static_cast<size_t>(now.slowest)];
    std::cout << "slowest   shard " << now.slowest << ": " << Counted(state.rows_done, "row", "rows") << TimeText(state)
              << "\n";
  }
  for (const int i : now.again) {
    const ShardState& state = now.states[static_cast<size_t>(i)];
    if (state.rows == 0) continue;
    std::cout << "stopped   shard " << i << ": " << Counted(state.rows_done, "row", "rows") << TimeText(state)
              << (state.last_outcome.empty() ? "" : ", ") << state.last_outcome << "\n";
  }
  if (!now.again.empty()) std::cout << "run again " << IndexList(now.again) << "\n";
  for (const std::string& target : shards.plan.targets) std::cout << "target    " << target << "\n";
  if (now.again.empty() && now.running.empty()) {
    std::cout << (IsPublished(parent)
                      ? "all shards are complete, and the targets are published\n"
                      : absl::StrCat("all shards are complete; `reembed publish ", parent, "` takes the last step\n"));
  }
  std::cout << std::flush;
}

}  // namespace

bool HasShards(const std::string& parent) { return fs::exists(ShardPlanPath(parent)) || IsLaunched(parent); }

absl::Status ShowShards(const std::string& parent, bool json) {
  if (!fs::exists(ShardPlanPath(parent))) {
    PrintNoneBegun(parent, json);
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(const Shards shards, FindShards(parent));
  ABSL_ASSIGN_OR_RETURN(const ShardsNow now, LookAtShards(shards));
  if (json) {
    PrintJson(parent, shards, now);
  } else {
    PrintText(parent, shards, now);
  }
  return absl::OkStatus();
}

}  // namespace reembed
