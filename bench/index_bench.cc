// SPDX-License-Identifier: Apache-2.0
// Building and searching indexes of 1,536 numbers a row, through the sink and the reader that jobs use. The contender
// of the sink is the bare add() of FAISS with the same rows; that of the search is one pass of SearchExactly() over
// rows in memory. Rows are clustered, as embeddings are.

#include <faiss/IndexHNSW.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "engine/number/normalize.h"
#include "index/brute_force.h"
#include "index/faiss_sink.h"
#include "index/index_reader.h"
#include "tests/fakes/batches.h"

namespace reembed {
namespace {

constexpr int kDim = 1536;

std::vector<float> UnitRows(int64_t rows) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> centres(20 * kDim);
  for (float& x : centres) x = normal(random);
  std::vector<float> matrix(rows * kDim);
  for (int64_t i = 0; i < rows; ++i) {
    const size_t centre = random() % 20;
    for (int j = 0; j < kDim; ++j) matrix[i * kDim + j] = centres[centre * kDim + j] + 0.5f * normal(random);
  }
  if (!NormalizeRows(absl::MakeSpan(matrix), kDim).ok()) std::abort();
  return matrix;
}

void Count(benchmark::State& state, int64_t rows) {
  state.SetItemsProcessed(state.iterations() * rows);
  state.SetBytesProcessed(state.iterations() * rows * kDim * static_cast<int64_t>(sizeof(float)));
}

// A directory that goes when the benchmark ends.
class Directory {
 public:
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "index_bench_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string IndexPath() const { return path_ + "/a.index"; }

 private:
  std::string path_;
};

void BuildIndex(const Directory& directory, const std::string& factory, const std::vector<float>& matrix) {
  const Model model{.name = "bench", .dim = kDim};
  const auto location = ParseLocation(absl::StrCat("faiss:", directory.IndexPath(), "?factory=", factory));
  if (!location.ok()) std::abort();
  const auto sink = MakeFaissSink(*location, model);
  if (!sink.ok() || !(*sink)->Open({.model = model}, {}).ok()) std::abort();
  constexpr int64_t kBatch = 256;
  const auto rows = static_cast<int64_t>(matrix.size()) / kDim;
  std::vector<RefusedRow> refused;
  for (int64_t i = 0; i < rows; i += kBatch) {
    const int64_t count = std::min(kBatch, rows - i);
    const auto batch =
        MakeBatch(i, NumberKeys(i, count), absl::MakeConstSpan(matrix).subspan(i * kDim, count * kDim), kDim);
    const Batch* const batches[] = {batch.get()};
    if (!(*sink)->Write(batches, &refused).ok()) std::abort();
  }
  if (!(*sink)->Complete().ok() || !refused.empty()) std::abort();
}

void BM_IndexBuildHnsw32(benchmark::State& state) {
  const Directory directory;
  const std::vector<float> matrix = UnitRows(state.range(0));
  for (auto _ : state) BuildIndex(directory, "HNSW32", matrix);
  Count(state, state.range(0));
}
BENCHMARK(BM_IndexBuildHnsw32)->ArgName("rows")->Arg(2000)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_IndexPlainFaissHnsw32(benchmark::State& state) {
  const std::vector<float> matrix = UnitRows(state.range(0));
  for (auto _ : state) {
    faiss::IndexHNSWFlat index(kDim, 32, faiss::METRIC_INNER_PRODUCT);
    index.add(state.range(0), matrix.data());
  }
  Count(state, state.range(0));
}
BENCHMARK(BM_IndexPlainFaissHnsw32)->ArgName("rows")->Arg(2000)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_IndexSearch(benchmark::State& state, const std::string& factory) {
  const Directory directory;
  const std::vector<float> matrix = UnitRows(state.range(0));
  BuildIndex(directory, factory, matrix);
  const auto reader = IndexReader::Open(directory.IndexPath());
  if (!reader.ok()) std::abort();
  int64_t row = 0;
  for (auto _ : state) {
    const auto query = absl::MakeConstSpan(matrix).subspan(row * kDim, kDim);
    const auto hits = (*reader)->Search(query, 10, {});
    if (!hits.ok() || hits->empty() || hits->front().key != Key(row)) std::abort();
    row = (row + 1) % state.range(0);
  }
  state.SetItemsProcessed(state.iterations());  // queries
}
BENCHMARK_CAPTURE(BM_IndexSearch, flat, "Flat")->ArgName("rows")->Arg(5000)->UseRealTime();
BENCHMARK_CAPTURE(BM_IndexSearch, hnsw32, "HNSW32")->ArgName("rows")->Arg(2000)->UseRealTime();

// Rows of memory, keyed by their place.
class MatrixReader final : public VectorReader {
 public:
  explicit MatrixReader(const std::vector<float>* matrix) : matrix_(matrix) {}
  int dim() const override { return kDim; }
  int64_t rows() const override { return static_cast<int64_t>(matrix_->size()) / kDim; }
  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ == rows()) return std::nullopt;
    const int64_t place = next_++;
    return StoredVector{place, absl::MakeConstSpan(*matrix_).subspan(place * kDim, kDim)};
  }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView) override { return std::nullopt; }

 private:
  const std::vector<float>* const matrix_;
  int64_t next_ = 0;
};

void BM_IndexSearchExactly(benchmark::State& state) {
  const std::vector<float> matrix = UnitRows(state.range(0));
  int64_t row = 0;
  for (auto _ : state) {
    MatrixReader reader(&matrix);
    const auto hits =
        SearchExactly(&reader, absl::MakeConstSpan(matrix).subspan(row * kDim, kDim), 10, Metric::kCosine);
    if (!hits.ok() || hits->front().key != Key(row)) std::abort();
    row = (row + 1) % state.range(0);
  }
  state.SetItemsProcessed(state.iterations());  // queries
  state.SetBytesProcessed(state.iterations() * state.range(0) * kDim * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(BM_IndexSearchExactly)->ArgName("rows")->Arg(5000)->UseRealTime();

}  // namespace
}  // namespace reembed
