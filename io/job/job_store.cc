// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "io/job/batch_keeping.h"
#include "io/job/job_reader.h"
#include "io/job/owed_table.h"
#include "io/job/row_scan.h"
#include "io/job/undo_store.h"

namespace reembed {
namespace {

absl::Status SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  if (result != 0) return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot be made durable"));
  return absl::OkStatus();
}

absl::Status MakeDirectory(const std::string& dir) {
  const absl::Status made = MakeOwnFolder(dir);
  if (made.ok() || absl::IsResourceExhausted(made)) return made;
  return WithSetting(absl::Status(made.code(), absl::StrCat(made.message(),
                                                            "; the job directory was to be here: "
                                                            "name another")),
                     Setting::kJob);
}

absl::Status CheckIdentityUsable(const JobIdentity& identity) {
  if (identity.dim >= 1 && identity.dim <= kMaxLedgerDim) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("dimensions: expected 1 to ", kMaxLedgerDim, ", got ", identity.dim));
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::string& dir, const JobIdentity& identity,
                                                         JobOptions options) {
  ABSL_RETURN_IF_ERROR(CheckIdentityUsable(identity));
  ABSL_RETURN_IF_ERROR(MakeDirectory(dir));
  std::unique_ptr<JobStore> store(new JobStore(dir, identity, std::move(options)));
  ABSL_RETURN_IF_ERROR(store->OpenFiles());
  store->thread_ = std::thread([raw = store.get()] { raw->Loop(); });
  return store;
}

JobStore::JobStore(const std::string& dir, const JobIdentity& identity, JobOptions options)
    : dir_(dir),
      head_{.identity = identity, .keep_vectors = options.keep_vectors},
      options_(std::move(options)),
      texts_(dir) {}

JobStore::~JobStore() { Close().IgnoreError(); }

absl::Status JobStore::OpenFiles() {
  const std::string path = absl::StrCat(dir_, "/ledger.db");
  absl::StatusOr<std::unique_ptr<JobLock>> lock = JobLock::Acquire(absl::StrCat(dir_, "/lock"));
  ABSL_RETURN_IF_ERROR(lock.status());
  lock_ = *std::move(lock);
  ABSL_ASSIGN_OR_RETURN(ledger_, OpenLedger(path, head_));
  ABSL_ASSIGN_OR_RETURN(format_, ReadFormat(ledger_.get()));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> reader, OpenLedgerReadOnly(path));
  {
    const MutexLock lock(&reader_mutex_);
    reader_ = std::move(reader);
  }
  ABSL_ASSIGN_OR_RETURN(writer_, LedgerWriter::Create(ledger_.get()));
  return LoadTexts();
}

absl::Status JobStore::LoadTexts() {
  const MutexLock lock(&mutex_);
  ABSL_ASSIGN_OR_RETURN(rows_, ReadRowCount(ledger_.get()));
  ABSL_RETURN_IF_ERROR(ReadTexts(ledger_.get(), &texts_));
  int64_t kept = 0;
  const auto take = [&](const KeptRun& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int64_t slot = run.slots.begin; slot < run.slots.end; ++slot) texts_.set_state(slot, SlotState::kKept);
    kept += run.slots.size();
    epoch_ = std::max(epoch_, run.epoch + 1);
  };
  ABSL_RETURN_IF_ERROR(ForEachKeptRun(ledger_.get(), texts_.size(), take));
  ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> rejected, ReadRejectedSlots(ledger_.get(), texts_.size()));
  ABSL_ASSIGN_OR_RETURN(const int64_t clean, ReadMetaNumber(ledger_.get(), kMetaClean));
  ABSL_ASSIGN_OR_RETURN(const int64_t earlier_runs, ReadMetaNumber(ledger_.get(), kMetaRuns));
  recovery_.unclean_end = clean == 0 && earlier_runs > 0;
  recovery_.texts_without_vector = texts_.size() - kept;

  std::vector<SlotRange> damaged;
  if (head_.keep_vectors == KeepVectors::kAlways) {
    ABSL_RETURN_IF_ERROR(OpenVectors(kept > 0));
    ABSL_ASSIGN_OR_RETURN(damaged, FindDamageSinceCrash(texts_.size()));
  }
  for (const SlotRange& slots : damaged) {
    for (int64_t slot = slots.begin; slot < slots.end; ++slot) texts_.set_state(slot, SlotState::kFree);
    recovery_.damaged_texts += slots.size();
  }
  for (const int64_t slot : rejected) texts_.set_state(slot, SlotState::kRejected);
  recovery_.texts_without_vector -= static_cast<int64_t>(rejected.size());
  ABSL_ASSIGN_OR_RETURN(run_, writer_->BeginRun(damaged, kept, options_.texts_in_flight));
  if (kept_ != nullptr) kept_->Forget();
  return SyncDirectory(dir_);
}

absl::Status JobStore::OpenVectors(bool are_kept) {
  // A file that is gone must not be made again in silence: everything would be bought a second time.
  const VectorFile::Access access = are_kept ? VectorFile::Access::kReadWrite : VectorFile::Access::kCreate;
  const std::string path = absl::StrCat(dir_, "/vectors.f32");
  absl::StatusOr<std::unique_ptr<VectorFile>> vectors = VectorFile::Open(path, head_.identity.dim, access);
  if (absl::IsNotFound(vectors.status())) {
    return absl::DataLossError(
        absl::StrCat(path, ": is gone, but the ledger lists vectors in it; put it back. Without it all of them are to ",
                     "be bought again, which removing the folder begins"));
  }
  ABSL_RETURN_IF_ERROR(vectors.status());
  vectors_ = *std::move(vectors);
  ABSL_ASSIGN_OR_RETURN(kept_, KeptVectors::Open(ledger_.get(), vectors_.get()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SlotRange>> JobStore::FindDamageSinceCrash(int64_t texts) {
  int64_t from_epoch = epoch_;
  if (recovery_.unclean_end) from_epoch = epoch_ - 2;
  if (options_.check == JobOptions::Check::kEverything) from_epoch = 0;
  ABSL_ASSIGN_OR_RETURN(const int64_t slots, vectors_->slots());
  std::vector<KeptRun> runs;
  ABSL_RETURN_IF_ERROR(ForEachKeptRun(ledger_.get(), texts, [&](const KeptRun& run) {
    if (run.epoch >= from_epoch || run.slots.end > slots) runs.push_back(run);
  }));
  return FindDamage(runs, from_epoch, *vectors_, kept_.get());
}

absl::StatusOr<std::vector<SlotRange>> JobStore::FindDamageFrom(int64_t from) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> ledger, OpenLedgerReadOnly(absl::StrCat(dir_, "/ledger.db")));
  ABSL_ASSIGN_OR_RETURN(const int64_t texts, ReadTextCount(ledger.get()));
  std::vector<bool> wanted;  // by slot; empty: none
  {
    ABSL_ASSIGN_OR_RETURN(LedgerStatement slots,
                          ledger->Prepare("SELECT slot FROM rows WHERE ordinal >= ?1 UNION ALL SELECT rows.slot FROM "
                                          "owed JOIN rows USING (ordinal)"));
    slots.Bind(1, from);
    absl::StatusOr<bool> row = slots.Step();
    for (; row.ok() && *row; row = slots.Step()) {
      const int64_t slot = slots.Integer(0);
      if (slot < 0 || slot >= texts) continue;
      wanted.resize(static_cast<size_t>(texts));
      wanted[static_cast<size_t>(slot)] = true;
    }
    ABSL_RETURN_IF_ERROR(row.status());
  }
  if (wanted.empty()) return std::vector<SlotRange>();
  std::vector<KeptRun> runs;
  ABSL_RETURN_IF_ERROR(ForEachKeptRun(ledger.get(), texts, [&](const KeptRun& run) {
    const auto begin = wanted.begin() + run.slots.begin;
    const auto end = begin + run.slots.size();
    if (std::find(begin, end, true) != end) runs.push_back(run);
  }));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<KeptVectors> kept, KeptVectors::Open(ledger.get(), vectors_.get()));
  return FindDamage(runs, /*from_epoch=*/0, *vectors_, kept.get());
}

absl::Status JobStore::DropDamaged(int64_t from) {
  if (vectors_ == nullptr) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(Sync());
  ABSL_ASSIGN_OR_RETURN(const std::vector<SlotRange> damaged, FindDamageFrom(from));
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(broken_);
    DropKept(damaged);
  }
  return Sync();
}

void JobStore::DropKept(absl::Span<const SlotRange> damaged) {
  for (const SlotRange& slots : damaged) {
    int64_t dropped = 0;
    for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
      if (texts_.state(slot) != SlotState::kKept) continue;
      texts_.set_state(slot, SlotState::kFree);
      ++dropped;
    }
    if (dropped == 0) continue;
    pending_.DropKept(slots);
    recovery_.damaged_texts += dropped;
  }
}

int64_t JobStore::rows() const {
  const MutexLock lock(&mutex_);
  return rows_;
}

absl::StatusOr<std::unique_ptr<LedgerCursor>> JobStore::Scan(int64_t from) {
  ABSL_RETURN_IF_ERROR(Sync());
  return RowScan::Open(
      absl::StrCat(dir_, "/ledger.db"), head_.keep_vectors, from, rows(),
      [this](const LedgerRow& row) {
        const MutexLock lock(&mutex_);
        return StateOf(row);
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
  const absl::Status result = broken_.ok() ? writer_->EndRun() : broken_;
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
