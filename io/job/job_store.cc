// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_store.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/batch_keeping.h"
#include "io/job/job_reader.h"
#include "io/job/owed_table.h"
#include "io/job/row_scan.h"
#include "io/job/undo_store.h"

namespace reembed {

JobStore::JobStore(const std::string& dir, const JobIdentity& identity, JobOptions options)
    : dir_(dir),
      head_{.identity = identity, .keep_vectors = options.keep_vectors},
      options_(std::move(options)),
      texts_(dir) {}

JobStore::~JobStore() { Close().IgnoreError(); }

int64_t JobStore::rows() const {
  const MutexLock lock(&mutex_);
  return rows_;
}

absl::StatusOr<std::unique_ptr<LedgerCursor>> JobStore::Scan(int64_t from) {
  ABSL_RETURN_IF_ERROR(Sync());
  return RowScan::Open(
      absl::StrCat(dir_, "/ledger.db"), head_.keep_vectors, from, rows(),
      [this](absl::Span<LedgerRow> rows) {
        const MutexLock lock(&mutex_);
        for (LedgerRow& row : rows) row.state = StateOf(row);
      },
      [this](int64_t first_slot, absl::Span<TextHash> hashes) {
        const MutexLock lock(&mutex_);
        const int64_t last = first_slot + static_cast<int64_t>(hashes.size()) - 1;
        if (last >= texts_.size()) {
          return absl::DataLossError(
              absl::StrCat(dir_, "/ledger.db: rows: expected slots below ", texts_.size(), ", got ", last));
        }
        return texts_.ReadHashes(first_slot, hashes);
      });
}

SlotState JobStore::StateOf(const LedgerRow& row) const {
  if (head_.keep_vectors == KeepVectors::kAlways) return row.slot < 0 ? SlotState::kFree : texts_.state(row.slot);
  int64_t done = positions_.empty() ? 0 : rows_;
  for (const auto& [sink, position] : positions_) done = std::min(done, position);
  return row.ordinal < done ? SlotState::kKept : SlotState::kFree;
}

void JobStore::WakeIfFull() {
  if (pending_.size() >= kUrgentRows) wake_.notify_one();
}

void JobStore::WaitForRoom(MutexLock* lock) {
  if (pending_.size() < kMaxWaitingRows) return;
  changed_.wait(*lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return pending_.size() < kMaxWaitingRows || !broken_.ok();
  });
}

void JobStore::Break(absl::Status failure) {
  if (!broken_.ok()) return;
  broken_ = std::move(failure);
  changed_.notify_all();
}

void JobStore::Buy(const TextHash& hash, Enrolment* enrolment) {
  if (head_.keep_vectors == KeepVectors::kNever) {
    enrolment->slot = enrolment->ordinal;
    enrolment->buy = true;
    return;
  }
  const absl::StatusOr<int64_t> slot = texts_.Find(hash);
  if (!slot.ok()) return Break(slot.status());
  enrolment->slot = *slot;
  if (enrolment->slot < 0) {
    if (texts_.size() == TextIndex::kMaxSlots) {
      return Break(absl::ResourceExhaustedError(absl::StrCat(dir_, ": a job holds at most ", texts_.size(), " texts")));
    }
    if (absl::Status added = texts_.Add(hash, SlotState::kClaimed); !added.ok()) return Break(std::move(added));
    enrolment->slot = texts_.size() - 1;
    enrolment->buy = true;
    pending_.AddText(enrolment->slot, hash);
  } else if (texts_.state(enrolment->slot) == SlotState::kFree) {
    texts_.set_state(enrolment->slot, SlotState::kClaimed);
    enrolment->buy = true;
  } else if (texts_.state(enrolment->slot) == SlotState::kRejected) {
    enrolment->reject = absl::UnknownError("rejected");  // until RecordTextReject() has the provider's words
  }
}

Enrolment JobStore::Enrol(KeyView key, const TextHash& hash) {
  Enrolment enrolment = {.slot = -1};
  {
    MutexLock lock(&mutex_);
    WaitForRoom(&lock);
    enrolment.ordinal = rows_++;
    // Nothing may be bought that could not be kept; the row's batch learns the reason from Persist().
    if (!broken_.ok()) return enrolment;
    Buy(hash, &enrolment);
    if (!broken_.ok()) return enrolment;
    pending_.AddRow(enrolment.ordinal, key, enrolment.slot);
    WakeIfFull();
  }
  if (!enrolment.reject.ok()) RecordTextReject(&enrolment);
  return enrolment;
}

Enrolment JobStore::Resume(const LedgerRow& row, const TextHash& hash) {
  Enrolment enrolment = {.ordinal = row.ordinal, .slot = row.slot};
  {
    MutexLock lock(&mutex_);
    WaitForRoom(&lock);
    if (!broken_.ok()) return enrolment;
    Buy(hash, &enrolment);
    if (!broken_.ok()) return enrolment;
    if (enrolment.slot != row.slot) pending_.MoveRow(row.ordinal, enrolment.slot);
    if (row.state == SlotState::kRejected) pending_.TakeBackReject(row.ordinal);
    WakeIfFull();
  }
  if (!enrolment.reject.ok()) RecordTextReject(&enrolment);
  return enrolment;
}

void JobStore::RecordTextReject(Enrolment* enrolment) {
  const absl::StatusOr<absl::Status> reason = TextReject(enrolment->slot);
  const MutexLock lock(&mutex_);
  if (reason.ok()) {
    enrolment->reject = *reason;
    pending_.AddReject(enrolment->ordinal, "", *reason);
  } else {
    Break(reason.status());
  }
}

absl::StatusOr<absl::Status> JobStore::TextReject(int64_t slot) {
  const MutexLock lock(&reader_mutex_);
  return ReadTextReject(reader_.get(), slot);
}

int64_t JobStore::Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) {
  MutexLock lock(&mutex_);
  WaitForRoom(&lock);
  const int64_t rejected = ordinal.has_value() ? *ordinal : rows_++;
  if (!broken_.ok()) return rejected;
  if (!ordinal.has_value()) pending_.AddRow(rejected, key, -1);
  pending_.AddReject(rejected, "", reason);
  WakeIfFull();
  return rejected;
}

void JobStore::Persist(Batch* batch, Done done) {
  Waiting waiting = {.batch = batch, .done = std::move(done), .own_texts = OwnTexts(*batch)};
  absl::Status broken;
  {
    const MutexLock lock(&mutex_);
    broken = broken_;
    if (broken.ok()) {
      queue_.push_back(std::move(waiting));
      wake_.notify_one();
      return;
    }
  }
  std::move(waiting.done)(broken);
}

int JobStore::HeldUp() const {
  const MutexLock lock(&mutex_);
  return committing_ + static_cast<int>(queue_.size());
}

absl::StatusOr<SinkPosition> JobStore::Position(absl::string_view sink) {
  ABSL_RETURN_IF_ERROR(Sync());
  absl::StatusOr<SinkPosition> position;
  {
    const MutexLock lock(&reader_mutex_);
    position = ReadPosition(reader_.get(), sink);
  }
  ABSL_RETURN_IF_ERROR(position.status());
  const MutexLock lock(&mutex_);
  positions_[std::string(sink)] = position->position;
  return position;
}

void JobStore::SavePosition(absl::string_view sink, int64_t position) {
  const MutexLock lock(&mutex_);
  if (!broken_.ok()) return;
  positions_[std::string(sink)] = position;
  pending_.AddPosition(sink, position);
  flush_wanted_ = true;
  wake_.notify_one();
}

void JobStore::Refuse(absl::string_view sink, absl::Span<const RefusedRow> rows) {
  const MutexLock lock(&mutex_);
  if (!broken_.ok()) return;
  for (const RefusedRow& row : rows) pending_.AddReject(row.ordinal, sink, row.reason);
  flush_wanted_ = true;
  wake_.notify_one();
}

absl::StatusOr<std::vector<int64_t>> JobStore::Owed(absl::string_view sink) {
  ABSL_RETURN_IF_ERROR(Sync());
  const MutexLock lock(&reader_mutex_);
  return ReadOwed(reader_.get(), sink);
}

absl::Status JobStore::BeginAgain(absl::string_view sink) {
  ABSL_ASSIGN_OR_RETURN(const SinkPosition position, Position(sink));
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    // The second time it is still the first target that stands there.
    pending_.BeginAgain(sink, OutdatedRows(position).value_or(position.stored_rows));
  }
  return Sync();
}

void JobStore::Settle(absl::string_view sink) {
  const MutexLock lock(&mutex_);
  if (!broken_.ok()) return;
  pending_.Settle(sink);
  flush_wanted_ = true;
  wake_.notify_one();
}

void JobStore::Change(const LedgerRow& row, const TextHash& hash) {
  Enrolment enrolment = {.ordinal = row.ordinal};
  {
    MutexLock lock(&mutex_);
    WaitForRoom(&lock);
    if (!broken_.ok()) return;
    const absl::StatusOr<int64_t> slot = texts_.Find(hash);
    if (!slot.ok()) return Break(slot.status());
    enrolment.slot = *slot;
    if (enrolment.slot < 0) {
      if (absl::Status added = texts_.Add(hash, SlotState::kFree); !added.ok()) return Break(std::move(added));
      enrolment.slot = texts_.size() - 1;
      pending_.AddText(enrolment.slot, hash);
    } else if (texts_.state(enrolment.slot) == SlotState::kRejected) {
      enrolment.reject = absl::UnknownError("rejected");  // until RecordTextReject() has the provider's words
    }
    pending_.ChangeRow(row.ordinal, enrolment.slot, row.slot);
    WakeIfFull();
  }
  if (!enrolment.reject.ok()) RecordTextReject(&enrolment);
}

void JobStore::Owe(absl::string_view sink, int64_t ordinal) {
  MutexLock lock(&mutex_);
  WaitForRoom(&lock);
  if (!broken_.ok()) return;
  pending_.OweRow(sink, ordinal);
  WakeIfFull();
}

absl::StatusOr<JobIdentity> JobStore::identity() {
  const MutexLock lock(&reader_mutex_);
  ABSL_ASSIGN_OR_RETURN(const LedgerHead head, ReadHead(reader_.get()));
  return head.identity;
}

absl::Status JobStore::WidenSelection(absl::string_view sink) {
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    if (!sink.empty()) pending_.AddPosition(sink, 0);
    pending_.WidenSelection(head_.identity.selection);
  }
  return Sync();
}

absl::Status JobStore::Sync() {
  MutexLock lock(&mutex_);
  ABSL_RETURN_IF_ERROR(broken_);
  if (done_ == taken_ && pending_.empty() && queue_.empty()) return absl::OkStatus();
  // The next commit takes all that was said until now; the one under way, if any, may not have.
  const int64_t wanted = taken_ + 1;
  flush_wanted_ = true;
  wake_.notify_one();
  changed_.wait(lock, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return done_ >= wanted || !broken_.ok(); });
  return broken_;
}

absl::Status JobStore::RecordReceipt(const Receipt& receipt) {
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    pending_.AddReceipt(receipt);
  }
  return Sync();
}

absl::Status JobStore::NoteDropped(int64_t texts) {
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    pending_.AddDropped(texts);
  }
  return Sync();
}

void JobStore::NoteLost(int64_t texts, Done noted) {
  absl::Status broken;
  {
    const MutexLock lock(&mutex_);
    broken = broken_;
    if (broken.ok()) {
      pending_.AddDropped(texts);
      notes_.push_back(std::move(noted));
      flush_wanted_ = true;
      wake_.notify_one();
      return;
    }
  }
  std::move(noted)(broken);
}

absl::Status JobStore::NoteSpending(double usd) {
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    pending_.AddSpending(std::llround(usd * kNanosPerDollar));
  }
  return Sync();
}

absl::Status JobStore::NoteAllRead() {
  if (head_.keep_vectors == KeepVectors::kNever) return absl::OkStatus();
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    pending_.AllRead();
  }
  return Sync();
}

absl::Status JobStore::ForgetRollback() {
  // What was kept goes first: the note that it is worth nothing must outlive it.
  ABSL_RETURN_IF_ERROR(RemoveUndo(dir_));
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    pending_.ForgetRollback();
  }
  return Sync();
}

absl::StatusOr<JobStats> JobStore::Stats() {
  ABSL_RETURN_IF_ERROR(Sync());
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> reader, JobReader::Open(dir_));
  return reader->Stats();
}

absl::StatusOr<std::vector<RejectedRow>> JobStore::ListRejects(int64_t limit, const RejectedRow* after) {
  ABSL_RETURN_IF_ERROR(Sync());
  const MutexLock lock(&reader_mutex_);
  return ReadRejects(reader_.get(), limit, after);
}

absl::Status JobStore::Close() {
  if (!thread_.joinable()) {
    const MutexLock lock(&mutex_);
    return broken_;
  }
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
  const MutexLock lock(&mutex_);
  absl::Status result = broken_.ok() ? writer_->EndRun() : broken_;
  if (broken_.ok()) broken_ = absl::FailedPreconditionError(absl::StrCat(dir_, ": the job is closed"));
  // In this order: the writing connection last, which removes the log; the lock when nothing writes any more.
  {
    const MutexLock reader_lock(&reader_mutex_);
    reader_.reset();
  }
  writer_.reset();
  kept_.reset();
  ledger_.reset();
  vectors_.reset();
  lock_.reset();
  return result;
}

}  // namespace reembed
