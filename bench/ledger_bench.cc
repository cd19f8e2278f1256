// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "io/job/job_store.h"
#include "io/job/text_index.h"

// What the ledger costs. The limit of BM_LedgerPersist is the disk: BM_DiskWrite beside it writes the same bytes with
// one fdatasync a group and nothing else.

namespace reembed {
namespace {

// A job directory that goes away with the benchmark. On the disk of the build, not in memory.
class BenchJob {
 public:
  explicit BenchJob(int dim, KeepVectors keep_vectors) : dim_(dim), keep_vectors_(keep_vectors) {
    std::string name = "ledger-bench-XXXXXX";
    root_ = mkdtemp(name.data());
    Open();
  }
  ~BenchJob() {
    store_.reset();
    std::filesystem::remove_all(root_);
  }

  void Close() { store_.reset(); }

  void Open() {
    Close();
    absl::StatusOr<std::unique_ptr<JobStore>> store =
        JobStore::Open(root_ + "/job", {.source = "bench", .dim = dim_}, {.keep_vectors = keep_vectors_});
    if (!store.ok()) abort();
    store_ = *std::move(store);
  }

  JobStore* operator->() { return store_.get(); }
  const std::string& root() const { return root_; }

 private:
  const int dim_;
  const KeepVectors keep_vectors_;
  std::string root_;
  std::unique_ptr<JobStore> store_;
};

TextHash HashOf(int64_t number) {
  return HashText(absl::string_view(reinterpret_cast<const char*>(&number), sizeof(number)));
}

// Numbers rows with texts of their own, by one thread, while the ledger's thread writes them.
void BM_LedgerEnrol(benchmark::State& state) {
  BenchJob job(8, KeepVectors::kAlways);
  int64_t next = 0;
  for (auto _ : state) {
    job->Enrol(next, HashOf(next));
    ++next;
  }
  if (!job->Sync().ok()) state.SkipWithError("the ledger failed");
  state.SetItemsProcessed(next);
}
BENCHMARK(BM_LedgerEnrol)->UseRealTime()->Iterations(3'000'000);

// The batches of a run go round: numbered, kept, answered, numbered again.
class Circle {
 public:
  Circle(JobStore* store, int batches, int rows, int dim) : store_(store), rows_(rows) {
    for (int i = 0; i < batches; ++i) {
      batches_.push_back(std::make_unique<Batch>(BatchLimits{.max_texts = rows, .max_rows = rows}, dim));
      free_.push_back(batches_.back().get());
      const std::string text(100, 'x');
      for (int row = 0; row < rows; ++row) free_.back()->AddRowWithText(row, int64_t{row}, row, text, 1);
      for (float& value : free_.back()->vectors()) value = static_cast<float>(i);
    }
  }

  void KeepOne() {
    Batch* const batch = TakeFree();
    batch->Clear();
    for (int i = 0; i < rows_; ++i) {
      const Enrolment enrolment = store_->Enrol(next_, HashOf(next_));
      batch->AddRowWithText(enrolment.ordinal, next_, enrolment.slot, "text", 1);
      ++next_;
    }
    store_->Persist(batch, Done([this, batch](const absl::Status& status) {
                      const std::lock_guard lock(mutex_);
                      if (!status.ok()) failed_ = true;
                      free_.push_back(batch);
                      freed_.notify_one();
                    }));
  }

  bool WaitForAll() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [this] { return free_.size() == batches_.size(); });
    return !failed_;
  }

  int64_t rows() const { return next_; }

 private:
  Batch* TakeFree() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [this] { return !free_.empty(); });
    Batch* const batch = free_.back();
    free_.pop_back();
    return batch;
  }

  JobStore* const store_;
  const int rows_;
  int64_t next_ = 0;
  std::vector<std::unique_ptr<Batch>> batches_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Batch*> free_;
  bool failed_ = false;
};

void BM_LedgerPersist(benchmark::State& state) {
  const int dim = static_cast<int>(state.range(0));
  const auto keep_vectors = state.range(1) != 0 ? KeepVectors::kAlways : KeepVectors::kNever;
  constexpr int kRows = 256;
  BenchJob job(dim, keep_vectors);
  Circle circle(job.operator->(), 64, kRows, dim);
  for (auto _ : state) circle.KeepOne();
  if (!circle.WaitForAll()) state.SkipWithError("the ledger failed");
  state.SetItemsProcessed(circle.rows());
  state.SetBytesProcessed(circle.rows() * dim * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(BM_LedgerPersist)->ArgNames({"dim", "kept"})->Args({1536, 1})->UseRealTime()->Iterations(1000);
BENCHMARK(BM_LedgerPersist)->ArgNames({"dim", "kept"})->Args({8, 1})->Args({8, 0})->UseRealTime()->Iterations(8000);

// The bytes of BM_LedgerPersist/1536 alone: 32 batches written, then one fdatasync, as a group commit does.
void BM_DiskWrite(benchmark::State& state) {
  constexpr int kDim = 1536;
  constexpr int kRows = 256;
  BenchJob job(kDim, KeepVectors::kNever);
  const auto file = VectorFile::Open(job.root() + "/plain.f32", kDim, VectorFile::Access::kCreate);
  const std::vector<float> vectors(kRows * kDim, 1.5f);
  int64_t slot = 0;
  for (auto _ : state) {
    if (!(*file)->Write(slot, vectors).ok()) state.SkipWithError("cannot write");
    slot += kRows;
    if (slot % (32 * kRows) == 0 && !(*file)->Sync().ok()) state.SkipWithError("cannot sync");
  }
  if (!(*file)->Sync().ok()) state.SkipWithError("cannot sync");
  state.SetItemsProcessed(slot);
  state.SetBytesProcessed(slot * kDim * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(BM_DiskWrite)->UseRealTime()->Iterations(1000);

// Opening a job with this many texts, all without a vector.
void BM_TextIndexRebuild(benchmark::State& state) {
  const int64_t texts = state.range(0);
  BenchJob job(8, KeepVectors::kAlways);
  for (int64_t i = 0; i < texts; ++i) job->Enrol(i, HashOf(i));
  for (auto _ : state) job.Open();
  state.SetItemsProcessed(state.iterations() * texts);
}
BENCHMARK(BM_TextIndexRebuild)->ArgName("texts")->Arg(1'000'000)->UseRealTime()->Unit(benchmark::kMillisecond);

// Opening a job whose texts all have their vectors of 64 numbers: the ledger and the text map, which is what the same
// command does first. REEMBED_BENCH_ROWS: how many.
void BM_FinishedJobOpen(benchmark::State& state) {
  constexpr int kRows = 256;
  constexpr int kDim = 64;
  const char* const asked = std::getenv("REEMBED_BENCH_ROWS");
  const int64_t rows = asked == nullptr ? 50'000 : std::strtoll(asked, nullptr, 10);
  BenchJob job(kDim, KeepVectors::kAlways);
  Circle circle(job.operator->(), 64, kRows, kDim);
  while (circle.rows() < rows) circle.KeepOne();
  if (!circle.WaitForAll()) state.SkipWithError("the ledger failed");
  for (auto _ : state) {
    state.PauseTiming();
    job.Close();
    state.ResumeTiming();
    job.Open();
  }
  state.SetItemsProcessed(state.iterations() * circle.rows());
}
BENCHMARK(BM_FinishedJobOpen)->MeasureProcessCPUTime()->UseRealTime()->Unit(benchmark::kMillisecond);

// The rows of an earlier run, as the reading stage takes them up.
void BM_LedgerScan(benchmark::State& state) {
  constexpr int64_t kRows = 1'000'000;
  BenchJob job(8, KeepVectors::kAlways);
  for (int64_t i = 0; i < kRows; ++i) job->Enrol(i, HashOf(i));
  for (auto _ : state) {
    auto cursor = job->Scan(0);
    int64_t rows = 0;
    for (auto row = (*cursor)->Next(); row.ok() && row->has_value(); row = (*cursor)->Next()) ++rows;
    if (rows != kRows) state.SkipWithError("rows are missing");
  }
  state.SetItemsProcessed(state.iterations() * kRows);
}
BENCHMARK(BM_LedgerScan)->UseRealTime()->Unit(benchmark::kMillisecond);

// Vectors that were bought earlier, served again: batches of rows without texts of their own.
void BM_LedgerReplay(benchmark::State& state) {
  constexpr int kDim = 1536;
  constexpr int kRows = 256;
  constexpr int kBatches = 200;
  BenchJob job(kDim, KeepVectors::kAlways);
  Circle circle(job.operator->(), 16, kRows, kDim);
  for (int i = 0; i < kBatches; ++i) circle.KeepOne();
  if (!circle.WaitForAll()) state.SkipWithError("the ledger failed");
  Batch batch({.max_texts = kRows, .max_rows = kRows}, kDim);
  int64_t served = 0;
  for (auto _ : state) {
    batch.Clear();
    for (int i = 0; i < kRows; ++i) {
      const int64_t ordinal = (served + i) % (kBatches * kRows);
      batch.AddRow(ordinal, ordinal, ordinal);
    }
    std::promise<absl::Status> kept;
    job->Persist(&batch, Done([&kept](absl::Status status) { kept.set_value(std::move(status)); }));
    if (!kept.get_future().get().ok() || batch.rows()[0].vector == nullptr) state.SkipWithError("no vector");
    served += kRows;
  }
  state.SetItemsProcessed(served);
  state.SetBytesProcessed(served * kDim * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(BM_LedgerReplay)->UseRealTime();

}  // namespace
}  // namespace reembed
