// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_rollback.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/ledger_tables.h"
#include "io/job/ledger_writer.h"
#include "io/job/owed_table.h"

namespace reembed {
namespace {

class Reader final : public UndoReader {
 public:
  Reader(const UndoTarget& target, const JobReader* job, LedgerConnection* ledger, LedgerStatement rows,
         LedgerStatement note, bool has_sums, RollbackReport* report)
      : target_(target.id),
        name_(target.name),
        has_sums_(has_sums),
        report_(report),
        job_(job),
        ledger_(ledger),
        rows_(std::move(rows)),
        note_(std::move(note)) {
    rows_.Bind(1, target_);
  }

  absl::StatusOr<std::optional<OldRow>> Next() override {
    while (!at_end_) {  // the statement would begin again
      ABSL_ASSIGN_OR_RETURN(const bool row, rows_.Step());
      at_end_ = !row;
      if (at_end_) break;
      OldRow old{.ordinal = rows_.Integer(0), .key = rows_.KeyAt(1)};
      if (!rows_.IsNull(2)) old.content = rows_.Blob(2);
      if (has_sums_ && UndoRowSum(target_, old) != rows_.Integer(3)) {
        report_->Leave(old.key, "its old contents in undo.db are damaged");
        continue;
      }
      const absl::Status written = WrittenVector(old.ordinal).status();
      if (absl::IsDataLoss(written)) {
        report_->Leave(old.key,
                       "the vector that the job wrote is damaged in vectors.f32, so it is not known whether somebody "
                       "has changed the row since; `reembed verify` can repair that by buying it again");
        continue;
      }
      return old;
    }
    return std::nullopt;
  }

  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) override {
    note_.Bind(1, target_);
    note_.BindText(2, name);
    ABSL_ASSIGN_OR_RETURN(const bool found, note_.Step());
    if (!found) return std::nullopt;
    std::string value(note_.Text(0));
    const bool is_sound = !has_sums_ || UndoNoteSum(target_, name, value) == note_.Integer(1);
    note_.Reset();
    if (is_sound) return value;
    return absl::DataLossError(
        absl::StrCat("undo.db: what was noted of ", name_, " is damaged; nothing was rolled back there"));
  }

  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    if (job_->keep_vectors() == KeepVectors::kNever) return std::nullopt;
    // A run may have been ended between the row's new text and its write: which of the vectors is there is not known.
    ABSL_ASSIGN_OR_RETURN(const bool owed, IsRowOwed(ledger_, name_, ordinal));
    if (owed) return std::nullopt;
    ABSL_ASSIGN_OR_RETURN(const int64_t slot, job_->FindSlot(ordinal));
    vector_.resize(static_cast<size_t>(job_->identity().dim));
    const absl::Status read = job_->ReadVector(slot, absl::MakeSpan(vector_));
    if (absl::IsNotFound(read)) return std::nullopt;
    ABSL_RETURN_IF_ERROR(read);
    return absl::MakeConstSpan(vector_);
  }

 private:
  const int64_t target_;
  const std::string name_;
  const bool has_sums_;
  RollbackReport* const report_;
  const JobReader* const job_;
  LedgerConnection* const ledger_;
  LedgerStatement rows_, note_;
  bool at_end_ = false;
  std::vector<float> vector_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobRollback>> JobRollback::Begin(const std::string& dir) {
  std::unique_ptr<JobRollback> rollback(new JobRollback(dir));
  // First: a directory that is none must not get a lock file.
  absl::StatusOr<std::unique_ptr<JobReader>> job = JobReader::Open(dir);
  ABSL_RETURN_IF_ERROR(job.status());
  ABSL_ASSIGN_OR_RETURN(rollback->lock_, JobLock::Acquire(absl::StrCat(dir, "/lock")));
  // Again: what a run wrote before it gave the lock away is to be seen.
  job = JobReader::Open(dir);
  ABSL_RETURN_IF_ERROR(job.status());
  rollback->job_ = *std::move(job);
  ABSL_ASSIGN_OR_RETURN(rollback->ledger_, OpenLedgerReadOnly(absl::StrCat(dir, "/ledger.db")));
  const absl::Status nothing =
      absl::NotFoundError(absl::StrCat(dir,
                                       ": nothing to roll back: this job has overwritten nothing, or ran without an "
                                       "undo log; you can remove new files that it made"));
  absl::StatusOr<std::unique_ptr<LedgerConnection>> undo = OpenUndo(dir);
  if (absl::IsNotFound(undo.status())) return nothing;
  ABSL_RETURN_IF_ERROR(undo.status());
  rollback->undo_ = *std::move(undo);
  ABSL_ASSIGN_OR_RETURN(std::vector<UndoTarget> targets, ReadUndoTargets(rollback->undo_.get()));
  if (targets.empty()) return nothing;
  rollback->targets_ = std::move(targets);
  return rollback;
}

absl::StatusOr<std::unique_ptr<UndoReader>> JobRollback::Read(const UndoTarget& target, RollbackReport* report) const {
  ABSL_ASSIGN_OR_RETURN(const bool has_sums, HasUndoSums(undo_.get()));
  const absl::string_view sum = has_sums ? "sum" : "0";
  ABSL_ASSIGN_OR_RETURN(LedgerStatement rows,
                        undo_->Prepare(absl::StrCat("SELECT ordinal, key, content, ", sum,
                                                    " FROM old_rows WHERE target = ?1 ORDER BY id")));
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement note,
      undo_->Prepare(absl::StrCat("SELECT value, ", sum, " FROM notes WHERE target = ?1 AND name = ?2")));
  return std::make_unique<Reader>(target, job_.get(), ledger_.get(), std::move(rows), std::move(note), has_sums,
                                  report);
}

absl::Status JobRollback::Finish(absl::Time when) {
  const LedgerHead head{.identity = job_->identity(), .keep_vectors = job_->keep_vectors()};
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> ledger, OpenLedger(absl::StrCat(dir_, "/ledger.db"), head));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerWriter> writer, LedgerWriter::Create(ledger.get()));
  std::vector<std::string> names;
  for (const UndoTarget& target : targets_) names.push_back(target.name);
  return writer->RecordRollback(names, when);
}

}  // namespace reembed
