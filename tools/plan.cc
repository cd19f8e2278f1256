// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/request_packer.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"
#include "engine/text/long_text.h"
#include "engine/text_set.h"
#include "io/file/own_file.h"
#include "io/job/job_reader.h"
#include "tools/changed_rows.h"
#include "tools/commands.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/plan_numbers.h"
#include "tools/preflight.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/resolve_shard.h"
#include "tools/same_model.h"
#include "tools/saved_plan.h"
#include "tools/shard_parent.h"
#include "tools/signals.h"
#include "tools/spending.h"
#include "tools/streams.h"
#include "tools/token_counting.h"
#include "tools/undo_plan.h"

namespace reembed {
namespace {

// Counts one text, and the parts that are made of it, into the plan; tells the packer, which request it goes into.
class TextReckoner {
 public:
  TextReckoner(const ResolvedJob& job, const TokenCounting* counting, PlanNumbers* plan)
      : limits_(job.pipeline.batch),
        counting_(counting),
        packer_(limits_, counting->estimator(), job.pipeline.quota_tokens),
        plan_(plan) {}

  // Whether the text gets a vector.
  bool Add(absl::string_view text) {
    const TextLimit limit = counting_->limit();
    if (!IsTooLong(limit, text)) {
      Pack({text});
      return true;
    }
    ++plan_->rows_too_long;
    const absl::StatusOr<std::vector<absl::string_view>> parts = FitText(limit, text, limits_.max_texts);
    if (!parts.ok()) return false;
    Pack(*parts);
    return true;
  }

 private:
  void Pack(const std::vector<absl::string_view>& parts) {
    int64_t tokens = 0;
    size_t bytes = 0;
    for (const absl::string_view part : parts) {
      tokens += counting_->Count(part);
      bytes += part.size();
      if (counting_->bounded()) plan_->tokens_at_least += counting_->AtLeast(part);
      plan_->tokens_at_most += counting_->AtMost(part);
    }
    const int count = static_cast<int>(parts.size());
    const bool fits = texts_ + count <= limits_.max_texts && bytes_ + bytes <= limits_.max_text_bytes;
    if (texts_ > 0 && (!fits || !packer_.Takes(texts_, tokens_, tokens))) {
      packer_.Close(texts_, tokens_);
      texts_ = 0;
      tokens_ = 0;
      bytes_ = 0;
    }
    if (texts_ == 0) ++plan_->requests;
    texts_ += count;
    tokens_ += tokens;
    bytes_ += bytes;
    ++plan_->texts;
    plan_->text_bytes += static_cast<int64_t>(bytes);
    plan_->tokens += tokens;
  }

  const BatchLimits limits_;
  const TokenCounting* const counting_;
  RequestPacker packer_;
  PlanNumbers* const plan_;
  int texts_ = 0;  // of the request that is being filled
  int64_t tokens_ = 0;
  size_t bytes_ = 0;
};

// Counts rows and their texts into the plan, each text once.
class RowReckoner {
 public:
  RowReckoner(const ResolvedJob& job, const TokenCounting* counting, PlanNumbers* plan)
      : job_(job), counting_(counting), plan_(plan), texts_(job, counting, plan) {}

  void Add(std::optional<absl::string_view> text) {
    const bool cuts = job_.pipeline.text_limit.policy == LongText::kTruncate;
    const size_t most = job_.pipeline.max_text_bytes;
    const size_t max_bytes = cuts ? most : std::min(most, job_.pipeline.batch.max_text_bytes);
    ++plan_->rows;
    if (!CheckText(text, max_bytes).ok()) {
      ++plan_->rows_rejected;
      return;
    }
    const TextHash hash = HashText(*text);
    if (refused_.Contains(hash)) {
      ++plan_->rows_rejected;
      ++plan_->rows_too_long;
      return;
    }
    if (job_.keep_vectors == KeepVectors::kAlways && !seen_.Insert(hash)) {
      if (IsTooLong(counting_->limit(), *text)) ++plan_->rows_too_long;
      return;
    }
    if (texts_.Add(*text)) return;
    ++plan_->rows_rejected;
    refused_.Insert(hash);
  }

 private:
  const ResolvedJob& job_;
  const TokenCounting* const counting_;
  PlanNumbers* const plan_;
  TextReckoner texts_;
  TextSet seen_, refused_;
};

// A row more, behind those before it.
void AddContents(const RowView& row, TextHash* contents) {
  const TextHash text = row.text.has_value() ? HashText(*row.text) : TextHash{};
  *contents = HashText(absl::StrCat(contents->hi, " ", contents->lo, " ", text.hi, " ", text.lo, " ",
                                    row.text.has_value() ? 1 : 0, KeyText(row.key)));
}

absl::Status ReadAll(const ResolvedJob& job, Source* source, RowReckoner* reckoner, PlanNumbers* plan) {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) return absl::OkStatus();
    if (job.options.limit > 0 && plan->rows == job.options.limit) return absl::OkStatus();
    const auto* key = std::get_if<absl::string_view>(&row->key);
    plan->key_bytes += key == nullptr ? 8 : static_cast<int64_t>(key->size());
    AddContents(*row, &plan->contents);
    reckoner->Add(row->text);
  }
}

// Rows that have a vector, made from another text. Where all rows are read, they are counted already.
absl::Status ReadChanged(const ResolvedJob& job, RowReckoner* reckoner, PlanNumbers* plan) {
  const bool counted = job.selection.rows == Selection::Rows::kAll;
  absl::StatusOr<std::unique_ptr<JobReader>> ledger = JobReader::Open(job.directory);
  if (!ledger.ok() && !absl::IsNotFound(ledger.status())) return ledger.status();
  // One that was rejected has no vector, and is among those that are read if nobody else has given it one.
  const RowFindings findings = {[&](const LedgerRow& row, const TextHash&, std::optional<absl::string_view> text) {
                                  if (!counted && row.state == SlotState::kKept) reckoner->Add(text);
                                },
                                [](const LedgerRow&) {}};
  ABSL_ASSIGN_OR_RETURN(const ChangedRows changed,
                        FindChangedRows(
                            job, ledger.ok() ? (*ledger)->rows() : 0, [&] { return (*ledger)->Scan(0); }, findings,
                            [&](absl::string_view text) { reckoner->Add(text); }));
  plan->rows_changed = changed.rows_changed;
  plan->rows_lost = changed.rows_lost;
  plan->rows_compared = changed.rows_compared;
  plan->bytes_compared = changed.bytes_read;
  return absl::OkStatus();
}

// Everything but the batches: libraries, the map of texts (measured: 7 bytes each), SQLite's caches.
constexpr int64_t kBaseMemoryBytes = int64_t{60} << 20;
constexpr int64_t kMemoryBytesPerText = 7;
// A row of the ledger with its text hash, besides the key; measured on a ledger of a million rows.
constexpr int64_t kLedgerBytesPerRow = 50;

absl::Status Reckon(const ResolvedJob& job, const Preflight& preflight, PlanNumbers* plan) {
  const int64_t vector_bytes = int64_t{job.client.model.dim} * 4;
  if (const std::optional<double> price = UsdPerToken(job); price.has_value()) {
    plan->price_known = true;
    plan->cost_usd = static_cast<double>(plan->tokens) * *price;
  }
  double minutes = 0;
  const RateLimit limit = TotalLimit(job);
  const double rpm = limit.requests_per_minute, tpm = limit.tokens_per_minute;
  if (rpm > 0) minutes = static_cast<double>(plan->requests) / rpm;
  if (tpm > 0) minutes = std::max(minutes, static_cast<double>(plan->tokens) / tpm);
  if (rpm > 0 || tpm > 0) plan->time = absl::Minutes(minutes);
  if (job.keep_vectors == KeepVectors::kAlways) plan->text_map_bytes = plan->texts * kMemoryBytesPerText;
  plan->memory_bytes = kBaseMemoryBytes + PeakBatchBytes(job.pipeline, job.client.model.dim) + plan->text_map_bytes;
  const int64_t stored_rows = plan->rows - plan->rows_rejected;
  plan->disk_bytes = plan->rows * kLedgerBytesPerRow + plan->key_bytes;
  if (job.keep_vectors == KeepVectors::kAlways) plan->disk_bytes += plan->texts * vector_bytes;
  for (const Store& target : job.targets) {
    const StoreKind& kind = *target.kind;
    plan->disk_bytes += stored_rows * (job.client.model.dim * kind.number_bytes + kind.row_bytes);
    if (kind.scratch_bytes != nullptr) {
      plan->disk_bytes += kind.scratch_bytes(target.location, stored_rows, job.client.model.dim);
    }
    if (kind.is_held_in_memory) {
      plan->memory_bytes +=
          stored_rows * (job.client.model.dim * kind.held_number_bytes + kind.row_bytes + kind.held_row_bytes);
    }
  }
  ABSL_ASSIGN_OR_RETURN(plan->undo, PlanUndo(job, preflight, stored_rows));
  for (const UndoPlan& target : plan->undo) plan->undo_bytes += target.bytes;
  plan->disk_bytes += plan->undo_bytes;
  return absl::OkStatus();
}

// Whose vectors are there already, as far as that is known without sending anything.
absl::Status LookAtModels(const ResolvedJob& job, const Preflight& preflight, const Environment& environment,
                          PlanNumbers* plan) {
  if (!preflight.survey.has_value()) return absl::OkStatus();
  std::optional<JobStats> own;
  // No job there, or none that can be used: `run` says what is wrong with it.
  const absl::StatusOr<std::unique_ptr<JobReader>> reader = JobReader::Open(job.directory);
  if (reader.ok()) {
    ABSL_ASSIGN_OR_RETURN(own, (*reader)->Stats());
  }
  plan->unknown = FindUnknownModel(job, *preflight.survey, own, JobsFolder(environment));
  return absl::OkStatus();
}

std::string TokensText(const TokenCounting& counting, const PlanNumbers& plan) {
  if (counting.estimator() == nullptr) return absl::StrCat(WithCommas(plan.tokens), ", counted");
  if (!counting.bounded()) return absl::StrCat("about ", WithCommas(plan.tokens));
  return absl::StrCat("about ", WithCommas(plan.tokens), ", certainly between ", WithCommas(plan.tokens_at_least),
                      " and ", WithCommas(plan.tokens_at_most), "; --tokenizer counts them");
}

void Add(const PlanNumbers& from, PlanNumbers* to) {
  to->rows += from.rows;
  to->rows_rejected += from.rows_rejected;
  to->texts += from.texts;
  to->text_bytes += from.text_bytes;
  to->key_bytes += from.key_bytes;
  to->rows_changed += from.rows_changed;
  to->rows_lost += from.rows_lost;
  to->rows_compared += from.rows_compared;
  to->bytes_compared += from.bytes_compared;
  to->rows_too_long += from.rows_too_long;
  to->tokens += from.tokens;
  to->tokens_at_least += from.tokens_at_least;
  to->tokens_at_most += from.tokens_at_most;
  to->requests += from.requests;
  to->cost_usd += from.cost_usd;
  to->price_known = from.price_known;
  to->time = to->time == absl::InfiniteDuration() ? from.time : to->time + from.time;
  to->memory_bytes = std::max(to->memory_bytes, from.memory_bytes);
  to->text_map_bytes = std::max(to->text_map_bytes, from.text_map_bytes);
  to->disk_bytes += from.disk_bytes;
  to->undo_bytes += from.undo_bytes;
  to->unknown.rows += from.unknown.rows;
  to->undo.insert(to->undo.end(), from.undo.begin(), from.undo.end());
}

// What becomes of rows that the job knows.
void PrintChanged(const ResolvedJob& job, const Preflight& preflight, const PlanNumbers& plan,
                  absl::FunctionRef<void(absl::string_view, absl::string_view)> line) {
  if (plan.rows_changed > 0) {
    line("changed",
         Counted(plan.rows_changed,
                 "row has another text than the one that its vector was made from; it is embedded again, --no-changed "
                 "leaves it",
                 "rows have another text than the one that their vector was made from; they are embedded again, "
                 "--no-changed leaves them"));
    for (size_t i = 0; i < job.targets.size(); ++i) {
      if (preflight.sinks[i]->row_order() != RowOrder::kAscending || job.targets[i].kind->is_stream) continue;
      line("builds", absl::StrCat(PlaceText(job.targets[i].location),
                                  " again beside what is there, from the job's vectors; it takes its place in one "
                                  "step, and nothing is bought for that"));
    }
  }
  if (plan.rows_lost > 0) {
    line("lost", Counted(plan.rows_lost, "row lacks the vector that the job has bought for it; it is written again",
                         "rows lack the vector that the job has bought for them; it is written again"));
  }
  if (plan.rows_compared > 0) {
    line("compares", absl::StrCat("the texts of ", Counted(plan.rows_compared, "row", "rows"),
                                  " with what the job knows: ", BytesText(plan.bytes_compared), " to be read",
                                  job.options.no_changed ? "" : ", --no-changed reads less"));
  }
}

void PrintText(const ResolvedJob& job, const TokenCounting& counting, const Preflight& preflight,
               const PlanNumbers& plan) {
  const auto line = [](absl::string_view name, absl::string_view value) {
    std::cout << name << std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') << value << "\n";
  };
  if (!job.stream.empty()) line("stream", job.stream);
  line("source", absl::StrCat(job.identity.source, ", ", job.identity.selection));
  for (const Store& target : job.targets) line("target", PlaceText(target.location));
  for (const std::string& change : preflight.changes) line("changes", change);
  for (const std::string& remark : preflight.remarks) line("found", remark);
  for (const Store& target : job.targets) {
    if (!target.kind->is_table() || target.kind->lock != nullptr) continue;
    line("found", absl::StrCat(PlaceText(target.location),
                               " knows no lock that would keep another job away; a run reads back at its end what it "
                               "has written, and compares it"));
  }
  if (const std::string unknown = UnknownModelText(job, plan.unknown); !unknown.empty()) line("found", unknown);
  line("model", absl::StrCat(job.client.model.name, ", ", job.client.model.dim, " dimensions"));
  line("rows", WithCommas(plan.rows));
  if (plan.rows_rejected > 0) {
    line("rejected",
         absl::StrCat(WithCommas(plan.rows_rejected), " of them (text is NULL, empty, not UTF-8 or too long)"));
  }
  PrintChanged(job, preflight, plan, line);
  line("texts", absl::StrCat(WithCommas(plan.texts), " different, ", BytesText(plan.text_bytes)));
  const LongText policy = job.pipeline.text_limit.policy;
  if (policy != LongText::kReject && counting.limit().meter == nullptr) {
    line("too long", policy == LongText::kSplit
                         ? "of texts that the API refuses as too long the parts are embedded"
                         : "of texts that the API refuses as too long the beginning is embedded");
  } else if (policy != LongText::kReject || plan.rows_too_long > 0) {
    line("too long",
         absl::StrCat(Counted(plan.rows_too_long, "row has", "rows have"), " more than ",
                      Counted(job.pipeline.text_limit.max_tokens, "token", "tokens"), ": ",
                      policy == LongText::kSplit      ? "their parts are embedded, the mean is stored"
                      : policy == LongText::kTruncate ? "only their beginning is embedded"
                                                      : "rejected; --long-text truncate or split embeds them"));
  }
  line("tokens", TokensText(counting, plan));
  line("requests",
       absl::StrCat("about ", WithCommas(plan.requests), ", at most ", job.client.concurrency, " at a time"));
  line("money", PriceText(job, plan.tokens));
  line("time", plan.time == absl::InfiniteDuration()
                   ? "no limit given (--rpm, --tpm); the API decides"
                   : absl::StrCat("at least ", DurationText(plan.time), " at the given limits"));
  line("memory", absl::StrCat("at most ", BytesText(plan.memory_bytes), ", of which ", BytesText(plan.text_map_bytes),
                              " for the map of the texts"));
  line("disk", absl::StrCat("about ", BytesText(plan.disk_bytes)));
  for (const UndoPlan& target : plan.undo) line("overwrites", UndoText(target, job.directory));
  if (const std::string dropped = WithoutWayBack(job); !dropped.empty()) line("no way back", dropped);
  line("job", absl::StrCat(job.directory, std::filesystem::exists(job.directory + "/ledger.db")
                                              ? ": exists; what it has is not bought again"
                                              : ": new"));
  for (const std::string& note : job.notes) line("note", note);
}

void PrintJson(absl::string_view type, const ResolvedJob& job, const std::string& directory,
               const TokenCounting& counting, const PlanNumbers& plan) {
  JsonLine line(type);
  if (type == "stream") line.Add("stream", job.stream);
  line.Add("rows_selected", plan.rows)
      .Add("rows_rejected", plan.rows_rejected)
      .Add("texts_unique", plan.texts)
      .Add("text_bytes", plan.text_bytes)
      .Add("rows_changed", plan.rows_changed)
      .Add("rows_lost", plan.rows_lost)
      .Add("rows_compared", plan.rows_compared)
      .Add("bytes_compared", plan.bytes_compared)
      .Add("rows_too_long", plan.rows_too_long)
      .Add("tokens", plan.tokens)
      .AddRaw("tokens_exact", counting.estimator() == nullptr ? "true" : "false")
      .Add("tokens_at_least", plan.tokens_at_least)
      .Add("tokens_at_most", plan.tokens_at_most)
      .Add("requests", plan.requests)
      .Add("cost_usd", plan.price_known ? plan.cost_usd : absl::ToDoubleSeconds(absl::InfiniteDuration()))
      .Add("seconds_at_limits", absl::ToDoubleSeconds(plan.time))
      .Add("memory_bytes", plan.memory_bytes)
      .Add("memory_text_map_bytes", plan.text_map_bytes)
      .Add("disk_bytes", plan.disk_bytes)
      .Add("undo_bytes", plan.undo_bytes)
      .Add("unknown_model_rows", plan.unknown.rows)
      .AddRaw("overwrites", UndoJson(plan.undo))
      .Add("without_way_back", WithoutWayBack(job))
      .Add("model", job.client.model.name)
      .Add("dimensions", job.client.model.dim)
      .Add("job", directory);
  std::cout << line.ToString() << std::endl;
}

// What --shards and --out ask for, before anything is read. *parent: the folder of the shares.
absl::Status CheckShardOptions(const CommandOptions& options, const std::vector<ResolvedJob>& jobs,
                               std::string* parent) {
  if (!options.shard.empty()) {
    return absl::InvalidArgumentError("--shard: a plan is of all shards; say how many with --shards N");
  }
  if (!options.plan.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--plan goes with `reembed run`; make a plan with `reembed plan ... --out ", options.plan, "`"));
  }
  if (options.shards == 0) {
    const bool read_once =
        std::any_of(jobs.begin(), jobs.end(), [](const ResolvedJob& job) { return job.source.kind->is_stream; });
    if (options.out.empty() || !read_once) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--out: what comes on standard input can be read once only, so no plan of it fits later");
  }
  if (options.shards < 1 || options.shards > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat("--shards ", options.shards, ": expected 1 to ", kMaxShards, " shards"));
  }
  if (jobs.size() > 1) {
    return absl::InvalidArgumentError(
        "--shards: this job has several streams; choose one with --stream, and give each an --out of its own");
  }
  if (options.out.empty() && options.job.empty()) {
    return absl::InvalidArgumentError(
        "--shards: say with --out DIR where the plan goes; every shard names it with --job");
  }
  ABSL_RETURN_IF_ERROR(CheckCanBeSharded(jobs.front()));
  *parent = AbsolutePath(options.out.empty() ? options.job : options.out);
  if (!std::filesystem::exists(*parent + "/ledger.db")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(*parent, ": holds a job without shards; name another folder"));
}

// Writes the plan, or finds that it is there. Returns it.
absl::StatusOr<ShardPlan> PlanShards(const CommandOptions& options, const std::string& parent, const ResolvedJob& job,
                                     const PlanNumbers& numbers) {
  ABSL_RETURN_IF_ERROR(MakeOwnFolder(parent));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(parent));
  absl::StatusOr<ShardPlan> there = ReadShardPlan(parent);
  ShardPlan plan = PlanOf(job, options.shards);
  if (!absl::IsNotFound(there.status())) {
    ABSL_RETURN_IF_ERROR(there.status());
    ABSL_RETURN_IF_ERROR(CheckShardPlan(parent, *there, options.shards, job.identity, plan.targets));
    return there;
  }
  plan.rows = numbers.rows;
  if (numbers.price_known) plan.cost_usd = numbers.cost_usd;
  ABSL_RETURN_IF_ERROR(CutSource(job, &plan));
  ABSL_RETURN_IF_ERROR(WriteShardPlan(parent, &plan));
  return plan;
}

}  // namespace

absl::StatusOr<PlanNumbers> ReckonStream(const ResolvedJob& job, const TokenCounting* counting,
                                         const Environment& environment, Preflight* preflight) {
  PlanNumbers plan;
  ABSL_RETURN_IF_ERROR(LookAtModels(job, *preflight, environment, &plan));
  RowReckoner reckoner(job, counting, &plan);
  ABSL_RETURN_IF_ERROR(ReadAll(job, preflight->source.get(), &reckoner, &plan));
  ABSL_RETURN_IF_ERROR(ReadChanged(job, &reckoner, &plan));
  ABSL_RETURN_IF_ERROR(Reckon(job, *preflight, &plan));
  return plan;
}

ExitCode PlanCommand(CommandOptions options, const Environment& environment) {
  const StopSignals signals({.command = "plan", .left = "nothing was changed", .json = options.json});
  const auto fail = [&](const absl::Status& status) {
    std::vector<std::string> uris = options.targets;
    uris.push_back(options.source);
    return Fail("plan", WithQuotingAdvice(status, uris), options.json);
  };
  absl::StatusOr<std::vector<ResolvedJob>> jobs = ResolveStreams(options, environment, KeyNeed::kNone);
  if (!jobs.ok()) return fail(jobs.status());
  if (jobs->front().directory.empty()) return fail(CheckJobsFolder(environment));
  if (absl::Status dropped = DropAbsentStreams(&*jobs); !dropped.ok()) return fail(dropped);
  if (absl::Status user = CheckUser(*jobs); !user.ok()) return fail(user);
  const absl::StatusOr<std::unique_ptr<TokenCounting>> counting = TokenCounting::Make(jobs->front());
  if (!counting.ok()) return fail(counting.status());
  for (ResolvedJob& job : *jobs) job.pipeline.text_limit = (*counting)->limit();
  std::string parent;
  if (absl::Status asked = CheckShardOptions(options, *jobs, &parent); !asked.ok()) return fail(asked);
  const bool several = !jobs->front().stream.empty();
  PlanNumbers total;
  std::vector<PlannedStream> planned;
  for (const ResolvedJob& job : *jobs) {
    absl::StatusOr<Preflight> preflight = Check(job);
    if (!preflight.ok()) return fail(preflight.status());
    const absl::StatusOr<PlanNumbers> reckoned = ReckonStream(job, counting->get(), environment, &*preflight);
    if (!reckoned.ok()) return fail(reckoned.status());
    const PlanNumbers& plan = *reckoned;
    Add(plan, &total);
    planned.push_back(PlannedStreamOf(job, *preflight, plan));
    if (!options.json) {
      PrintText(job, **counting, *preflight, plan);
      if (several) std::cout << "\n";
    } else if (several) {
      PrintJson("stream", job, job.directory, **counting, plan);
    }
  }
  const ResolvedJob& first = jobs->front();
  if (options.shards > 0) {
    const absl::StatusOr<ShardPlan> shards = PlanShards(options, parent, first, total);
    if (!shards.ok()) return fail(shards.status());
    if (options.json) {
      JsonLine line("shards");
      std::cout << line.Add("shards", shards->shards).Add("plan", shards->id).Add("out", parent).ToString() << "\n";
    } else {
      std::cout << "shards      " << shards->shards << " of about " << WithCommas(total.rows / shards->shards)
                << " rows: `--job " << parent << " --shard 0/" << shards->shards << "` to `--shard "
                << shards->shards - 1 << "/" << shards->shards << "`\n";
    }
  }
  const bool saves = options.shards == 0 && !options.out.empty();
  if (saves) {
    if (absl::Status written = WritePlan(options.out, options, planned); !written.ok()) return fail(written);
    if (options.json) std::cout << JsonLine("saved_plan").Add("file", options.out).ToString() << "\n";
  }
  if (options.json) {
    const std::string directory =
        several ? std::filesystem::path(first.directory).parent_path().string() : first.directory;
    PrintJson("plan", first, directory, **counting, total);
    return kExitDone;
  }
  if (jobs->size() > 1) {
    std::cout << "together    " << Counted(total.rows, "row", "rows") << ", about "
              << Counted(total.tokens, "token", "tokens")
              << (total.cost_usd > 0 ? absl::StrCat(", ", MoneyText(total.cost_usd)) : "") << "\n";
  }
  std::cout << (options.shards > 0
                    ? std::string("the plan of the shards was written, and nothing else was written or sent")
                : saves ? absl::StrCat("nothing was written but ", options.out,
                                       ", and nothing sent; reembed run --plan ", options.out, " does exactly this")
                        : "nothing was written or sent")
            << std::endl;
  return kExitDone;
}

}  // namespace reembed
