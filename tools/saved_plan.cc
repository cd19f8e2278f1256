// SPDX-License-Identifier: Apache-2.0
#include "tools/saved_plan.h"

#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/counted.h"
#include "engine/location.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "tools/format.h"
#include "tools/resolve_shard.h"
#include "tools/settings_file.h"
#include "tools/shard_parent.h"
#include "tools/spending.h"

namespace reembed {
namespace {

constexpr char kHead[] =
    "A plan: `reembed run --plan THIS_FILE` does exactly this, or says what no longer fits and does nothing";
constexpr char kTable[] = "plan";
constexpr char kKept[] = "/plan.toml";

// Every text of a stream in the file, once for writing and reading.
using TextMember = std::string PlannedStream::*;
constexpr std::pair<const char*, TextMember> kTexts[] = {
    {"stream", &PlannedStream::stream},       {"source", &PlannedStream::source},
    {"selection", &PlannedStream::selection}, {"recipe", &PlannedStream::recipe},
    {"model", &PlannedStream::model},         {"normalization", &PlannedStream::normalization},
    {"job", &PlannedStream::directory},       {"usd_per_million_tokens", &PlannedStream::usd_per_million_tokens},
    {"contents", &PlannedStream::contents}};
using CountMember = int64_t PlannedStream::*;
constexpr std::pair<const char*, CountMember> kCounts[] = {{"rows", &PlannedStream::rows},
                                                           {"rows_rejected", &PlannedStream::rows_rejected},
                                                           {"rows_changed", &PlannedStream::rows_changed},
                                                           {"rows_lost", &PlannedStream::rows_lost},
                                                           {"texts", &PlannedStream::texts},
                                                           {"tokens", &PlannedStream::tokens},
                                                           {"requests", &PlannedStream::requests}};
using ListMember = std::vector<std::string> PlannedStream::*;
constexpr std::pair<const char*, ListMember> kLists[] = {{"targets", &PlannedStream::targets},
                                                         {"changes", &PlannedStream::changes}};

std::string ContentOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

const SettingsRules& PlanRules() {
  static const auto* const rules = new SettingsRules{
      .takes = IsPlanned,
      .advice = [](const OptionEntry& entry) { return absl::StrCat("; no plan says it, but --", entry.name); },
      .tables = {kTable}};
  return *rules;
}

absl::StatusOr<std::vector<PlannedStream>> ReadStreams(const std::string& path) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::string(error.description())));
  }
  std::vector<PlannedStream> streams;
  const toml::array* const list = table[kTable]["stream"].as_array();
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const toml::table* const each = list->get(i)->as_table();
    if (each == nullptr) continue;
    PlannedStream& stream = streams.emplace_back();
    for (const auto& [name, member] : kTexts) stream.*member = (*each)[name].value<std::string>().value_or("");
    for (const auto& [name, member] : kCounts) stream.*member = (*each)[name].value<int64_t>().value_or(-1);
    for (const auto& [name, member] : kLists) {
      const toml::array* const texts = (*each)[name].as_array();
      for (size_t at = 0; texts != nullptr && at < texts->size(); ++at) {
        (stream.*member).push_back(texts->get(at)->value<std::string>().value_or(""));
      }
    }
    stream.dim = static_cast<int>((*each)["dimensions"].value<int64_t>().value_or(0));
  }
  if (!streams.empty()) return streams;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": is no plan; expected a file that `reembed plan --out FILE` has written"));
}

toml::table TableOf(const PlannedStream& stream) {
  toml::table table;
  for (const auto& [name, member] : kTexts) {
    if (!(stream.*member).empty()) table.insert(name, stream.*member);
  }
  for (const auto& [name, member] : kCounts) table.insert(name, stream.*member);
  for (const auto& [name, member] : kLists) {
    toml::array list;
    for (const std::string& text : stream.*member) list.push_back(text);
    table.insert(name, std::move(list));
  }
  table.insert("dimensions", int64_t{stream.dim});
  return table;
}

std::string PriceOf(const ResolvedJob& job) {
  const std::optional<double> price = UsdPerToken(job);
  return price.has_value() ? absl::StrFormat("%.10g", *price * 1e6) : "";
}

std::string PriceWords(const std::string& usd) {
  return usd.empty() ? "not known" : absl::StrCat("$", usd, " a million tokens");
}

// What is another now, each in some words.
class Differences {
 public:
  void Compare(absl::string_view what, const std::string& planned, const std::string& now) {
    if (planned != now) found_.push_back(absl::StrCat(what, " is ", Named(now), ", and the plan has ", Named(planned)));
  }
  void Count(absl::string_view what, int64_t planned, int64_t now) {
    if (planned == now) return;
    found_.push_back(absl::StrCat(WithCommas(now), " ", what, ", and the plan has ", WithCommas(planned)));
  }
  void Add(std::string what) { found_.push_back(std::move(what)); }
  const std::vector<std::string>& found() const { return found_; }

 private:
  static std::string Named(const std::string& text) { return text.empty() ? "nothing" : text; }
  std::vector<std::string> found_;
};

void ComparePlaces(const PlannedStream& planned, const PlannedStream& now, Differences* differences) {
  differences->Compare("the source", planned.source, now.source);
  differences->Compare("the selection", planned.selection, now.selection);
  differences->Compare("the recipe of texts", planned.recipe, now.recipe);
  differences->Compare("the model", planned.model, now.model);
  differences->Compare("the width", absl::StrCat(planned.dim), absl::StrCat(now.dim));
  differences->Compare("the normalization", planned.normalization, now.normalization);
  differences->Compare("the target", absl::StrJoin(planned.targets, ", "), absl::StrJoin(now.targets, ", "));
  differences->Compare("the job directory", planned.directory, now.directory);
  differences->Compare("the price", PriceWords(planned.usd_per_million_tokens), PriceWords(now.usd_per_million_tokens));
}

void CompareRows(const PlannedStream& planned, const PlannedStream& now, Differences* differences) {
  const size_t before = differences->found().size();
  differences->Count("rows are to be read", planned.rows, now.rows);
  differences->Count("of them have no usable text", planned.rows_rejected, now.rows_rejected);
  differences->Count("have another text than their vector was made from", planned.rows_changed, now.rows_changed);
  differences->Count("lack a vector that was bought", planned.rows_lost, now.rows_lost);
  differences->Count("different texts", planned.texts, now.texts);
  if (planned.contents != now.contents && differences->found().size() == before) {
    differences->Add("keys or texts of rows are others");
  }
  differences->Compare("what happens to targets besides", absl::StrJoin(planned.changes, "; "),
                       absl::StrJoin(now.changes, "; "));
}

}  // namespace

bool IsPlanned(const OptionEntry& entry) {
  for (const char* const not_it : {"json", "yes", "plan", "out", "shard", "shards", "env-file", "no-env-file"}) {
    if (absl::string_view(entry.name) == not_it) return false;
  }
  const absl::string_view group = entry.group;
  return entry.scope != OptionScope::kOwn && group != "Output" && group != "Watch";
}

PlannedStream PlannedStreamOf(const ResolvedJob& job, const Preflight& preflight, const PlanNumbers& numbers) {
  PlannedStream stream{.stream = job.stream,
                       .source = job.identity.source,
                       .selection = job.identity.selection,
                       .recipe = job.identity.recipe,
                       .model = job.identity.model,
                       .normalization = job.identity.normalization,
                       .dim = job.identity.dim,
                       .directory = job.directory,
                       .changes = preflight.changes,
                       .rows = numbers.rows,
                       .rows_rejected = numbers.rows_rejected,
                       .rows_changed = numbers.rows_changed,
                       .rows_lost = numbers.rows_lost,
                       .texts = numbers.texts,
                       .tokens = numbers.tokens,
                       .requests = numbers.requests,
                       .contents = absl::StrFormat("%016x%016x", numbers.contents.hi, numbers.contents.lo),
                       .usd_per_million_tokens = PriceOf(job)};
  for (const Store& target : job.targets) stream.targets.push_back(target.location.ToString());
  return stream;
}

absl::Status WritePlan(const std::string& path, const CommandOptions& options,
                       absl::Span<const PlannedStream> streams) {
  for (const OptionEntry& entry : OptionEntries()) {
    for (const std::string& value : OptionValues(entry, options)) {
      if (!IsPlanned(entry) || ShownLine(value) == value) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "--", entry.name, " holds a password, or bytes that are no text, and a plan is a file for others to read; ",
          "leave the password out of the address, and name its variable (--db-password-env, --api-key-env)"));
    }
  }
  std::error_code none;
  if (std::filesystem::exists(path, none) && !ReadStreams(path).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("--out ", path, ": is there already and no plan; name another file"));
  }
  toml::array list;
  for (const PlannedStream& stream : streams) list.push_back(TableOf(stream));
  toml::table plan;
  plan.insert("stream", std::move(list));
  toml::table whole;
  whole.insert(kTable, std::move(plan));
  std::ostringstream text;
  text << WriteSettings(options, kHead, IsPlanned) << "\n" << whole << "\n";
  return ReplaceOwnFile(path, text.str());
}

absl::StatusOr<CommandOptions> ReadPlannedOptions(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const SettingsFile file, ReadSettingsFile(path, PlanRules()));
  ABSL_RETURN_IF_ERROR(ReadStreams(path).status());
  return file.values;
}

absl::Status CheckPlanFits(const std::string& path, const std::vector<ResolvedJob>& jobs, const TokenCounting* counting,
                           const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<PlannedStream> planned, ReadStreams(path));
  const std::string text = ContentOf(path);
  Differences differences;
  for (const ResolvedJob& job : jobs) {
    const auto in_plan =
        absl::c_find_if(planned, [&](const PlannedStream& stream) { return stream.stream == job.stream; });
    if (in_plan == planned.end()) {
      differences.Add(absl::StrCat("there is a stream ", job.stream, ", and the plan has none of that name"));
      continue;
    }
    const PlannedStream as_asked = PlannedStreamOf(job, {}, {});
    const size_t before = differences.found().size();
    ComparePlaces(*in_plan, as_asked, &differences);
    if (differences.found().size() > before || ContentOf(job.directory + kKept) == text) continue;
    ABSL_ASSIGN_OR_RETURN(Preflight preflight, Check(job));
    ABSL_ASSIGN_OR_RETURN(const PlanNumbers numbers, ReckonStream(job, counting, environment, &preflight));
    CompareRows(*in_plan, PlannedStreamOf(job, preflight, numbers), &differences);
  }
  if (planned.size() > jobs.size()) {
    differences.Add(absl::StrCat(Counted(static_cast<int64_t>(jobs.size()), "stream", "streams"),
                                 " to be done, and the plan has ", planned.size()));
  }
  if (differences.found().empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": the plan no longer fits: ", absl::StrJoin(differences.found(), "; "),
                   "; nothing was done. Look at a new one: reembed plan ... --out ", path));
}

absl::Status CheckPlanFitsShares(const std::string& path, const ResolvedJob& share, const TokenCounting* counting,
                                 const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<PlannedStream> planned, ReadStreams(path));
  ResolvedJob whole = WholeOf(share);
  // A share says nothing of streams, as it is of one.
  whole.stream = planned.front().stream;
  std::error_code none;
  const bool is_first = !std::filesystem::exists(whole.directory, none);
  ABSL_RETURN_IF_ERROR(MakeOwnFolder(whole.directory));
  absl::Status fits;
  {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(whole.directory));
    fits = CheckPlanFits(path, {whole}, counting, environment);
    if (fits.ok()) fits = KeepPlan(path, whole);
  }
  if (fits.ok() || !is_first) return fits;
  // Nothing shall have been done; a folder that another share has filled meanwhile stays.
  std::filesystem::remove(whole.directory + "/lock", none);
  std::filesystem::remove(whole.directory, none);
  return fits;
}

absl::Status KeepPlan(const std::string& path, const ResolvedJob& job) {
  return ReplaceOwnFile(job.directory + kKept, ContentOf(path));
}

}  // namespace reembed
