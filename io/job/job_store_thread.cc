// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "io/job/batch_keeping.h"
#include "io/job/job_store.h"

// The ledger's thread: the only writer of a job directory.

namespace reembed {

bool JobStore::HasWork() const {
  return stopping_ || flush_wanted_ || !queue_.empty() || pending_.size() >= kUrgentRows;
}

// Waits for as long as more batches come soon one after another, but not long beside what a commit takes.
void JobStore::Gather(MutexLock* lock) {
  if (last_commit_ < kSlowCommit) return;
  const auto patience = absl::ToChronoNanoseconds(last_commit_ / 16);
  const Moment latest = MonotonicNow() + last_commit_ / 4;
  while (MonotonicNow() < latest) {
    const size_t waiting = queue_.size();
    const auto is_over = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return queue_.size() > waiting || stopping_ || flush_wanted_;
    };
    if (!wake_.wait_for(*lock, patience, is_over) || stopping_ || flush_wanted_) return;
  }
}

void JobStore::Loop() {
  for (;;) {
    std::vector<Waiting> group;
    std::vector<Done> notes;
    absl::Status status;
    Moment begun;
    {
      MutexLock lock(&mutex_);
      wake_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return HasWork(); });
      Gather(&lock);
      if (stopping_ && queue_.empty() && (pending_.empty() || !broken_.ok())) break;
      std::swap(pending_, writing_);
      group.swap(queue_);
      notes.swap(notes_);
      flush_wanted_ = false;
      committing_ = static_cast<int>(group.size());
      begun = MonotonicNow();
      ++taken_;
      status = broken_;
      if (status.ok()) CheckClaims(group);
    }
    if (status.ok()) status = CommitGroup(group);
    writing_.Clear();
    Settle(std::move(group), status, MonotonicNow() - begun);
    for (Done& noted : notes) std::move(noted)(status);
  }
  std::vector<Done> notes;
  {
    const MutexLock lock(&mutex_);
    notes.swap(notes_);
  }
  for (Done& noted : notes) std::move(noted)(absl::UnavailableError(absl::StrCat(dir_, ": the ledger has failed")));
  AnswerAll(std::move(parked_), absl::UnavailableError(absl::StrCat(dir_,
                                                                    ": the run ended before another batch had "
                                                                    "the text of a row; run again")));
}

void JobStore::CheckClaims(absl::Span<const Waiting> group) const {
  for (const Waiting& waiting : group) {
    Batch* const batch = waiting.batch;
    if (batch->dim() != head_.identity.dim) batch->Distrust(absl::InternalError("a batch of another width"));
    if (vectors_ == nullptr) continue;
    for (const BatchText& text : batch->texts()) {
      // Whoever wrote to a slot that is not claimed might replace another text's vector.
      const bool claimed =
          text.slot >= 0 && text.slot < texts_.size() && texts_.state(text.slot) == SlotState::kClaimed;
      if (claimed) continue;
      batch->Distrust(absl::InternalError(absl::StrCat(dir_, ": slot ", text.slot, " is not being bought")));
    }
    for (const BatchRow& row : batch->rows()) {
      if (row.slot >= texts_.size()) batch->Distrust(absl::InternalError(absl::StrCat(dir_, ": no slot ", row.slot)));
    }
  }
}

absl::Status JobStore::CommitGroup(absl::Span<const Waiting> group) {
  if (vectors_ != nullptr) {
    ABSL_RETURN_IF_ERROR(WriteGroup(group));
  }
  for (const Waiting& waiting : group) {
    if (waiting.batch->status().ok()) {
      RecordRejects(waiting);
    } else if (vectors_ == nullptr) {
      const absl::Span<const BatchText> texts = std::as_const(*waiting.batch).texts();
      writing_.AddDropped(std::count_if(texts.begin(), texts.end(), [](const auto& text) { return text.answered; }));
    }
  }
  if (writing_.empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(writer_->Commit(writing_));
  if (kept_ != nullptr && writing_.drops_kept()) kept_->Forget();
  Step(CommitStep::kCommitted);
  return absl::OkStatus();
}

absl::Status JobStore::WriteGroup(absl::Span<const Waiting> group) {
  std::vector<KeptRun> runs;
  for (const Waiting& waiting : group) {
    ABSL_RETURN_IF_ERROR(WriteVectors(*waiting.batch, format_, vectors_.get(), &runs));
  }
  if (runs.empty()) return absl::OkStatus();
  KillPoint("store: vectors written");
  Step(CommitStep::kVectorsWritten);
  ABSL_RETURN_IF_ERROR(vectors_->Sync());
  KillPoint("store: vectors durable");
  Step(CommitStep::kVectorsDurable);
  for (KeptRun& run : runs) {
    run.epoch = epoch_;
    epoch_bytes_ += run.slots.size() * head_.identity.dim * static_cast<int64_t>(sizeof(float));
    writing_.AddKept(std::move(run));
  }
  if (epoch_bytes_ > kEpochBytes) {
    ++epoch_;
    epoch_bytes_ = 0;
  }
  return absl::OkStatus();
}

void JobStore::RecordRejects(const Waiting& waiting) {
  const absl::Span<const BatchText> texts = std::as_const(*waiting.batch).texts();
  if (vectors_ != nullptr) {
    for (const BatchText& text : texts) {
      if (!text.reject.ok()) writing_.AddTextReject(text.slot, text.reject);
    }
  }
  const absl::Span<const BatchRow> rows = std::as_const(*waiting.batch).rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    const int text = waiting.own_texts[i];
    if (text >= 0 && !texts[text].reject.ok()) writing_.AddReject(rows[i].ordinal, "", texts[text].reject);
  }
}

void JobStore::ApplyStates(absl::Span<const Waiting> group) {
  if (vectors_ == nullptr) return;
  for (const Waiting& waiting : group) {
    for (const BatchText& text : std::as_const(*waiting.batch).texts()) {
      if (waiting.batch->HasVector(text)) {
        texts_.set_state(text.slot, SlotState::kKept);
      } else if (waiting.batch->status().ok()) {
        texts_.set_state(text.slot, SlotState::kRejected);
      } else if (text.slot >= 0 && text.slot < texts_.size() && texts_.state(text.slot) == SlotState::kClaimed) {
        texts_.set_state(text.slot, SlotState::kFree);
      }
    }
  }
}

// Whether the batch can be answered now. One that can never get all its vectors is failed.
bool JobStore::IsDecided(Waiting* waiting) const {
  Batch* const batch = waiting->batch;
  waiting->stored.clear();
  waiting->refused.clear();
  bool waits = false;
  for (size_t i = 0; i < batch->rows().size() && batch->status().ok(); ++i) {
    const BatchRow& row = batch->rows()[i];
    if (waiting->own_texts[i] >= 0 || row.slot < 0 || !row.reject.ok()) continue;
    switch (vectors_ == nullptr ? SlotState::kFree : texts_.state(row.slot)) {
      case SlotState::kKept:
        waiting->stored.push_back(static_cast<int>(i));
        break;
      case SlotState::kRejected:
        waiting->refused.push_back(static_cast<int>(i));
        break;
      case SlotState::kClaimed:
        waits = true;
        break;
      case SlotState::kFree:
        batch->Fail(absl::UnavailableError(
            absl::StrCat(dir_, ": row ", KeyText(row.key), ": its text was in a batch that failed; run again")));
    }
  }
  return !waits || !batch->status().ok();
}

void JobStore::Settle(std::vector<Waiting> group, const absl::Status& committed, absl::Duration took) {
  std::vector<Waiting> decided;
  absl::Status broken;
  {
    const MutexLock lock(&mutex_);
    if (broken_.ok()) broken_ = committed;
    broken = broken_;
    if (committed.ok()) ApplyStates(group);
    std::vector<Waiting> undecided = std::move(parked_);
    parked_.clear();
    for (std::vector<Waiting>* const from : {&undecided, &group}) {
      for (Waiting& waiting : *from) {
        (!broken.ok() || IsDecided(&waiting) ? decided : parked_).push_back(std::move(waiting));
      }
    }
    done_ = taken_;
    committing_ = 0;
    last_commit_ = took;
  }
  changed_.notify_all();
  if (!broken.ok()) return AnswerAll(std::move(decided), broken);
  for (Waiting& waiting : decided) {
    absl::Status status = Finish(waiting);
    std::move(waiting.done)(std::move(status));
  }
}

// Gives every row of a batch its vector, or the reason why it has none.
absl::Status JobStore::Finish(const Waiting& waiting) {
  Batch* const batch = waiting.batch;
  if (!batch->status().ok()) return batch->status();
  for (const int i : waiting.refused) {
    BatchRow& row = batch->rows()[i];
    ABSL_ASSIGN_OR_RETURN(row.reject, TextReject(row.slot));
    const MutexLock lock(&mutex_);
    pending_.AddReject(row.ordinal, "", row.reject);
  }
  if (!waiting.stored.empty()) {
    absl::Status status = LoadVectors(waiting.stored, kept_.get(), batch);
    if (absl::IsDataLoss(status)) status = DropDamagedRows(waiting);
    ABSL_RETURN_IF_ERROR(status);
  }
  const absl::Span<BatchRow> rows = batch->rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    const int text = waiting.own_texts[i];
    if (text < 0) continue;
    rows[i].reject = batch->texts()[text].reject;
    if (rows[i].reject.ok()) rows[i].vector = batch->vectors().data() + static_cast<size_t>(text) * batch->dim();
  }
  return absl::OkStatus();
}

// What is damaged was looked for before the run for all that it could know to be asked for; this one came since, or for
// a row that is new. The next run buys it again.
absl::Status JobStore::DropDamagedRows(const Waiting& waiting) {
  const absl::Span<const BatchRow> rows = std::as_const(*waiting.batch).rows();
  std::vector<float> vector(static_cast<size_t>(head_.identity.dim));
  std::vector<SlotRange> damaged;
  for (const int i : waiting.stored) {
    if (!absl::IsDataLoss(kept_->Read(rows[i].slot, absl::MakeSpan(vector)))) continue;
    ABSL_ASSIGN_OR_RETURN(const SlotRange lost, kept_->LostWith(rows[i].slot));
    damaged.push_back(lost);
  }
  const MutexLock lock(&mutex_);
  DropKept(damaged);
  flush_wanted_ = true;
  return absl::UnavailableError(
      absl::StrCat(dir_, "/vectors.f32: persisted vectors were found damaged when they were read, the first in slot ",
                   damaged.empty() ? -1 : damaged.front().begin, "; the same command buys damaged vectors again"));
}

void JobStore::AnswerAll(std::vector<Waiting> waiting, const absl::Status& status) {
  for (Waiting& one : waiting) std::move(one.done)(status);
}

void JobStore::Step(CommitStep step) {
  if (options_.on_step) options_.on_step(step);
}

}  // namespace reembed
