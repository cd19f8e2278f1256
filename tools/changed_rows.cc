// SPDX-License-Identifier: Apache-2.0
#include "tools/changed_rows.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"
#include "engine/text/long_text.h"
#include "tools/earlier_jobs.h"
#include "tools/registry.h"

namespace reembed {
namespace {

// Each is a walk over the source.
constexpr size_t kMaxEarlierJobs = 4;

// A job's written rows as CompareRows() reads a ledger.
class WrittenCursor final : public LedgerCursor {
 public:
  explicit WrittenCursor(std::unique_ptr<WrittenRows> rows) : rows_(std::move(rows)) {}

  absl::StatusOr<std::optional<LedgerRow>> Next() override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<WrittenRow> row, rows_->Next());
    if (!row.has_value()) return std::nullopt;
    return LedgerRow{
        .ordinal = number_++, .key = row->key, .slot = row->slot, .hash = row->hash, .state = SlotState::kKept};
  }

 private:
  const std::unique_ptr<WrittenRows> rows_;
  int64_t number_ = 0;
};

absl::StatusOr<std::unique_ptr<LedgerCursor>> OpenWritten(const EarlierJob& job) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<WrittenRows> rows, WrittenRows::Open(job));
  return std::make_unique<WrittenCursor>(std::move(rows));
}

// Whether a hash in `earlier` is of the same text as one of `job` would be, and the vector what it would make.
bool MakesTheSame(const EarlierJob& earlier, const ResolvedJob& job) {
  const JobIdentity &theirs = earlier.identity, &ours = job.identity;
  const absl::StatusOr<Location> source = ParseLocation(theirs.source);
  return earlier.keep_vectors == KeepVectors::kAlways && !earlier.rolled_back.has_value() && source.ok() &&
         PlaceOf(*source) == PlaceOf(*ParseLocation(ours.source)) &&
         source->Get("key") == job.source.location.Get("key") && theirs.model == ours.model && theirs.dim == ours.dim &&
         theirs.recipe == ours.recipe && theirs.normalization == ours.normalization;
}

using KeysByPrint = absl::flat_hash_map<uint64_t, Key>;

absl::Status EraseThoseOf(std::unique_ptr<LedgerCursor> cursor, KeysByPrint* keys) {
  while (!keys->empty()) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, cursor->Next());
    if (!row.has_value()) return absl::OkStatus();
    keys->erase(KeyPrint(row->key));
  }
  return absl::OkStatus();
}

// Rows that an earlier job has embedded with another text than they have now. Who wrote last, knows.
absl::StatusOr<KeysByPrint> ChangedSince(const ResolvedJob& job, const std::vector<EarlierJob>& earlier,
                                         ScanLedger ledger, int64_t ledger_rows) {
  KeysByPrint all;
  for (size_t i = 0; i < earlier.size(); ++i) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenAllRows(job));
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> written, OpenWritten(earlier[i]));
    KeysByPrint changed;
    const auto note = [&](const LedgerRow& row, const TextHash&, std::optional<absl::string_view>) {
      changed.try_emplace(KeyPrint(row.key), Own(row.key));
    };
    ABSL_RETURN_IF_ERROR(
        CompareRows({.all = source.get()}, std::move(written), {note, [](const LedgerRow&) {}}).status());
    for (size_t newer = 0; newer < i && !changed.empty(); ++newer) {
      ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> other, OpenWritten(earlier[newer]));
      ABSL_RETURN_IF_ERROR(EraseThoseOf(std::move(other), &changed));
    }
    if (ledger_rows > 0 && !changed.empty()) {
      ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> own, ledger());
      ABSL_RETURN_IF_ERROR(EraseThoseOf(std::move(own), &changed));
    }
    all.insert(changed.begin(), changed.end());
  }
  return all;
}

absl::Status AddThoseOfEarlierJobs(const ResolvedJob& job, ScanLedger ledger, int64_t ledger_rows,
                                   absl::FunctionRef<void(absl::string_view)> of_earlier, ChangedRows* found) {
  std::vector<EarlierJob> earlier;
  for (EarlierJob& other : FindEarlierJobs(job.targets[0].location, {job.jobs_folder}, FolderOfAll(job)).jobs) {
    if (earlier.size() < kMaxEarlierJobs && MakesTheSame(other, job)) earlier.push_back(std::move(other));
  }
  if (earlier.empty()) return absl::OkStatus();
  absl::StatusOr<KeysByPrint> changed = ChangedSince(job, earlier, ledger, ledger_rows);
  if (!changed.ok() || changed->empty()) return changed.status();
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> lookup, OpenAllRows(job));
  for (const Key& key : found->new_rows.keys) changed->erase(KeyPrint(ViewOf(key)));
  found->compared = true;
  for (auto& [print, key] : *changed) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, lookup->Find(ViewOf(key)));
    if (!row.has_value()) continue;
    ++found->rows_changed;
    of_earlier(row->text.value_or(""));
    // It comes by its key, and not once more if it lacks a vector, too.
    found->new_rows.known.insert(print);
    found->new_rows.keys.push_back(std::move(key));
  }
  return absl::OkStatus();
}

// As RowReader decides.
bool IsUsable(const PipelineOptions& job, std::optional<absl::string_view> text) {
  const TextLimit& limit = job.text_limit;
  const bool cuts = limit.policy == LongText::kTruncate;
  const size_t max_bytes = cuts ? job.max_text_bytes : std::min(job.max_text_bytes, job.batch.max_text_bytes);
  if (!CheckText(text, max_bytes).ok()) return false;
  if ((cuts && limit.meter == nullptr) || !IsTooLong(limit, *text)) return true;
  return FitText(limit, *text, job.batch.max_texts).ok();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenAllRows(const ResolvedJob& job) {
  Selection all = job.selection;
  all.rows = Selection::Rows::kAll;
  return OpenSource(job.source, all);
}

absl::StatusOr<ChangedRows> FindChangedRows(const ResolvedJob& job, int64_t ledger_rows, ScanLedger ledger,
                                            const RowFindings& findings,
                                            absl::FunctionRef<void(absl::string_view text)> of_earlier) {
  ChangedRows found;
  if (job.source.kind->is_stream) return found;  // read once, and never again
  const bool only_lacking = job.selection.rows == Selection::Rows::kWithoutVector;
  const bool texts = !job.options.no_changed && job.keep_vectors == KeepVectors::kAlways;
  if (ledger_rows > 0) {
    std::unique_ptr<Source> all, lacking;
    if (job.in_place) {
      Selection selection = job.selection;
      selection.rows = Selection::Rows::kWithoutVector;
      absl::StatusOr<std::unique_ptr<Source>> source = OpenSource(job.source, selection);
      if (source.ok()) {
        lacking = *std::move(source);
      } else if (only_lacking || !absl::IsFailedPrecondition(source.status())) {
        return source.status();
      }  // else the store cannot tell which rows lack a vector of this width, and a run for all rows need not know
    }
    if (texts || !only_lacking) {
      ABSL_ASSIGN_OR_RETURN(all, OpenAllRows(job));
    }
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> rows, ledger());
    // Where no text is compared, rows that have their vector need not be read.
    const ComparedRows compared = {.all = all != nullptr ? all.get() : lacking.get(),
                                   .lacking = all != nullptr ? lacking.get() : nullptr,
                                   .all_lack = all == nullptr,
                                   .only_lacking = only_lacking,
                                   .texts = texts,
                                   .usable = [&job](auto text) { return IsUsable(job.pipeline, text); }};
    ABSL_ASSIGN_OR_RETURN(RowComparison comparison, CompareRows(compared, std::move(rows), findings));
    found = {.compared = true,
             .rows_compared = comparison.rows,
             .bytes_read = comparison.text_bytes,
             .rows_changed = comparison.rows_changed,
             .rows_lost = comparison.rows_lost,
             .new_rows = std::move(comparison.new_rows)};
  }
  if (!texts || !only_lacking) return found;
  ABSL_RETURN_IF_ERROR(AddThoseOfEarlierJobs(job, ledger, ledger_rows, of_earlier, &found));
  return found;
}

absl::StatusOr<ChangedRows> MarkChanged(const ResolvedJob& job, const std::string& own, int64_t written,
                                        JobStore* store, absl::FunctionRef<void(const LedgerRow&)> changed) {
  const RowFindings findings = {[&](const LedgerRow& row, const TextHash& now, std::optional<absl::string_view>) {
                                  changed(row);
                                  store->Change(row, now);
                                },
                                [&](const LedgerRow& row) {
                                  if (row.ordinal < written) store->Owe(own, row.ordinal);
                                }};
  return FindChangedRows(
      job, store->rows(), [store] { return store->Scan(0); }, findings, [](absl::string_view) {});
}

absl::StatusOr<bool> HasNewRows(const ResolvedJob& job, const NewRows& found) {
  if (!found.keys.empty()) return true;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, job.selection));
  if (found.after.has_value()) {
    const absl::Status sought = source->SeekAfter(ViewOf(*found.after));
    if (absl::IsNotFound(sought)) return false;  // a file that begins anew; the next run reads it
    ABSL_RETURN_IF_ERROR(sought);
  }
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) return false;
    if (!found.known.contains(KeyPrint(row->key))) return true;
  }
}

}  // namespace reembed
