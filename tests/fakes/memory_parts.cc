// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/memory_parts.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/fakes/text_vector.h"

namespace reembed {

absl::StatusOr<std::optional<RowView>> MemorySource::Next() {
  if (fail_at_ == next_) {
    fail_at_.reset();
    return absl::UnavailableError("the source is gone");
  }
  if (next_ == rows_.size()) return std::nullopt;
  const MemoryRow& row = rows_[next_++];
  return RowView{.key = ViewOf(row.key), .text = row.text};
}

absl::Status MemorySource::SeekAfter(KeyView key) {
  const Key wanted = Own(key);
  next_ = 0;
  while (next_ < rows_.size() && rows_[next_].key <= wanted) ++next_;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<RowView>> MemorySource::Find(KeyView key) {
  const Key wanted = Own(key);
  for (const MemoryRow& row : rows_) {
    if (row.key == wanted) return RowView{.key = ViewOf(row.key), .text = row.text};
  }
  return std::nullopt;
}

FakeClient::FakeClient(int dim, uint64_t seed)
    : model_{.name = "fake", .dim = dim}, random_(seed), thread_([this] { Loop(); }) {}

FakeClient::~FakeClient() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void FakeClient::Send(Batch* batch, Done done) {
  Call call{batch, std::move(done), absl::OkStatus()};
  int64_t number;
  {
    const std::lock_guard lock(mutex_);
    number = requests_++;
    max_in_flight_ = std::max(max_in_flight_.load(), ++in_flight_);
    texts_sent_ += static_cast<int64_t>(batch->texts().size());
    if (cancelled_) call.status = absl::CancelledError("cancelled");
    const auto fault = faults_.find(number);
    if (fault != faults_.end()) {
      switch (fault->second) {
        case Fault::kUnavailable:
          call.status = absl::UnavailableError("try later");
          break;
        case Fault::kStop:
          call.status = absl::UnauthenticatedError("bad key");
          break;
        case Fault::kBadReply:
          bad_once_.insert(batch);
          break;
        case Fault::kBadReplies:
          bad_always_.insert(batch);
          break;
        case Fault::kDropped:
          --in_flight_;
          return;
        case Fault::kThrows:
          --in_flight_;
          throw std::runtime_error("thrown by a part");
        case Fault::kStalled:
          stalled_.push_back(std::move(call));
          return;
        case Fault::kTextRefused:
          batch->texts()[0].reject = absl::InvalidArgumentError("refused by the provider");
          break;
      }
    }
    if (call.status.ok()) {
      RefuseLongTexts(batch);
      for (const BatchText& text : batch->texts()) {
        if (text.reject.ok()) ++bought_[std::string(text.text)];
      }
    }
    calls_.push_back(std::move(call));
  }
  if (hook_) hook_(number);
  wake_.notify_one();
}

void FakeClient::RefuseLongTexts(Batch* batch) const {
  for (BatchText& text : batch->texts()) {
    const auto bytes = static_cast<int64_t>(text.text.size());
    if (max_text_bytes_ == 0 || !text.reject.ok() || text.text.size() <= max_text_bytes_) continue;
    text.reject = absl::InvalidArgumentError("the input length exceeds the context length");
    text.too_long = {.refused = true};
    if (names_figures_) text.too_long.limit = static_cast<int64_t>(max_text_bytes_), text.too_long.tokens = bytes;
  }
}

void FakeClient::Loop() {
  while (true) {
    std::vector<Call> taken;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !calls_.empty(); });
      if (calls_.empty()) return;
      taken = std::exchange(calls_, {});
      in_flight_ -= static_cast<int64_t>(taken.size());
    }
    std::shuffle(taken.begin(), taken.end(), random_);
    for (Call& call : taken) std::move(call.done)(call.status);
  }
}

absl::Status FakeClient::Decode(Batch* batch) const {
  {
    auto* self = const_cast<FakeClient*>(this);
    const std::lock_guard lock(mutex_);
    if (self->bad_once_.erase(batch) > 0 || bad_always_.count(batch) > 0) {
      return absl::DataLossError("the reply is not usable");
    }
  }
  for (size_t i = 0; i < batch->texts().size(); ++i) {
    const std::vector<float> vector = TextVector(batch->texts()[i].text, model_.dim);
    std::memcpy(batch->vectors().data() + i * model_.dim, vector.data(), sizeof(float) * model_.dim);
  }
  return absl::OkStatus();
}

void FakeClient::Stop(InTheAir, const absl::Status&) {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
}

ClientStats FakeClient::stats() const {
  const std::lock_guard lock(mutex_);
  return {.requests = requests_};
}

std::map<std::string, int> FakeClient::bought() const {
  const std::lock_guard lock(mutex_);
  return bought_;
}

class MemoryLedgerCursor final : public LedgerCursor {
 public:
  MemoryLedgerCursor(const MemoryLedger* ledger, int64_t from, int64_t end) : ledger_(ledger), next_(from), end_(end) {}

  absl::StatusOr<std::optional<LedgerRow>> Next() override {
    const std::lock_guard lock(ledger_->mutex_);
    if (next_ >= end_) return std::nullopt;
    const MemoryLedger::Row& row = ledger_->rows_[next_];
    LedgerRow result{.ordinal = next_++, .slot = row.slot, .state = SlotState::kRejected};
    key_ = row.key;
    result.key = ViewOf(key_);
    if (row.slot >= 0) result.hash = ledger_->texts_[row.slot].hash;
    if (row.reject.ok()) result.state = ledger_->texts_[row.slot].state;
    return result;
  }

 private:
  const MemoryLedger* const ledger_;
  int64_t next_;
  const int64_t end_;
  Key key_;
};

int64_t MemoryLedger::rows() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(rows_.size());
}

absl::StatusOr<std::unique_ptr<LedgerCursor>> MemoryLedger::Scan(int64_t from) {
  return std::make_unique<MemoryLedgerCursor>(this, from, rows());
}

Enrolment MemoryLedger::Claim(int64_t ordinal, const TextHash& hash) {
  const auto [place, is_new] = slots_.try_emplace({hash.lo, hash.hi}, static_cast<int64_t>(texts_.size()));
  if (is_new) texts_.push_back({.hash = hash});
  Text& text = texts_[place->second];
  rows_[ordinal].slot = place->second;
  Enrolment enrolment{.ordinal = ordinal, .slot = place->second};
  if (text.state == SlotState::kRejected) {
    enrolment.reject = rows_[ordinal].reject = text.reject;
  } else if (text.state == SlotState::kFree) {
    text.state = SlotState::kClaimed;
    enrolment.buy = true;
  }
  return enrolment;
}

Enrolment MemoryLedger::Enrol(KeyView key, const TextHash& hash) {
  const std::lock_guard lock(mutex_);
  rows_.push_back({.key = Own(key)});
  return Claim(static_cast<int64_t>(rows_.size()) - 1, hash);
}

Enrolment MemoryLedger::Resume(const LedgerRow& row, const TextHash& hash) {
  const std::lock_guard lock(mutex_);
  return Claim(row.ordinal, hash);
}

int64_t MemoryLedger::Reject(KeyView key, std::optional<int64_t> ordinal, const absl::Status& reason) {
  const std::lock_guard lock(mutex_);
  if (!ordinal.has_value()) {
    rows_.push_back({.key = Own(key)});
    ordinal = static_cast<int64_t>(rows_.size()) - 1;
  }
  rows_[*ordinal].reject = reason;
  return *ordinal;
}

bool MemoryLedger::TryResolve(Batch* batch) {
  for (const BatchRow& row : batch->rows()) {
    if (row.reject.ok() && texts_[row.slot].state == SlotState::kClaimed) return false;
  }
  for (BatchRow& row : batch->rows()) {
    if (!row.reject.ok()) continue;
    const Text& text = texts_[row.slot];
    if (text.state == SlotState::kFree) {
      batch->Fail(absl::UnavailableError("its text was in a batch that failed"));
    } else if (text.state == SlotState::kRejected) {
      row.reject = rows_[row.ordinal].reject = text.reject;
    } else {
      float* const to = batch->TakeLoadSpace(1).data();
      std::copy(text.vector.begin(), text.vector.end(), to);
      row.vector = to;
    }
  }
  return true;
}

void MemoryLedger::Persist(Batch* batch, Done done) {
  std::vector<Parked> ready;
  {
    const std::lock_guard lock(mutex_);
    if (fail_persist_ == persists_++) batch->Distrust(absl::ResourceExhaustedError("disk full"));
    for (size_t i = 0; i < batch->texts().size(); ++i) {
      const BatchText& bought = batch->texts()[i];
      Text& text = texts_[bought.slot];
      if (!batch->HasVector(bought)) {
        text.state = batch->status().ok() ? SlotState::kRejected : SlotState::kFree;
        text.reject = bought.reject;
      } else {
        const float* const vector = batch->vectors().data() + i * dim_;
        text.vector.assign(vector, vector + dim_);
        text.state = SlotState::kKept;
      }
    }
    parked_.push_back({batch, std::move(done)});
    for (auto it = parked_.begin(); it != parked_.end();) {
      if (!it->batch->status().ok() || TryResolve(it->batch)) {
        ready.push_back(std::move(*it));
        it = parked_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (Parked& parked : ready) {
    const absl::Status status = parked.batch->status();
    std::move(parked.done)(status);
  }
}

absl::StatusOr<SinkPosition> MemoryLedger::Position(absl::string_view sink) {
  const std::lock_guard lock(mutex_);
  SinkPosition result{.position = positions_[std::string(sink)]};
  for (int64_t i = 0; i < result.position; ++i) result.stored_rows += rows_[i].reject.ok() ? 1 : 0;
  return result;
}

void MemoryLedger::SavePosition(absl::string_view sink, int64_t position) {
  const std::lock_guard lock(mutex_);
  positions_[std::string(sink)] = position;
}

void MemoryLedger::Refuse(absl::string_view, absl::Span<const RefusedRow> rows) {
  const std::lock_guard lock(mutex_);
  for (const RefusedRow& row : rows) refused_.insert(row.ordinal);
}

void MemoryLedger::EndRun() {
  const std::lock_guard lock(mutex_);
  for (Text& text : texts_) {
    if (text.state == SlotState::kClaimed) text.state = SlotState::kFree;
  }
}

int64_t MemoryLedger::kept_rows() const {
  const std::lock_guard lock(mutex_);
  return std::count_if(rows_.begin(), rows_.end(), [this](const Row& row) {
    return row.reject.ok() && row.slot >= 0 && texts_[row.slot].state == SlotState::kKept;
  });
}

int64_t MemoryLedger::rejected_rows() const { return static_cast<int64_t>(rejects().size()); }

std::map<std::string, std::string> MemoryLedger::rejects() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::string> result;
  for (size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    if (!row.reject.ok()) result[KeyText(ViewOf(row.key))] = std::string(row.reject.message());
    if (refused_.count(static_cast<int64_t>(i)) > 0) result[KeyText(ViewOf(row.key))] = "refused by the target";
  }
  return result;
}

absl::StatusOr<bool> MemorySink::Prepare(const SinkContext& context) {
  ++prepared_;
  begun_ = context.begun;
  if (lost_) vectors_.clear();
  return std::exchange(lost_, false);
}

absl::StatusOr<int64_t> MemorySink::Open(const SinkContext&, const SinkPosition& last) {
  const int64_t start = forgetful_ ? 0 : last.position;
  if (forgetful_) vectors_.clear();
  forgetful_ = false;
  last_ordinal_ = start - 1;
  completed_ = false;
  return start;
}

absl::Status MemorySink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
  if (++inside_ != 1) return absl::InternalError("calls of a sink overlap");
  const int64_t number = writes_++;
  if (throw_at_write_ == number) {
    --inside_;
    throw std::runtime_error("thrown by a sink");
  }
  absl::Status result;
  if (fail_write_ == number) result = absl::ResourceExhaustedError("disk full");
  for (const Batch* batch : batches) {
    if (!result.ok()) break;
    if (!batch->status().ok()) result = absl::InternalError("got a failed batch");
    for (const BatchRow& row : batch->rows()) {
      if (order_ == RowOrder::kAscending && row.ordinal <= last_ordinal_) {
        result = absl::InternalError(absl::StrCat("row ", row.ordinal, " came after row ", last_ordinal_));
      }
      last_ordinal_ = row.ordinal;
      if (row.vector == nullptr) continue;
      const std::string key = KeyText(row.key);
      if (key == refuse_key_) {
        refused->push_back({row.ordinal, absl::InvalidArgumentError("refused")});
        continue;
      }
      vectors_[key].assign(row.vector, row.vector + batch->dim());
    }
  }
  --inside_;
  return result;
}

absl::Status MemorySink::Flush() { return inside_ == 0 ? absl::OkStatus() : absl::InternalError("flush overlaps"); }

absl::Status MemorySink::Complete() {
  completed_ = true;
  return absl::OkStatus();
}

absl::Status MemorySink::Publish(const SinkContext&) {
  if (!completed_) return absl::InternalError("published before it is complete");
  if (std::exchange(fail_publish_, false)) return absl::UnavailableError("the alias cannot be moved now");
  ++published_;
  return absl::OkStatus();
}

void MemorySink::ForgetEverything() { forgetful_ = true; }

}  // namespace reembed
