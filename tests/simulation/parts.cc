// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/parts.h"

#include <algorithm>
#include <thread>

#include "tests/fakes/text_vector.h"
#include "tests/simulation/virtual_threads.h"

namespace reembed {
namespace {

// Planted mistakes are made so often.
constexpr int kEvery = 3;

}  // namespace

void WatchedClient::Send(Batch* batch, Done done) {
  {
    const std::lock_guard lock(mutex_);
    batches_.insert(batch);
    if (plant_ == Plant::kNoEnd && lost_.empty()) {
      lost_.push_back(std::move(done));
      return;
    }
  }
  client_->Send(batch, std::move(done));
}

absl::Status WatchedClient::Decode(Batch* batch) const {
  const absl::Status decoded = client_->Decode(batch);
  const std::lock_guard lock(mutex_);
  if (!decoded.ok() || ++decoded_ % kEvery != 0) return decoded;
  if (plant_ == Plant::kForeignVector && batch->texts().size() > 1) {
    std::swap_ranges(batch->vectors().begin(), batch->vectors().begin() + batch->dim(),
                     batch->vectors().begin() + batch->dim());
  }
  if (plant_ != Plant::kBuyAgain) return decoded;
  for (BatchText& text : batch->texts()) text.answered = false;
  return absl::DataLossError("planted");
}

absl::StatusOr<int64_t> SimulatedSink::Open(const SinkContext&, const SinkPosition& last) {
  if (plant_ == Plant::kOverwrite) table().rows.erase("other 1");
  return last.position;
}

absl::Status SimulatedSink::Failing() const {
  const bool fails = script().fails_from <= VirtualNow() && VirtualNow() < script().fails_to && !world_->calm();
  return fails && !world_->ghost() ? absl::UnavailableError("the target is away") : absl::OkStatus();
}

absl::Status SimulatedSink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>*) {
  if (world_->ghost()) return absl::OkStatus();
  if (script().write_time > absl::ZeroDuration() && !world_->calm()) {
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(script().write_time));
  }
  if (absl::Status failing = Failing(); !failing.ok()) return failing;
  if (world_->ghost()) return absl::OkStatus();
  for (const Batch* const batch : batches) {
    for (const BatchRow& row : batch->rows()) {
      if (row.vector == nullptr) continue;
      const std::string key = KeyText(row.key);
      std::vector<float> vector(row.vector, row.vector + kSimulatedDim);
      world_->rows.push_back({.at = VirtualNow(),
                              .life = world_->life(),
                              .sink = number_,
                              .ordinal = row.ordinal,
                              .key = key,
                              .text = texts_[key],
                              .right = vector == TextVector(texts_[key], kSimulatedDim)});
      if (plant_ == Plant::kLostRow && ++written_ % kEvery == 0) continue;
      table().rows[key] = std::move(vector);
      table().unflushed.emplace_back(row.ordinal, key);
    }
  }
  return absl::OkStatus();
}

absl::Status SimulatedSink::Flush() {
  if (world_->ghost()) return absl::OkStatus();
  if (absl::Status failing = Failing(); !failing.ok()) return failing;
  table().flushed = table().rows;
  table().unflushed.clear();
  return absl::OkStatus();
}

absl::Status SimulatedSink::Complete() { return Flush(); }

}  // namespace reembed
