// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_VECTOR_ROWS_H_
#define REEMBED_TESTS_FAKES_VECTOR_ROWS_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "engine/batch.h"
#include "engine/key.h"
#include "gtest/gtest.h"

namespace reembed {

// The vector of the row with ordinal n is [n, n + 0.5, n, n + 0.5, ...], so a foreign one shows.
inline std::vector<float> VectorOfOrdinal(int64_t ordinal, int dim) {
  std::vector<float> vector(static_cast<size_t>(dim));
  for (int i = 0; i < dim; ++i) vector[i] = static_cast<float>(ordinal) + (i % 2 == 0 ? 0.0f : 0.5f);
  return vector;
}

// A batch of finished rows as a sink gets it.
class VectorRows {
 public:
  explicit VectorRows(int dim) : batch_(std::make_unique<Batch>(BatchLimits{.max_rows = 4096}, dim)) {}

  void Add(int64_t ordinal, const Key& key) {
    auto vector = std::make_unique<std::vector<float>>(VectorOfOrdinal(ordinal, batch_->dim()));
    batch_->AddRow(ordinal, ViewOf(key), ordinal)->vector = vector->data();
    vectors_.push_back(std::move(vector));
  }

  void AddWithoutVector(int64_t ordinal, const Key& key) { batch_->AddRow(ordinal, ViewOf(key), -1); }

  const Batch* batch() const { return batch_.get(); }

 private:
  std::unique_ptr<Batch> batch_;
  std::vector<std::unique_ptr<std::vector<float>>> vectors_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_VECTOR_ROWS_H_
