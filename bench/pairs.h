// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_BENCH_PAIRS_H_
#define REEMBED_BENCH_PAIRS_H_

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

namespace reembed {

// Times two ways of doing the same to `rows` rows, in turns, as others use the machine too: each iteration is a pair,
// and which of the two comes first alternates. Before each, `prepare` runs untimed. The counters: `limit` and
// `reembed`, rows per second at their best, and `ratio`, the median of limit time / our time over the pairs.
template <typename Prepare, typename Limit, typename Ours>
void ComparePairs(benchmark::State& state, int64_t rows, const Prepare& prepare, const Limit& limit, const Ours& ours) {
  const auto seconds_of = [&](const auto& work) {
    prepare();
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<double> limits, our_own, ratios;
  for (auto _ : state) {
    double limit_seconds = 0, our_seconds = 0;
    if (ratios.size() % 2 == 0) {
      limit_seconds = seconds_of(limit);
      our_seconds = seconds_of(ours);
    } else {
      our_seconds = seconds_of(ours);
      limit_seconds = seconds_of(limit);
    }
    limits.push_back(limit_seconds);
    our_own.push_back(our_seconds);
    ratios.push_back(limit_seconds / our_seconds);
    state.SetIterationTime(our_seconds);
  }
  std::sort(ratios.begin(), ratios.end());
  state.counters["limit"] = static_cast<double>(rows) / *std::min_element(limits.begin(), limits.end());
  state.counters["reembed"] = static_cast<double>(rows) / *std::min_element(our_own.begin(), our_own.end());
  state.counters["ratio"] = ratios[ratios.size() / 2];
}

}  // namespace reembed

#endif  // REEMBED_BENCH_PAIRS_H_
