// SPDX-License-Identifier: Apache-2.0
#include "index/index_training.h"

#include <faiss/IndexIDMap.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/ProductQuantizer.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "index/faiss_io.h"
#include "index/index_spec.h"

namespace reembed {
namespace {

// A rotation is trained with a product quantizer of its own, which warns on standard error of few rows: too few were
// refused before. Lends it one that does not while this lives.
class QuietRotations {
 public:
  explicit QuietRotations(faiss::Index* index) {
    if (auto* const with_ids = dynamic_cast<faiss::IndexIDMap*>(index)) index = with_ids->index;
    auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(index);
    if (transformed == nullptr) return;
    for (faiss::VectorTransform* const one : transformed->chain) {
      auto* const rotation = dynamic_cast<faiss::OPQMatrix*>(one);
      if (rotation == nullptr || rotation->pq != nullptr) continue;
      constexpr size_t kBitsOfFaiss = 8;
      quantizers_.push_back(
          std::make_unique<faiss::ProductQuantizer>(rotation->d_out, static_cast<size_t>(rotation->M), kBitsOfFaiss));
      quantizers_.back()->cp.min_points_per_centroid = 1;
      rotation->pq = quantizers_.back().get();
      rotations_.push_back(rotation);
    }
  }
  QuietRotations(const QuietRotations&) = delete;
  QuietRotations& operator=(const QuietRotations&) = delete;
  ~QuietRotations() {
    for (faiss::OPQMatrix* const rotation : rotations_) rotation->pq = nullptr;
  }

 private:
  std::vector<std::unique_ptr<faiss::ProductQuantizer>> quantizers_;
  std::vector<faiss::OPQMatrix*> rotations_;
};

}  // namespace

absl::Status CheckTrainingRows(absl::string_view path, absl::string_view factory, int64_t rows) {
  const int64_t least = LeastTrainingRows(factory);
  if (rows >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": expected at least ", least, " rows to train ", factory, ", got ", rows,
      "; use factory=IVF,Flat, which chooses the number of lists, or factory=HNSW32, which needs no training"));
}

absl::Status TrainIndex(absl::string_view path, absl::string_view factory, absl::Span<const float> rows,
                        faiss::Index* index) {
  const int64_t count = static_cast<int64_t>(rows.size()) / index->d;
  if (const absl::Status enough = CheckTrainingRows(path, factory, count); !enough.ok()) {
    return absl::FailedPreconditionError(enough.message());
  }
  return CallFaiss(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(path, ": cannot train ", factory, " on ", Counted(count, "row", "rows")), [&] {
                     const QuietRotations quiet(index);
                     index->train(count, rows.data());
                   });
}

}  // namespace reembed
