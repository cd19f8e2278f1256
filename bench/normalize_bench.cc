// SPDX-License-Identifier: Apache-2.0
// Checking and scaling vectors of 1,536 numbers, beside a plain loop and the copying of the same bytes. `rows` rows lie
// in one matrix: 64 fit into the second-level cache, 16,384 do not fit into any.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/number/normalize.h"

namespace reembed {
namespace {

constexpr int kDim = 1536;

std::vector<float> MakeRows(int64_t rows) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> matrix(rows * kDim);
  for (float& x : matrix) x = uniform(random);
  return matrix;
}

void Count(benchmark::State& state, const std::vector<float>& matrix) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(matrix.size() * sizeof(float)));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(matrix.size() / kDim));
}

void NormalizePlainly(std::vector<float>& matrix) {
  for (size_t begin = 0; begin < matrix.size(); begin += kDim) {
    double sum = 0;
    for (size_t i = begin; i < begin + kDim; ++i) sum += static_cast<double>(matrix[i]) * matrix[i];
    const double factor = 1 / std::sqrt(sum);
    for (size_t i = begin; i < begin + kDim; ++i) matrix[i] = static_cast<float>(matrix[i] * factor);
  }
}

void BM_NormalizeRows(benchmark::State& state) {
  std::vector<float> matrix = MakeRows(state.range(0));
  std::vector<float> expected = matrix;
  NormalizePlainly(expected);
  if (!NormalizeRows(absl::MakeSpan(matrix), kDim).ok()) std::abort();
  for (size_t i = 0; i < matrix.size(); ++i) {
    if (std::abs(matrix[i] - expected[i]) > 1e-7f) std::abort();
  }
  for (auto _ : state) {
    if (!NormalizeRows(absl::MakeSpan(matrix), kDim).ok()) std::abort();
  }
  Count(state, matrix);
}
BENCHMARK(BM_NormalizeRows)->ArgName("rows")->Arg(64)->Arg(16384);

void BM_NormalizePlainLoop(benchmark::State& state) {
  std::vector<float> matrix = MakeRows(state.range(0));
  for (auto _ : state) {
    NormalizePlainly(matrix);
    benchmark::ClobberMemory();
  }
  Count(state, matrix);
}
BENCHMARK(BM_NormalizePlainLoop)->ArgName("rows")->Arg(64)->Arg(16384);

void BM_CheckVector(benchmark::State& state) {
  const std::vector<float> matrix = MakeRows(state.range(0));
  for (auto _ : state) {
    for (size_t begin = 0; begin < matrix.size(); begin += kDim) {
      if (CheckVector(absl::MakeConstSpan(matrix).subspan(begin, kDim)) != VectorFault::kNone) std::abort();
    }
  }
  Count(state, matrix);
}
BENCHMARK(BM_CheckVector)->ArgName("rows")->Arg(64)->Arg(16384);

void BM_NormalizeMemcpy(benchmark::State& state) {
  const std::vector<float> matrix = MakeRows(state.range(0));
  std::vector<float> copy(matrix.size());
  for (auto _ : state) {
    std::memcpy(copy.data(), matrix.data(), matrix.size() * sizeof(float));
    benchmark::ClobberMemory();
  }
  Count(state, matrix);
}
BENCHMARK(BM_NormalizeMemcpy)->ArgName("rows")->Arg(64)->Arg(16384);

}  // namespace
}  // namespace reembed
