// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/own_file.h"
#include "io/job/batch_keeping.h"
#include "io/job/job_store.h"

// How a job directory is opened, and what of its vectors is damaged.

namespace reembed {
namespace {

absl::Status MakeDirectory(const std::string& dir) {
  absl::Status made = MakeOwnFolder(dir);
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
  return SyncFolderOf(absl::StrCat(dir_, "/ledger.db"));
}

absl::Status JobStore::OpenVectors(bool are_kept) {
  // A file that is gone must not be made again in silence: everything would be bought a second time.
  const VectorFile::Access access = are_kept ? VectorFile::Access::kReadWrite : VectorFile::Access::kCreate;
  const std::string path = absl::StrCat(dir_, "/vectors.f32");
  absl::StatusOr<std::unique_ptr<VectorFile>> vectors = VectorFile::Open(path, head_.identity.dim, access);
  if (absl::IsNotFound(vectors.status())) {
    return absl::DataLossError(
        absl::StrCat(path, ": is gone, but the ledger lists vectors in it; restore it. Without it all of them must be ",
                     "bought again: remove the job directory for that"));
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

}  // namespace reembed
