// SPDX-License-Identifier: Apache-2.0
#include "index/fixed_assignment.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <typeinfo>
#include <vector>

#include "engine/status_macros.h"
#include "index/graph_kernels.h"

namespace reembed {
namespace {

constexpr size_t kLine = 64;  // queries are read in such pieces

struct Free {
  void operator()(float* at) const { ::operator delete[](at, std::align_val_t(kLine)); }
};

// Finds the nearest row by the kernel, of equally near ones the first. All else is IndexFlat's.
class FixedFlat final : public faiss::IndexFlat {
 public:
  FixedFlat(int64_t dim, faiss::MetricType metric, const GraphKernels& kernels)
      : IndexFlat(dim, metric),
        kernel_(metric == faiss::METRIC_L2 ? kernels.squared_distance : kernels.inner_product) {}

  void search(idx_t n, const float* x, idx_t k, float* distances, idx_t* labels,
              const faiss::SearchParameters* params) const override {
    if (k != 1 || params != nullptr || ntotal == 0) return IndexFlat::search(n, x, k, distances, labels, params);
    const auto rows = static_cast<size_t>(ntotal), dim = static_cast<size_t>(d);
    const size_t padded = (dim + kCodeBlock - 1) / kCodeBlock * kCodeBlock;
    const size_t room = (padded + rows + kCodeBlock - 1) / kCodeBlock * kCodeBlock;  // a query and its distances
    const int threads = std::max(1, omp_get_max_threads());
    const std::unique_ptr<float[], Free> rooms(
        new (std::align_val_t(kLine)) float[room * static_cast<size_t>(threads)]());
    std::vector<int32_t> ids(rows);
    std::iota(ids.begin(), ids.end(), 0);
    const CodeRows all{
        .base = reinterpret_cast<const std::byte*>(codes.data()), .stride = dim * sizeof(float), .numbers = dim};
#pragma omp parallel for num_threads(threads)
    for (idx_t i = 0; i < n; ++i) {
      float* const query = rooms.get() + room * static_cast<size_t>(omp_get_thread_num());
      float* const scores = query + padded;
      std::memcpy(query, x + i * d, dim * sizeof(float));
      kernel_(query, all, ids.data(), rows, scores);
      const float* const best = metric_type == faiss::METRIC_L2 ? std::min_element(scores, scores + rows)
                                                                : std::max_element(scores, scores + rows);
      distances[i] = *best;
      labels[i] = best - scores;
    }
  }

 private:
  const Float32Kernel kernel_;
};

// Those asked for, or the fastest that sum as all do.
absl::StatusOr<GraphKernels> KernelsOf(GraphSimd simd) {
  ABSL_ASSIGN_OR_RETURN(const GraphKernelChoice choice,
                        ChooseGraphKernel({.simd = simd, .storage = GraphStorage::kFloat32, .deterministic = true}));
  GraphKernels kernels;
  for (const GraphKernels& there : AvailableGraphKernels()) {
    if (there.inner_product != nullptr && there.squared_distance != nullptr) kernels = there;
    if (there.simd == choice.simd) break;
  }
  return kernels;
}

faiss::IndexIVF* IvfOf(faiss::Index* index) {
  return dynamic_cast<faiss::IndexIVF*>(static_cast<faiss::IndexIDMap2*>(index)->index);
}

}  // namespace

absl::StatusOr<bool> FixAssignments(faiss::Index* index, GraphSimd simd) {
  faiss::IndexIVF* const ivf = IvfOf(index);
  auto* const flat = ivf == nullptr ? nullptr : dynamic_cast<faiss::IndexFlat*>(ivf->quantizer);
  if (flat == nullptr || !ivf->own_fields) return false;
  ABSL_ASSIGN_OR_RETURN(const GraphKernels kernels, KernelsOf(simd));
  auto fixed = std::make_unique<FixedFlat>(flat->d, flat->metric_type, kernels);
  static_cast<faiss::IndexFlat&>(*fixed) = *flat;  // the centroids, if it is trained
  delete ivf->quantizer;
  ivf->quantizer = fixed.release();
  return true;
}

FixedCodeBooks::FixedCodeBooks(faiss::Index* index, GraphSimd simd) {
  const absl::StatusOr<GraphKernels> kernels = KernelsOf(simd);
  faiss::IndexIVF* const ivf = IvfOf(index);
  faiss::ProductQuantizer* pq = nullptr;
  if (auto* const plain = dynamic_cast<faiss::IndexIVFPQ*>(ivf)) pq = &plain->pq;
  if (auto* const fast = dynamic_cast<faiss::IndexIVFPQFastScan*>(ivf)) pq = &fast->pq;
  if (pq == nullptr || !kernels.ok()) return;
  assigning_.reset(new FixedFlat(static_cast<int64_t>(pq->dsub), faiss::METRIC_L2, *kernels));
  assigner_ = &pq->assign_index;
  *assigner_ = assigning_.get();
}

FixedCodeBooks::~FixedCodeBooks() {
  if (assigner_ != nullptr) *assigner_ = nullptr;
}

}  // namespace reembed
