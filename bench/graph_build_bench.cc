// SPDX-License-Identifier: Apache-2.0
// Linking HNSW32 graphs with efConstruction 40 over clustered rows: our kernels beside the add() of the installed
// FAISS, in turns, with two threads each. Before anything is timed, recall@10 at efSearch 64 must be within half a
// percent of plain FAISS. The label says which instructions and storage were used. `cpu_ratio` is that of processor
// time, which others on the machine disturb less. bench/peers/index_build has more contenders.

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/pairs.h"
#include "benchmark/benchmark.h"
#include "engine/number/normalize.h"
#include "index/graph_build.h"

namespace reembed {
namespace {

constexpr int kThreads = 2;
constexpr int kQueries = 200;
constexpr int kNeighbours = 10;

// Rows to build from and behind them kQueries queries, around one centre for every 50 rows.
const std::vector<float>& UnitRows(int64_t rows, int dim) {
  static auto& made = *new std::map<std::pair<int64_t, int>, std::vector<float>>;
  std::vector<float>& matrix = made[{rows, dim}];
  if (!matrix.empty()) return matrix;
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  const int64_t clusters = rows / 50;
  std::vector<float> centres(clusters * dim);
  for (float& x : centres) x = normal(random);
  matrix.resize((rows + kQueries) * dim);
  for (int64_t i = 0; i < rows + kQueries; ++i) {
    const int64_t centre = static_cast<int64_t>(random() % clusters);
    for (int j = 0; j < dim; ++j) matrix[i * dim + j] = centres[centre * dim + j] + 0.5f * normal(random);
  }
  if (!NormalizeRows(absl::MakeSpan(matrix), dim).ok()) std::abort();
  return matrix;
}

std::vector<int64_t> Search(const faiss::Index& index, const float* queries) {
  std::vector<int64_t> found(kQueries * kNeighbours);
  std::vector<float> distances(found.size());
  index.search(kQueries, queries, kNeighbours, distances.data(), found.data());
  return found;
}

double Recall(const faiss::Index& index, const std::vector<float>& matrix, int64_t rows) {
  faiss::IndexFlatIP flat(index.d);
  flat.add(rows, matrix.data());
  const float* const queries = matrix.data() + rows * index.d;
  const std::vector<int64_t> right = Search(flat, queries);
  const std::vector<int64_t> found = Search(index, queries);
  int64_t hits = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const auto begin = right.begin() + static_cast<int64_t>(i) / kNeighbours * kNeighbours;
    hits += std::count(begin, begin + kNeighbours, found[i]);
  }
  return static_cast<double>(hits) / static_cast<double>(found.size());
}

double ProcessorSeconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

void BM_GraphBuild(benchmark::State& state, GraphSimd simd, GraphStorage storage, bool deterministic) {
  const int64_t rows = state.range(0);
  const int dim = static_cast<int>(state.range(1));
  const std::vector<float>& matrix = UnitRows(rows, dim);
  const GraphBuildOptions options{
      .threads = kThreads, .simd = simd, .storage = storage, .deterministic = deterministic};
  const auto choice = ChooseGraphKernel(options);
  if (!choice.ok()) {
    state.SkipWithError(std::string(choice.status().message()).c_str());
    return;
  }
  state.SetLabel(absl::StrCat(GraphSimdName(choice->simd), ", ", GraphStorageName(choice->storage)));
  double plain_seconds = 0, our_seconds = 0;
  omp_set_num_threads(kThreads);
  FaissIndex plain;
  const auto build_plain = [&] {
    const double before = ProcessorSeconds();
    auto* const index = new faiss::IndexHNSWFlat(dim, 32, faiss::METRIC_INNER_PRODUCT);
    plain.reset(index);
    index->add(rows, matrix.data());
    plain_seconds += ProcessorSeconds() - before;
  };
  FaissIndex ours;
  const auto build_ours = [&] {
    const double before = ProcessorSeconds();
    auto built = BuildGraph(absl::MakeConstSpan(matrix).first(rows * dim), rows, dim, options);
    if (!built.ok()) std::abort();
    ours = *std::move(built);
    our_seconds += ProcessorSeconds() - before;
  };
  build_plain();
  build_ours();
  for (const FaissIndex* const index : {&plain, &ours}) dynamic_cast<faiss::IndexHNSW&>(**index).hnsw.efSearch = 64;
  const double least = Recall(*plain, matrix, rows) - 0.005;
  state.counters["recall"] = Recall(*ours, matrix, rows);
  if (state.counters["recall"] < least) {
    state.SkipWithError("recall is more than half a percent below plain FAISS");
    return;
  }
  plain_seconds = our_seconds = 0;
  ComparePairs(
      state, rows, [] {}, build_plain, build_ours);
  state.counters["cpu_ratio"] = plain_seconds / our_seconds;
}

#define GRAPH_BENCH(name, simd, storage, deterministic)                                         \
  BENCHMARK_CAPTURE(BM_GraphBuild, name, GraphSimd::simd, GraphStorage::storage, deterministic) \
      ->ArgNames({"rows", "dim"})                                                               \
      ->Args({1000, 1536})                                                                      \
      ->Unit(benchmark::kMillisecond)                                                           \
      ->UseManualTime()
GRAPH_BENCH(auto, kAuto, kAuto, false) -> Args({1000, 384});
GRAPH_BENCH(bf16, kAvx512Bf16, kBf16, false);
GRAPH_BENCH(avx512_int8, kAvx512, kInt8, false);
GRAPH_BENCH(avx512_float32, kAvx512, kFloat32, false);
GRAPH_BENCH(avx2_int8, kAvx2, kInt8, false);
GRAPH_BENCH(avx2_float32, kAvx2, kFloat32, false);
GRAPH_BENCH(deterministic, kAuto, kAuto, true);

}  // namespace
}  // namespace reembed
