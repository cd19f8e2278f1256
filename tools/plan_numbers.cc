// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_numbers.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/pace/request_packer.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"
#include "engine/text/long_text.h"
#include "engine/text_set.h"
#include "io/job/job_reader.h"
#include "tools/changed_rows.h"
#include "tools/endpoints.h"
#include "tools/spending.h"

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

void AddNumbers(const PlanNumbers& from, PlanNumbers* to) {
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

}  // namespace reembed
