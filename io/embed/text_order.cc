// SPDX-License-Identifier: Apache-2.0
#include "io/embed/text_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace reembed {

std::vector<int> LongestFirst(absl::Span<const BatchText> texts) {
  const auto is_longer = [](const BatchText& a, const BatchText& b) { return a.tokens > b.tokens; };
  if (std::is_sorted(texts.begin(), texts.end(), is_longer)) return {};
  std::vector<int> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return is_longer(texts[a], texts[b]); });
  return order;
}

void RestoreOrder(absl::Span<const int> order, int dim, absl::Span<float> vectors, absl::Span<VectorFault> faults) {
  if (order.empty()) return;
  const auto row = [&](int i) { return vectors.begin() + static_cast<size_t>(i) * dim; };
  std::vector<int> from(order.size());  // whose vector belongs there
  for (size_t k = 0; k < order.size(); ++k) from[order[k]] = static_cast<int>(k);
  std::vector<float> held(dim);
  // Each cycle moves within the matrix, which is written as often as it has rows.
  for (int begin = 0; begin < static_cast<int>(from.size()); ++begin) {
    if (from[begin] == begin) continue;
    std::copy_n(row(begin), dim, held.begin());
    const VectorFault held_fault = faults[begin];
    int place = begin;
    for (int next; (next = std::exchange(from[place], place)) != begin; place = next) {
      std::copy_n(row(next), dim, row(place));
      faults[place] = faults[next];
    }
    std::copy_n(held.begin(), dim, row(place));
    faults[place] = held_fault;
  }
}

}  // namespace reembed
