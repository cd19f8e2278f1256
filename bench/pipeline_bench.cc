// SPDX-License-Identifier: Apache-2.0
// What the graph itself costs: a client, a ledger and a sink that do nothing, so that all that is left is ours.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "engine/pipeline.h"
#include "engine/row_reader.h"

namespace reembed {
namespace {

constexpr int kDim = 16;

// The same text under ever new keys.
class EndlessSource final : public Source {
 public:
  EndlessSource(int64_t rows, std::string text) : rows_(rows), text_(std::move(text)) {}
  absl::StatusOr<std::optional<RowView>> Next() override {
    if (next_ == rows_) return std::nullopt;
    return RowView{.key = next_++, .text = text_};
  }
  absl::Status SeekAfter(KeyView) override { return absl::OkStatus(); }
  absl::StatusOr<std::optional<RowView>> Find(KeyView) override { return std::nullopt; }
  absl::StatusOr<int64_t> CountRows() override { return rows_; }

 private:
  const int64_t rows_;
  int64_t next_ = 0;
  const std::string text_;
};

class NoClient final : public EmbeddingClient {
 public:
  const Model& model() const override { return model_; }
  void Send(Batch*, Done done) override { std::move(done)(absl::OkStatus()); }
  absl::Status Decode(Batch*) const override { return absl::OkStatus(); }
  void Stop(InTheAir, const absl::Status&) override {}
  ClientStats stats() const override { return {}; }

 private:
  const Model model_{.name = "none", .dim = kDim};
};

// Numbers rows, buys every text, keeps nothing.
class NoLedger final : public Ledger {
 public:
  int64_t rows() const override { return rows_; }
  absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t) override { return absl::UnimplementedError(""); }
  Enrolment Enrol(KeyView, const TextHash&) override {
    const int64_t row = rows_++;
    return {.ordinal = row, .slot = row, .buy = true};
  }
  Enrolment Resume(const LedgerRow& row, const TextHash&) override { return {.ordinal = row.ordinal}; }
  int64_t Reject(KeyView, std::optional<int64_t>, const absl::Status&) override { return rows_++; }
  void Persist(Batch* batch, Done done) override {
    for (BatchRow& row : batch->rows()) row.vector = batch->vectors().data() + row.text * kDim;
    std::move(done)(absl::OkStatus());
  }
  int HeldUp() const override { return 0; }
  absl::StatusOr<SinkPosition> Position(absl::string_view) override { return SinkPosition{}; }
  void SavePosition(absl::string_view, int64_t) override {}
  void Refuse(absl::string_view, absl::Span<const RefusedRow>) override {}
  absl::Status Sync() override { return absl::OkStatus(); }

 private:
  std::atomic<int64_t> rows_{0};
};

class NoSink final : public VectorSink {
 public:
  explicit NoSink(RowOrder order) : order_(order) {}
  RowOrder row_order() const override { return order_; }
  absl::StatusOr<int64_t> Open(const SinkContext&, const SinkPosition& last) override { return last.position; }
  absl::Status Write(absl::Span<const Batch* const>, std::vector<RefusedRow>*) override { return absl::OkStatus(); }
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Complete() override { return absl::OkStatus(); }

 private:
  const RowOrder order_;
};

// One row a batch, so that a row's own cost hardly counts: microseconds per batch through all stages.
void BM_GraphRoundTrip(benchmark::State& state) {
  constexpr int64_t kBatches = 20000;
  const auto sinks_wanted = state.range(0);
  const TokenCounter one = [](absl::string_view) { return 1; };
  for (auto _ : state) {
    EndlessSource source(kBatches, "x");
    NoClient client;
    NoLedger ledger;
    NoSink any(RowOrder::kAny), ascending(RowOrder::kAscending);
    std::vector<NamedSink> sinks = {{"any", &any}, {"ascending", &ascending}};
    sinks.resize(sinks_wanted);
    RunCounters counters;
    const PipelineOptions options{.batch = {.max_texts = 1, .max_rows = 1, .max_text_bytes = 64},
                                  .batches_in_flight = 32};
    const absl::Status status = RunPipeline(options,
                                            {.source = &source,
                                             .client = &client,
                                             .ledger = &ledger,
                                             .count_tokens = &one,
                                             .sinks = sinks,
                                             .counters = &counters},
                                            {});
    if (!status.ok() || counters.rows_done != kBatches) state.SkipWithError("the run did not end as it should");
  }
  state.counters["time_per_batch"] = benchmark::Counter(static_cast<double>(kBatches * state.iterations()),
                                                        benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_GraphRoundTrip)->ArgName("sinks")->Arg(0)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

// Rows into batches: text check, fingerprint, copy.
void BM_RowReaderFill(benchmark::State& state) {
  const int64_t text_bytes = state.range(0);
  const TokenCounter one = [](absl::string_view) { return 1; };
  Batch batch({.max_texts = 256, .max_rows = 512, .max_text_bytes = size_t{1} << 20}, kDim);
  int64_t rows = 0;
  NoLedger ledger;
  EndlessSource source(int64_t{1} << 60, std::string(text_bytes, 'x'));
  RowReader reader(&source, &ledger, &one, batch.limits(), {});
  for (auto _ : state) {
    batch.Clear();
    if (!reader.Fill(&batch).ok()) state.SkipWithError("no rows");
    rows += static_cast<int64_t>(batch.rows().size());
  }
  state.SetItemsProcessed(rows);
  state.SetBytesProcessed(rows * text_bytes);
}
BENCHMARK(BM_RowReaderFill)->ArgName("text_bytes")->Arg(60)->Arg(600)->Arg(3000);

}  // namespace
}  // namespace reembed
