// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FIXED_ASSIGNMENT_H_
#define REEMBED_INDEX_FIXED_ASSIGNMENT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "index/faiss_io.h"
#include "index/graph_build.h"

// Training and filling of inverted lists whose bytes do not depend on threads, the BLAS or the processor: which
// centroid is nearest is decided by the float32 kernels of graphs, whose sums are the same bits everywhere.
namespace reembed {

// Gives the IVF index in `index` (an IndexIDMap2) such a coarse quantizer; in its file it is the plain one. False: it
// is no IVF index over a flat quantizer, or one behind a transform, and stays as it is. Errors: as ChooseGraphKernel().
absl::StatusOr<bool> FixAssignments(faiss::Index* index, GraphSimd simd);

// While it lives, code books of the index's product quantizer, if it has one, are trained likewise. The index outlives
// it.
class FixedCodeBooks {
 public:
  // Precondition: FixAssignments() was true.
  FixedCodeBooks(faiss::Index* index, GraphSimd simd);
  FixedCodeBooks(const FixedCodeBooks&) = delete;
  FixedCodeBooks& operator=(const FixedCodeBooks&) = delete;
  ~FixedCodeBooks();

 private:
  faiss::Index** assigner_ = nullptr;  // where the quantizer looks for it
  FaissIndex assigning_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_FIXED_ASSIGNMENT_H_
