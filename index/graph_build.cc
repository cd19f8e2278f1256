// SPDX-License-Identifier: Apache-2.0
#include "index/graph_build.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <omp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

class PlainGraphBuilder final : public GraphBuilder {
 public:
  PlainGraphBuilder(faiss::Index* index, GraphBuildOptions options) : index_(index), options_(std::move(options)) {}

  absl::Status Add(absl::Span<const float> vectors, absl::Span<const int64_t> ids) override {
    omp_set_num_threads(options_.threads > 0 ? options_.threads : omp_get_num_procs());
    const auto rows = static_cast<int64_t>(vectors.size()) / index_->d;
    ABSL_RETURN_IF_ERROR(CallFaiss(absl::StatusCode::kInternal, "cannot add rows to a graph", [&] {
      if (ids.empty()) {
        index_->add(rows, vectors.data());
      } else {
        index_->add_with_ids(rows, vectors.data(), ids.data());
      }
    }));
    if (options_.progress) options_.progress(rows);
    return absl::OkStatus();
  }

 private:
  faiss::Index* const index_;
  const GraphBuildOptions options_;
};

struct SimdName {
  GraphSimd simd;
  absl::string_view name;
};
constexpr SimdName kSimdNames[] = {{GraphSimd::kAuto, "auto"},       {GraphSimd::kPortable, "portable"},
                                   {GraphSimd::kAvx2, "avx2"},       {GraphSimd::kAvx512, "avx512"},
                                   {GraphSimd::kAvx512Bf16, "bf16"}, {GraphSimd::kAvx512Vnni, "vnni"},
                                   {GraphSimd::kNeon, "neon"}};

struct StorageName {
  GraphStorage storage;
  absl::string_view name;
};
constexpr StorageName kStorageNames[] = {{GraphStorage::kAuto, "auto"},
                                         {GraphStorage::kFloat32, "float32"},
                                         {GraphStorage::kBf16, "bf16"},
                                         {GraphStorage::kInt8, "int8"}};

}  // namespace

absl::string_view GraphSimdName(GraphSimd simd) {
  for (const SimdName& known : kSimdNames) {
    if (known.simd == simd) return known.name;
  }
  return "unknown";
}

absl::string_view GraphStorageName(GraphStorage storage) {
  for (const StorageName& known : kStorageNames) {
    if (known.storage == storage) return known.name;
  }
  return "unknown";
}

absl::StatusOr<GraphSimd> ParseGraphSimd(absl::string_view name) {
  for (const SimdName& known : kSimdNames) {
    if (known.name == name) return known.simd;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("simd `", name, "`: expected auto, portable, avx2, avx512, bf16, vnni or neon"));
}

absl::StatusOr<GraphStorage> ParseGraphStorage(absl::string_view name) {
  for (const StorageName& known : kStorageNames) {
    if (known.name == name) return known.storage;
  }
  return absl::InvalidArgumentError(absl::StrCat("graph storage `", name, "`: expected auto, float32, bf16 or int8"));
}

absl::StatusOr<GraphKernelChoice> ChooseGraphKernel(const GraphBuildOptions&) { return GraphKernelChoice{}; }

std::vector<GraphSimd> AvailableGraphSimds() { return {GraphSimd::kPortable}; }

int64_t GraphBuildBytes(int64_t rows, int dim, const GraphBuildOptions& options) {
  // A row is on 1 / m levels above the lowest.
  const int64_t links = int64_t{2} * options.m + 2;
  return rows * (int64_t{4} * dim + links * 8 + 64);
}

bool GraphBuilder::CanBuild(const faiss::Index& index) {
  const auto* const with_ids = dynamic_cast<const faiss::IndexIDMap2*>(&index);
  const auto* const graph = dynamic_cast<const faiss::IndexHNSWFlat*>(with_ids != nullptr ? with_ids->index : &index);
  return graph != nullptr && dynamic_cast<const faiss::IndexFlat*>(graph->storage) != nullptr;
}

absl::StatusOr<std::unique_ptr<GraphBuilder>> GraphBuilder::Make(faiss::Index* index,
                                                                 const GraphBuildOptions& options) {
  if (!CanBuild(*index)) return absl::InternalError("graph: not an HNSW index over float32 vectors");
  return std::make_unique<PlainGraphBuilder>(index, options);
}

absl::StatusOr<FaissIndex> BuildGraph(absl::Span<const float> vectors, int64_t rows, int dim,
                                      const GraphBuildOptions& options) {
  if (rows < 0 || dim < 1 || options.m < 2 || options.ef_construction < 1 ||
      static_cast<int64_t>(vectors.size()) != rows * dim) {
    return absl::InvalidArgumentError(absl::StrCat("graph: expected m of at least 2, ef_construction and dim of at ",
                                                   "least 1 and vectors of that dim, got m ", options.m,
                                                   ", ef_construction ", options.ef_construction, ", dim ", dim,
                                                   " and ", vectors.size(), " numbers for ", rows, " rows"));
  }
  FaissIndex index;
  ABSL_RETURN_IF_ERROR(CallFaiss(absl::StatusCode::kInternal, "cannot make a graph", [&] {
    auto made = std::make_unique<faiss::IndexHNSWFlat>(
        dim, options.m, options.metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT);
    made->hnsw.efConstruction = options.ef_construction;
    index.reset(made.release());
  }));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<GraphBuilder> builder, GraphBuilder::Make(index.get(), options));
  ABSL_RETURN_IF_ERROR(builder->Add(vectors, {}));
  return index;
}

}  // namespace reembed
