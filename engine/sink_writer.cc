// SPDX-License-Identifier: Apache-2.0
#include "engine/sink_writer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/contained.h"
#include "engine/kill_point.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr int64_t kNotWritten = -1;

}  // namespace

SinkWriter::SinkWriter(const NamedSink& sink, int64_t start, VectorLedger* ledger, SinkMeter* meter,
                       absl::Duration flush_interval)
    : sink_(sink),
      start_(start),
      ledger_(ledger),
      meter_(meter),
      flush_interval_(flush_interval),
      order_(sink.sink->row_order()),
      position_(start),
      saved_position_(start),
      last_flush_(MonotonicNow()),
      thread_([this] { Loop(); }) {
  meter_->Reached(sink_.name, start_);
}

SinkWriter::~SinkWriter() {
  if (thread_.joinable()) Close(Ending::kEarly).IgnoreError();
}

void SinkWriter::Write(const Batch* batch, int64_t sequence, Done done) {
  {
    const MutexLock lock(&mutex_);
    queue_.emplace(sequence, Item{batch, std::move(done)});
  }
  wake_.notify_one();
}

int SinkWriter::HeldUp() {
  const MutexLock lock(&mutex_);
  return busy_ ? writing_ + static_cast<int>(queue_.size()) : 0;
}

std::map<int64_t, SinkWriter::Item> SinkWriter::TakeWritable() {
  if (order_ == RowOrder::kAny) return std::exchange(queue_, {});
  std::map<int64_t, Item> ready;
  int64_t next = next_sequence_;
  while (!queue_.empty() && queue_.begin()->first == next) {
    ready.insert(queue_.extract(queue_.begin()));
    ++next;
  }
  return ready;
}

void SinkWriter::Loop() {
  while (true) {
    std::map<int64_t, Item> group;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return closing_ || (!queue_.empty() && (order_ == RowOrder::kAny || queue_.begin()->first == next_sequence_));
      };
      if (dirty_) {
        wake_.wait_for(lock, absl::ToChronoNanoseconds(flush_interval_), ready);
      } else {
        wake_.wait(lock, ready);
      }
      group = TakeWritable();
      if (group.empty() && closing_) return;
      busy_ = true;
      writing_ = static_cast<int>(group.size());
    }
    if (!group.empty()) WriteGroup(std::move(group));
    FlushIfDue(MonotonicNow());
    const MutexLock lock(&mutex_);
    busy_ = false;
  }
}

void SinkWriter::WriteGroup(std::map<int64_t, Item> group) {
  std::vector<const Batch*> batches;
  for (const auto& [sequence, item] : group) {
    if (order_ == RowOrder::kAscending && !item.batch->status().ok()) break;  // nothing may follow a gap
    if (blocked_ && order_ == RowOrder::kAscending) break;
    // A sink that is served from row 0 has got those rows in their turn.
    const bool wanted =
        IsOwed(item.batch->range()) ? order_ == RowOrder::kAny && start_ > 0 : item.batch->range().end > start_;
    if (item.batch->status().ok() && wanted) batches.push_back(item.batch);
  }
  if (status_.ok() && !batches.empty()) {
    std::vector<RefusedRow> refused;
    status_ = OfTarget(sink_.name, Contained("", [&] { return sink_.sink->Write(batches, &refused); }));
    KillPoint("sink: written");
    dirty_ = true;
    if (!refused.empty()) ledger_->Refuse(sink_.name, refused);
    if (status_.ok()) CountWritten(batches, static_cast<int64_t>(refused.size()));
  }
  for (const auto& [sequence, item] : group) MarkPassed(sequence, *item.batch);
  meter_->Reached(sink_.name, position_);
  {
    const MutexLock lock(&mutex_);
    writing_ = 0;
  }
  // Last: the batch may be on its way again as soon as its Done has run.
  for (auto& entry : group) std::move(entry.second.done)(status_);
}

void SinkWriter::CountWritten(const std::vector<const Batch*>& batches, int64_t refused) {
  int64_t rows = 0;
  for (const Batch* const batch : batches) {
    rows += std::count_if(batch->rows().begin(), batch->rows().end(),
                          [](const BatchRow& row) { return row.vector != nullptr; });
  }
  meter_->Wrote(sink_.name, rows - refused, refused);
}

void SinkWriter::MarkPassed(int64_t sequence, const Batch& batch) {
  int64_t end = status_.ok() && batch.status().ok() ? batch.range().end : kNotWritten;
  if (sequence != next_sequence_) {
    ends_ahead_.emplace(sequence, end);
    return;
  }
  while (true) {
    ++next_sequence_;
    if (end == kNotWritten) blocked_ = true;
    if (!blocked_ && end > position_) position_ = end;
    const auto next = ends_ahead_.find(next_sequence_);
    if (next == ends_ahead_.end()) return;
    end = next->second;
    ends_ahead_.erase(next);
  }
}

void SinkWriter::FlushIfDue(Moment now) {
  if (!dirty_ || now - last_flush_ < flush_interval_) return;
  Flush();
  last_flush_ = MonotonicNow();
}

void SinkWriter::Flush() {
  if (!status_.ok()) return;
  if (dirty_) {
    status_ = OfTarget(sink_.name, Contained("", [this] { return sink_.sink->Flush(); }));
    KillPoint("sink: flushed");
    dirty_ = false;
    if (!status_.ok()) return;
  }
  if (position_ == saved_position_) return;
  ledger_->SavePosition(sink_.name, position_);
  saved_position_ = position_;
}

absl::Status SinkWriter::Close(Ending ending, int64_t rows) {
  {
    const MutexLock lock(&mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
  // An ascending sink that stopped at a gap still holds batches.
  std::map<int64_t, Item> held;
  {
    const MutexLock lock(&mutex_);
    held.swap(queue_);
  }
  for (auto& [sequence, item] : held) {
    std::move(item.done)(absl::InternalError("a batch never reached its turn"));
  }
  Flush();
  if (!status_.ok() || ending != Ending::kComplete || blocked_) return status_;
  // The position goes first: a complete target whose position was never saved would look like somebody else's.
  ledger_->SavePosition(sink_.name, rows);
  ABSL_RETURN_IF_ERROR(ledger_->Sync());
  KillPoint("sink: position of the end saved");
  status_ = OfTarget(sink_.name, Contained("", [this] { return sink_.sink->Complete(); }));
  KillPoint("sink: completed");
  return status_;
}

}  // namespace reembed
