// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "engine/vector_sink.h"
#include "io/file/file.h"
#include "io/file/hdf5_reader.h"
#include "io/file/hdf5_sink.h"
#include "tests/fakes/batches.h"

// What HDF5 costs above the bytes: BM_PlainWrite writes the same vectors with plain write calls and one fdatasync.

namespace reembed {
namespace {

constexpr int kDim = 1536;
constexpr int kBatchRows = 256;
constexpr int kBatches = 200;  // 315 MB
constexpr int64_t kBytes = int64_t{kDim} * kBatchRows * kBatches * static_cast<int64_t>(sizeof(float));

// On the disk of the build, not in memory.
class BenchFolder {
 public:
  BenchFolder() {
    std::string name = "hdf5-bench-XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~BenchFolder() { std::filesystem::remove_all(root_); }
  Location At(const std::string& name) const { return {.scheme = "hdf5", .path = root_ + "/" + name}; }

 private:
  std::string root_;
};

enum class KeyKind { kIntegers, kTexts };

std::unique_ptr<Batch> BatchOf(KeyKind kind) {
  std::vector<float> vectors(size_t{kBatchRows} * kDim);
  for (size_t i = 0; i < vectors.size(); ++i) vectors[i] = static_cast<float>(i % 1001) / 1001.0f;
  std::vector<Key> keys = NumberKeys(0, kBatchRows);
  if (kind == KeyKind::kTexts) {
    for (Key& key : keys) key = "memory-0000-" + std::to_string(std::get<int64_t>(key));
  }
  return MakeBatch(0, keys, vectors, kDim);
}

bool WriteSink(const Location& location, const Batch& batch) {
  const Model model = {.name = "bench", .dim = kDim};
  absl::StatusOr<std::unique_ptr<VectorSink>> sink = MakeHdf5Sink(location, model);
  if (!sink.ok() || !(*sink)->Open({.model = model}, {}).ok()) return false;
  const Batch* const batches[] = {&batch};
  std::vector<RefusedRow> refused;
  for (int i = 0; i < kBatches; ++i) {
    if (!(*sink)->Write(batches, &refused).ok()) return false;
  }
  return (*sink)->Complete().ok();
}

void Report(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kBatches * kBatchRows);
  state.SetBytesProcessed(state.iterations() * kBytes);
}

void BM_Hdf5Write(benchmark::State& state) {
  const BenchFolder folder;
  const std::unique_ptr<Batch> batch = BatchOf(state.range(0) != 0 ? KeyKind::kTexts : KeyKind::kIntegers);
  for (auto _ : state) {
    const Location location = folder.At("vectors.h5");
    if (!WriteSink(location, *batch)) state.SkipWithError("the sink failed");
    state.PauseTiming();
    std::filesystem::remove(location.path);
    state.ResumeTiming();
  }
  Report(state);
}
BENCHMARK(BM_Hdf5Write)->ArgName("text_keys")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_PlainWrite(benchmark::State& state) {
  const BenchFolder folder;
  const std::unique_ptr<Batch> batch = BatchOf(KeyKind::kIntegers);
  const absl::Span<const float> vectors = batch->vectors();
  const absl::string_view bytes(reinterpret_cast<const char*>(vectors.data()), vectors.size() * sizeof(float));
  for (auto _ : state) {
    const std::string path = folder.At("plain.f32").path;
    {
      const absl::StatusOr<File> file = File::OpenToWrite(path);
      if (!file.ok()) state.SkipWithError("cannot open");
      for (int i = 0; i < kBatches; ++i) {
        if (!file->WriteAt(i * static_cast<int64_t>(bytes.size()), bytes).ok()) state.SkipWithError("cannot write");
      }
      if (!file->Sync().ok()) state.SkipWithError("cannot sync");
    }
    state.PauseTiming();
    std::filesystem::remove(path);
    state.ResumeTiming();
  }
  Report(state);
}
BENCHMARK(BM_PlainWrite)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_Hdf5Read(benchmark::State& state) {
  const BenchFolder folder;
  const Location location = folder.At("vectors.h5");
  if (!WriteSink(location, *BatchOf(state.range(0) != 0 ? KeyKind::kTexts : KeyKind::kIntegers))) {
    state.SkipWithError("the sink failed");
  }
  for (auto _ : state) {
    const auto reader = OpenHdf5Reader(location);
    int64_t rows = 0;
    for (auto row = (*reader)->Next(); row.ok() && row->has_value(); row = (*reader)->Next()) ++rows;
    if (rows != int64_t{kBatches} * kBatchRows) state.SkipWithError("rows are missing");
  }
  Report(state);
}
BENCHMARK(BM_Hdf5Read)->ArgName("text_keys")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reembed
