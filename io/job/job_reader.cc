// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_reader.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "io/job/batch_keeping.h"
#include "io/job/row_scan.h"

namespace reembed {
namespace {

struct KnownRows {
  int64_t rows = 0;
  int64_t done = 0;  // where no vectors are kept
  const SlotStates& states;
};

// The slots from the first that is free to the last; empty if none is.
SlotRange FreeSlots(const SlotStates& states) {
  SlotRange free;
  for (int64_t slot = 0; slot < states.size(); ++slot) {
    if (states[slot] != SlotState::kFree) continue;
    if (free.size() == 0) free.begin = slot;
    free.end = slot + 1;
  }
  return free;
}

// Rows that have neither a vector nor a reject, without their keys and texts: a sixth of what it takes to walk over
// them. nullopt: walk, since a row or a text is missing.
absl::StatusOr<std::optional<int64_t>> CountPending(LedgerConnection* ledger, const KnownRows& known, bool kept) {
  ABSL_ASSIGN_OR_RETURN(const int64_t rows, ledger->QueryInteger("SELECT count(*) FROM rows"));
  if (rows != known.rows) return std::nullopt;
  constexpr char kNotRejected[] =
      " AND NOT EXISTS (SELECT 1 FROM rejects AS r WHERE r.ordinal = rows.ordinal AND r.sink = '')";
  if (!kept) {
    ABSL_ASSIGN_OR_RETURN(
        LedgerStatement count,
        ledger->Prepare(absl::StrCat("SELECT count(*) FROM rows WHERE ordinal < ?1 AND ordinal >= ?2", kNotRejected)));
    count.Bind(1, known.rows);
    count.Bind(2, known.done);
    ABSL_RETURN_IF_ERROR(count.Step().status());
    return count.Integer(0);
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t texts, ledger->QueryInteger("SELECT count(*) FROM texts"));
  if (texts != known.states.size()) return std::nullopt;
  // While a run is at work the free ones are close together: those of its batches.
  const SlotRange free = FreeSlots(known.states);
  ABSL_ASSIGN_OR_RETURN(LedgerStatement row, ledger->Prepare(absl::StrCat(
                                                 "SELECT slot FROM rows WHERE ordinal < ?1 AND (slot < 0 OR slot >= ?2",
                                                 " OR slot >= ?3 AND slot < ?4)", kNotRejected)));
  row.Bind(1, known.rows);
  row.Bind(2, texts);
  row.Bind(3, free.begin);
  row.Bind(4, free.end);
  int64_t pending = 0;
  absl::StatusOr<bool> found = row.Step();
  for (; found.ok() && *found; found = row.Step()) {
    const int64_t slot = row.Integer(0);
    if (!known.states.contains(slot) || known.states[slot] == SlotState::kFree) ++pending;
  }
  ABSL_RETURN_IF_ERROR(found.status());
  return pending;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobReader>> JobReader::Open(const std::string& dir) {
  std::unique_ptr<JobReader> reader(new JobReader(dir));
  const std::string path = absl::StrCat(dir, "/ledger.db");
  absl::StatusOr<std::unique_ptr<LedgerConnection>> ledger = OpenLedgerReadOnly(path);
  if (absl::IsNotFound(ledger.status()) && !std::filesystem::exists(path)) {
    return absl::NotFoundError(absl::StrCat(dir, ": no job directory"));
  }
  ABSL_RETURN_IF_ERROR(ledger.status());
  reader->ledger_ = *std::move(ledger);
  ABSL_ASSIGN_OR_RETURN(reader->find_slot_, reader->ledger_->Prepare("SELECT slot FROM rows WHERE ordinal = ?1"));
  // One view of all tables, whatever a run commits meanwhile.
  ABSL_RETURN_IF_ERROR(reader->ledger_->Execute("BEGIN"));
  ABSL_RETURN_IF_ERROR(reader->Load());
  ABSL_RETURN_IF_ERROR(reader->ledger_->Execute("COMMIT"));
  return reader;
}

absl::Status JobReader::Load() {
  ABSL_ASSIGN_OR_RETURN(head_, ReadHead(ledger_.get()));
  ABSL_ASSIGN_OR_RETURN(rows_, ReadRowCount(ledger_.get()));
  if (head_.keep_vectors == KeepVectors::kNever) {
    ABSL_ASSIGN_OR_RETURN(done_rows_, ledger_->QueryInteger("SELECT min(position) FROM sinks"));
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t texts, ReadTextCount(ledger_.get()));
  ABSL_ASSIGN_OR_RETURN(runs_, ReadKeptRuns(ledger_.get(), texts));
  ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> rejected, ReadRejectedSlots(ledger_.get(), texts));
  states_.Reset(texts);
  for (const KeptRun& run : runs_) {
    for (int64_t slot = run.slots.begin; slot < run.slots.end; ++slot) states_.Set(slot, SlotState::kKept);
  }
  for (const int64_t slot : rejected) states_.Set(slot, SlotState::kRejected);
  absl::StatusOr<std::unique_ptr<VectorFile>> vectors =
      VectorFile::Open(absl::StrCat(dir_, "/vectors.f32"), head_.identity.dim, VectorFile::Access::kReadOnly);
  // A run that was killed right at its start may have made no file yet.
  if (absl::IsNotFound(vectors.status()) && runs_.empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(vectors.status());
  vectors_ = *std::move(vectors);
  ABSL_ASSIGN_OR_RETURN(kept_, KeptVectors::Open(ledger_.get(), vectors_.get()));
  return absl::OkStatus();
}

SlotState JobReader::StateOf(const LedgerRow& row) const {
  if (head_.keep_vectors == KeepVectors::kNever) {
    return row.ordinal < done_rows_ ? SlotState::kKept : SlotState::kFree;
  }
  // A row that a run beside this moved to a newer text is still to do, as far as this knows.
  return states_.contains(row.slot) ? states_[row.slot] : SlotState::kFree;
}

absl::StatusOr<std::unique_ptr<LedgerCursor>> JobReader::Scan(int64_t from) const {
  return RowScan::Open(ledger_->path(), head_.keep_vectors, from, rows_, [this](absl::Span<LedgerRow> rows) {
    for (LedgerRow& row : rows) row.state = StateOf(row);
  });
}

absl::StatusOr<JobStats> JobReader::Stats() {
  ABSL_ASSIGN_OR_RETURN(JobStats stats, ReadStats(ledger_.get()));
  stats.rows = rows_;
  stats.texts = states_.size();
  stats.kept_texts = states_.Count(SlotState::kKept);
  ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> pending,
                        CountPending(ledger_.get(), {.rows = rows_, .done = done_rows_, .states = states_},
                                     head_.keep_vectors == KeepVectors::kAlways));
  if (pending.has_value()) {
    stats.rows_pending = *pending;
    return stats;
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerCursor> rows, Scan(0));
  absl::StatusOr<std::optional<LedgerRow>> row = rows->Next();
  for (; row.ok() && row->has_value(); row = rows->Next()) {
    if ((*row)->state == SlotState::kFree) ++stats.rows_pending;
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return stats;
}

absl::StatusOr<int64_t> JobReader::TextsInFlight() const {
  ABSL_ASSIGN_OR_RETURN(const int64_t closed, ReadMetaNumber(ledger_.get(), kMetaClean));
  return closed != 0 ? 0 : ReadMetaNumber(ledger_.get(), kMetaInFlight);
}

absl::StatusOr<std::vector<RejectedRow>> JobReader::ListRejects(int64_t limit) {
  return ReadRejects(ledger_.get(), limit);
}

absl::StatusOr<int64_t> JobReader::FindSlot(int64_t ordinal) const {
  find_slot_.Bind(1, ordinal);
  ABSL_ASSIGN_OR_RETURN(const bool row, find_slot_.Step());
  if (!row) return absl::NotFoundError(absl::StrCat(dir_, ": no row ", ordinal));
  const int64_t slot = find_slot_.Integer(0);
  find_slot_.Reset();
  return slot;
}

absl::Status JobReader::ReadVector(int64_t slot, absl::Span<float> vector) const {
  const bool kept = states_.contains(slot) && states_[slot] == SlotState::kKept;
  if (!kept || vectors_ == nullptr) return absl::NotFoundError(absl::StrCat(dir_, ": slot ", slot, " has no vector"));
  return kept_->Read(slot, vector);
}

absl::StatusOr<VectorCheck> JobReader::CheckVectors() const {
  VectorCheck check;
  if (vectors_ == nullptr) return check;
  for (const KeptRun& run : runs_) check.texts += run.slots.size();
  ABSL_ASSIGN_OR_RETURN(check.damaged, FindDamage(runs_, 0, *vectors_, kept_.get()));
  return check;
}

}  // namespace reembed
