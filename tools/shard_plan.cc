// SPDX-License-Identifier: Apache-2.0
#include "tools/shard_plan.h"

#include <toml++/toml.h>

#include <filesystem>
#include <random>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "io/job/owed_table.h"

namespace reembed {
namespace {

constexpr int64_t kPlanFormat = 1;
constexpr char kForms[] = "expected I/N, as 3/32 with I from 0 to N - 1, or /N with I from the scheduler's variable";

absl::Status ShardError(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("--shard ", text, ": ", what));
}

// A number that a scheduler gave. `names`: the first variable that is set counts.
absl::StatusOr<int> FromScheduler(absl::string_view text, const std::vector<const char*>& names,
                                  const Environment& environment) {
  for (const char* const name : names) {
    const std::string value = environment.Get(name);
    if (value.empty()) continue;
    int number = 0;
    if (absl::SimpleAtoi(value, &number)) return number;
    return ShardError(text, absl::StrCat("expected a number in ", name, ", got ", value));
  }
  return ShardError(text, absl::StrCat("no scheduler has set ", absl::StrJoin(names, " or "), "; write I/N, as 3/32"));
}

std::string NewId() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

toml::table TableOf(const ShardPlan& plan) {
  toml::array cuts, targets;
  for (const Key& cut : plan.cuts) {
    if (const auto* const number = std::get_if<int64_t>(&cut)) {
      cuts.push_back(*number);
    } else {
      cuts.push_back(std::get<std::string>(cut));
    }
  }
  for (const std::string& target : plan.targets) targets.push_back(target);
  toml::table table{{"format", kPlanFormat},
                    {"id", plan.id},
                    {"shards", plan.shards},
                    {"source", plan.job.source},
                    {"condition", plan.job.selection},
                    {"recipe", plan.job.recipe},
                    {"model", plan.job.model},
                    {"dimensions", plan.job.dim},
                    {"normalization", plan.job.normalization},
                    {"targets", std::move(targets)},
                    {"cuts", std::move(cuts)}};
  if (plan.rows >= 0) table.insert("rows", plan.rows);
  if (plan.cost_usd >= 0) table.insert("cost_usd", plan.cost_usd);
  return table;
}

std::string TextOf(const ShardPlan& plan) {
  std::ostringstream out;
  out << "# Where the shares of this job meet, and what job that is. Made once, for all shards; each reads it.\n"
      << TableOf(plan) << "\n";
  return out.str();
}

absl::StatusOr<ShardPlan> PlanOf(const toml::table& table, const std::string& path) {
  const int64_t format = table["format"].value<int64_t>().value_or(0);
  if (format > kPlanFormat) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": has format ", format, ", and this program knows ",
                                                      kPlanFormat, "; a newer version of reembed reads it"));
  }
  const auto text = [&](const char* name) { return table[name].value<std::string>().value_or(""); };
  ShardPlan plan{.id = text("id"), .shards = static_cast<int>(table["shards"].value<int64_t>().value_or(0))};
  plan.job = {.source = text("source"),
              .selection = text("condition"),
              .recipe = text("recipe"),
              .model = text("model"),
              .normalization = text("normalization"),
              .dim = static_cast<int>(table["dimensions"].value<int64_t>().value_or(0))};
  plan.rows = table["rows"].value<int64_t>().value_or(-1);
  plan.cost_usd = table["cost_usd"].value<double>().value_or(-1);
  if (const toml::array* const targets = table["targets"].as_array()) {
    for (const auto& target : *targets) plan.targets.push_back(target.value<std::string>().value_or(""));
  }
  if (const toml::array* const cuts = table["cuts"].as_array()) {
    for (const auto& cut : *cuts) {
      if (const toml::value<int64_t>* const number = cut.as_integer()) {
        plan.cuts.emplace_back(number->get());
      } else if (const toml::value<std::string>* const key = cut.as_string()) {
        plan.cuts.emplace_back(key->get());
      }
    }
  }
  const bool sound = format > 0 && plan.shards >= 1 && plan.shards <= kMaxShards && !plan.id.empty() &&
                     plan.cuts.size() == static_cast<size_t>(plan.shards) - 1;
  if (sound) return plan;
  return absl::DataLossError(absl::StrCat(path, ": expected the plan of a job's shards, got something else; ",
                                          "plan the shards again, in another folder"));
}

}  // namespace

std::string Shard::Text() const { return absl::StrCat(index, "/", of); }

std::string Shard::Folder() const { return absl::StrFormat("shard-%04d-of-%04d", index, of); }

absl::StatusOr<Shard> ParseShard(const std::string& text, const Environment& environment) {
  Shard shard;
  if (text == "auto") {
    ABSL_ASSIGN_OR_RETURN(shard.index, FromScheduler(text, {"SLURM_ARRAY_TASK_ID"}, environment));
    ABSL_ASSIGN_OR_RETURN(shard.of, FromScheduler(text, {"SLURM_ARRAY_TASK_COUNT"}, environment));
  } else {
    const std::vector<std::string> parts = absl::StrSplit(text, '/');
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[1], &shard.of)) return ShardError(text, kForms);
    if (parts[0].empty()) {
      ABSL_ASSIGN_OR_RETURN(shard.index,
                            FromScheduler(text, {"JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"}, environment));
    } else if (!absl::SimpleAtoi(parts[0], &shard.index)) {
      return ShardError(text, kForms);
    }
  }
  if (shard.of < 1 || shard.of > kMaxShards) {
    return ShardError(text, absl::StrCat("expected 1 to ", kMaxShards, " shards, got ", shard.of));
  }
  if (shard.index >= 0 && shard.index < shard.of) return shard;
  return ShardError(text, absl::StrCat("expected a shard from 0 to ", shard.of - 1, ", got ", shard.index,
                                       "; they are counted from 0"));
}

std::optional<Shard> ShardOfFolder(absl::string_view name) {
  Shard shard;
  absl::string_view numbers = name;
  if (!absl::ConsumePrefix(&numbers, "shard-")) return std::nullopt;
  const std::vector<absl::string_view> parts = absl::StrSplit(numbers, "-of-");
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &shard.index) || !absl::SimpleAtoi(parts[1], &shard.of)) {
    return std::nullopt;
  }
  const bool sound = shard.index >= 0 && shard.index < shard.of && shard.of <= kMaxShards;
  return sound && shard.Folder() == name ? std::optional(shard) : std::nullopt;
}

KeyRange ShardPlan::RangeOf(const Shard& shard) const {
  KeyRange range;
  const auto at = static_cast<size_t>(shard.index);
  if (at > 0) range.from = cuts[at - 1];
  if (at < cuts.size()) range.before = cuts[at];
  return range;
}

std::string ShardPlanPath(const std::string& parent) { return parent + "/shards.toml"; }

absl::StatusOr<ShardPlan> ReadShardPlan(const std::string& parent) {
  const std::string path = ShardPlanPath(parent);
  if (!std::filesystem::exists(path)) return absl::NotFoundError(absl::StrCat(path, ": no shards are planned there"));
  try {
    return PlanOf(toml::parse_file(path), path);
  } catch (const toml::parse_error& error) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", std::string(error.description()), "; plan the shards again, in another folder"));
  }
}

absl::Status WriteShardPlan(const std::string& parent, ShardPlan* plan) {
  plan->id = NewId();
  const std::string path = ShardPlanPath(parent);
  const std::string text = TextOf(*plan);
  try {
    ABSL_ASSIGN_OR_RETURN(const ShardPlan again, PlanOf(toml::parse(text), path));
    if (again.cuts != plan->cuts) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": some keys of the source are no texts that a plan can hold; run without --shard"));
    }
  } catch (const toml::parse_error& error) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::string(error.description()),
                                                      ", so a key of the source cannot be written; run without "
                                                      "--shard"));
  }
  return ReplaceOwnFile(path, text);
}

absl::Status CheckShardPlan(const std::string& parent, const ShardPlan& plan, int shards, const JobIdentity& job,
                            const std::vector<std::string>& targets) {
  const auto differ = [&](absl::string_view what, absl::string_view planned, absl::string_view asked) {
    return absl::InvalidArgumentError(
        absl::StrCat(ShardPlanPath(parent), ": this job was planned with ", what, " ", planned, ", and asked for is ",
                     asked, "; ask for the same in all shards, or plan what is asked for in a folder of its own"));
  };
  if (plan.shards != shards) return differ("shards:", absl::StrCat(plan.shards), absl::StrCat(shards));
  if (plan.job.source != job.source) return differ("source", plan.job.source, job.source);
  const std::string condition(ConditionOf(job.selection));
  if (plan.job.selection != condition) {
    return differ("the condition", absl::StrCat("`", plan.job.selection, "`"), absl::StrCat("`", condition, "`"));
  }
  if (plan.job.recipe != job.recipe) return differ("", plan.job.recipe, job.recipe);
  if (plan.job.model != job.model) return differ("model", plan.job.model, job.model);
  if (plan.job.dim != job.dim) return differ("dimensions:", absl::StrCat(plan.job.dim), absl::StrCat(job.dim));
  if (plan.job.normalization != job.normalization) {
    return differ("vectors", plan.job.normalization, job.normalization);
  }
  if (plan.targets != targets) {
    return differ("target", absl::StrJoin(plan.targets, " and "), absl::StrJoin(targets, " and "));
  }
  return absl::OkStatus();
}

}  // namespace reembed
