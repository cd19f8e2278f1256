// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/batches.h"

#include <algorithm>

namespace reembed {

std::unique_ptr<Batch> MakeBatch(int64_t first_ordinal, absl::Span<const Key> keys, absl::Span<const float> vectors,
                                 int dim) {
  const auto rows = static_cast<int64_t>(keys.size());
  BatchLimits limits;
  limits.max_rows = limits.max_texts = static_cast<int>(rows);
  limits.max_text_bytes = 16;
  for (const Key& key : keys) limits.max_text_bytes += KeyText(ViewOf(key)).size() + 1;
  auto batch = std::make_unique<Batch>(limits, dim);
  batch->set_range({first_ordinal, first_ordinal + rows});
  for (int64_t i = 0; i < rows; ++i) {
    batch->AddRowWithText(first_ordinal + i, ViewOf(keys[i]), first_ordinal + i, "t", 1);
  }
  std::copy_n(vectors.begin(), rows * dim, batch->vectors().begin());
  for (int64_t i = 0; i < rows; ++i) batch->rows()[i].vector = batch->vectors().data() + i * dim;
  return batch;
}

std::vector<Key> NumberKeys(int64_t first, int64_t count) {
  std::vector<Key> keys;
  for (int64_t i = 0; i < count; ++i) keys.emplace_back(first + i);
  return keys;
}

}  // namespace reembed
