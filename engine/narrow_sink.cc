// SPDX-License-Identifier: Apache-2.0
#include "engine/narrow_sink.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

class NarrowSink final : public VectorSink {
 public:
  NarrowSink(std::unique_ptr<VectorSink> sink, std::string place, int from, int to)
      : sink_(std::move(sink)), place_(std::move(place)), from_(from), to_(to) {}

  RowOrder row_order() const override { return sink_->row_order(); }
  absl::StatusOr<bool> Prepare(const SinkContext& context) override { return sink_->Prepare(Narrowed(context)); }
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    return sink_->Open(Narrowed(context), last);
  }
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override;
  absl::Status Flush() override { return sink_->Flush(); }
  absl::Status Complete() override { return sink_->Complete(); }
  absl::Status Publish(const SinkContext& context) override { return sink_->Publish(Narrowed(context)); }

 private:
  SinkContext Narrowed(SinkContext context) const {
    context.model.dim = to_;
    return context;
  }
  std::unique_ptr<Batch> Narrowed(const Batch& batch, std::vector<RefusedRow>* refused);

  const std::unique_ptr<VectorSink> sink_;
  const std::string place_;
  const int from_, to_;
};

std::unique_ptr<Batch> NarrowSink::Narrowed(const Batch& batch, std::vector<RefusedRow>* refused) {
  BatchLimits limits = batch.limits();
  limits.max_texts = 0;  // it brings rows only
  auto narrow = std::make_unique<Batch>(limits, to_);
  narrow->set_range(batch.range());
  for (const BatchRow& row : batch.rows()) {
    BatchRow* const made = narrow->AddRow(row.ordinal, row.key, row.slot);
    made->reject = row.reject;
    made->replayed = row.replayed;
    made->embedded = row.embedded;
    if (row.vector == nullptr) continue;
    const absl::Span<float> vector = narrow->TakeLoadSpace(1);
    absl::Status status = NarrowVector({row.vector, static_cast<size_t>(from_)}, vector);
    if (status.ok()) {
      made->vector = vector.data();
    } else {
      refused->push_back({row.ordinal, absl::Status(status.code(), absl::StrCat(place_, ": row ", KeyText(row.key),
                                                                                ": ", status.message()))});
    }
  }
  return narrow;
}

absl::Status NarrowSink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
  std::vector<std::unique_ptr<Batch>> narrow;
  std::vector<const Batch*> given;
  for (const Batch* const batch : batches) {
    ABSL_RETURN_IF_ERROR(CheckWidth(place_, from_, batch->dim()));
    narrow.push_back(Narrowed(*batch, refused));
    given.push_back(narrow.back().get());
  }
  return sink_->Write(given, refused);
}

}  // namespace

std::unique_ptr<VectorSink> MakeNarrowSink(std::unique_ptr<VectorSink> sink, std::string place, int from, int to) {
  return std::make_unique<NarrowSink>(std::move(sink), std::move(place), from, to);
}

}  // namespace reembed
