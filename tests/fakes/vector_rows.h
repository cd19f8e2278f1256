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

// A batch of finished rows as a sink gets it. The vector of the row with ordinal n is [n, n + 0.5, n, n + 0.5, ...], so
// a foreign one shows.
class VectorRows {
 public:
  explicit VectorRows(int dim) : batch_(std::make_unique<Batch>(BatchLimits{.max_rows = 4096}, dim)) {}

  void Add(int64_t ordinal, const Key& key) {
    auto vector = std::make_unique<float[]>(static_cast<size_t>(batch_->dim()));
    for (int i = 0; i < batch_->dim(); ++i) vector[i] = static_cast<float>(ordinal) + (i % 2 == 0 ? 0.0f : 0.5f);
    batch_->AddRow(ordinal, ViewOf(key), ordinal)->vector = vector.get();
    vectors_.push_back(std::move(vector));
  }

  void AddWithoutVector(int64_t ordinal, const Key& key) { batch_->AddRow(ordinal, ViewOf(key), -1); }

  const Batch* batch() const { return batch_.get(); }

 private:
  std::unique_ptr<Batch> batch_;
  std::vector<std::unique_ptr<float[]>> vectors_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_VECTOR_ROWS_H_
