// SPDX-License-Identifier: Apache-2.0
#include "index/graph_build.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "index/graph_codes.h"
#include "index/graph_kernels.h"
#include "index/graph_linker.h"

namespace reembed {
namespace {

int ThreadsOf(const GraphBuildOptions& options) {
  return options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Runs `work` for 0 to `rows`, some rows at a time, on several threads.
void ForRows(int64_t rows, int threads, const std::function<void(int64_t row)>& work) {
  constexpr int64_t kAtOnce = 64;
  std::atomic<int64_t> next = 0;
  const auto share = [&] {
    for (int64_t begin; (begin = next.fetch_add(kAtOnce)) < rows;) {
      for (int64_t row = begin; row < std::min(rows, begin + kAtOnce); ++row) work(row);
    }
  };
  std::vector<std::jthread> others;
  for (int64_t i = 1; i < std::min<int64_t>(threads, rows / kAtOnce); ++i) {
    try {
      others.emplace_back(share);
    } catch (const std::system_error&) {
      break;  // the system has no more threads: those there are do it
    }
  }
  share();
}

// Makes room for `more`, half as much again as there is where it has to move, as vectors do, but in large pages.
template <typename T>
void Reserve(size_t more, std::vector<T>* numbers) {
  const size_t wanted = numbers->size() + more;
  if (wanted <= numbers->capacity()) return;
  numbers->reserve(numbers->empty() ? wanted : std::max(wanted, numbers->capacity() + numbers->capacity() / 2));
  AskForLargePages(numbers->data() + numbers->size(), (numbers->capacity() - numbers->size()) * sizeof(T));
}

class KernelGraphBuilder final : public GraphBuilder {
 public:
  KernelGraphBuilder(faiss::Index* index, faiss::IndexHNSWFlat* graph, const GraphKernels& kernels,
                     GraphStorage storage, GraphBuildOptions options)
      : index_(index),
        graph_(graph),
        options_(std::move(options)),
        codes_(kernels, storage, graph->metric_type == faiss::METRIC_L2 ? Metric::kL2 : Metric::kInnerProduct,
               graph->d),
        linker_(&graph->hnsw, &codes_, ThreadsOf(options_)) {}

  absl::Status Add(absl::Span<const float> vectors, absl::Span<const int64_t> ids) override;

 private:
  faiss::Index* const index_;
  faiss::IndexHNSWFlat* const graph_;
  const GraphBuildOptions options_;
  GraphCodes codes_;
  GraphLinker linker_;
  int64_t encoded_ = 0;  // rows
};

absl::Status KernelGraphBuilder::Add(absl::Span<const float> vectors, absl::Span<const int64_t> ids) {
  auto* const with_ids = dynamic_cast<faiss::IndexIDMap2*>(index_);
  const auto rows = static_cast<int64_t>(vectors.size()) / graph_->d;
  const int64_t before = graph_->ntotal;
  if (static_cast<int64_t>(vectors.size()) != rows * graph_->d ||
      static_cast<int64_t>(ids.size()) != (with_ids != nullptr ? rows : 0)) {
    return absl::InternalError(
        absl::StrCat("graph: ", vectors.size(), " numbers and ", ids.size(), " ids are no rows of ", graph_->d));
  }
  if (before + rows > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("graph: expected at most 2147483647 rows, got ", before + rows, "; make several indexes"));
  }
  ABSL_RETURN_IF_ERROR(CallFaiss(absl::StatusCode::kInternal, "graph: cannot add rows", [&] {
    // A row is on the next level with a probability of 1 / m; what is too little moves once more.
    Reserve(static_cast<size_t>(rows) * (graph_->hnsw.nb_neighbors(0) + 4), &graph_->hnsw.neighbors);
    Reserve(vectors.size() * sizeof(float), &static_cast<faiss::IndexFlat*>(graph_->storage)->codes);
    graph_->storage->add(rows, vectors.data());
    graph_->ntotal = graph_->storage->ntotal;
    graph_->hnsw.prepare_level_tab(static_cast<size_t>(rows));
    if (with_ids == nullptr) return;
    with_ids->ntotal = graph_->ntotal;
    for (int64_t i = 0; i < rows; ++i) {
      with_ids->id_map.push_back(ids[i]);
      with_ids->rev_map[ids[i]] = before + i;
    }
  }));
  const float* const floats = static_cast<const faiss::IndexFlat*>(graph_->storage)->get_xb();
  ABSL_RETURN_IF_ERROR(codes_.Resize(floats, graph_->ntotal));
  ForRows(graph_->ntotal - encoded_, ThreadsOf(options_), [&](int64_t row) { codes_.Encode(encoded_ + row); });
  encoded_ = graph_->ntotal;
  return linker_.Link(before, options_.progress, options_.stop);
}

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

absl::StatusOr<GraphKernelChoice> ChooseGraphKernel(const GraphBuildOptions& options) {
  GraphSimd simd = options.simd;
  const std::vector<GraphSimd> available = AvailableGraphSimds();
  if (options.deterministic && (simd == GraphSimd::kAvx512Bf16 || options.storage == GraphStorage::kBf16)) {
    return absl::InvalidArgumentError(
        "deterministic: bf16 sums in an order of the processor's own; expected float32 or int8");
  }
  if (simd == GraphSimd::kAuto) {
    simd = options.storage == GraphStorage::kBf16 ? GraphSimd::kAvx512Bf16 : available.back();
  }
  if (std::find(available.begin(), available.end(), simd) == available.end()) {
    std::vector<absl::string_view> names;
    names.reserve(available.size());
    for (const GraphSimd there : available) names.push_back(GraphSimdName(there));
    return absl::InvalidArgumentError(absl::StrCat(
        "simd ", GraphSimdName(simd), ": this processor, or this build, has only ", absl::StrJoin(names, ", ")));
  }
  const bool is_bf16 = simd == GraphSimd::kAvx512Bf16;
  GraphStorage storage = options.storage;
  if (storage == GraphStorage::kAuto && options.deterministic) storage = GraphStorage::kFloat32;
  if (storage == GraphStorage::kAuto) storage = is_bf16 ? GraphStorage::kBf16 : GraphStorage::kInt8;
  if (storage != GraphStorage::kFloat32 && (storage == GraphStorage::kBf16) != is_bf16) {
    return absl::InvalidArgumentError(absl::StrCat("simd ", GraphSimdName(simd), " cannot work on ",
                                                   GraphStorageName(storage), "; expected float32 or ",
                                                   is_bf16 ? "bf16" : "int8"));
  }
  return GraphKernelChoice{simd, storage};
}

std::vector<GraphSimd> AvailableGraphSimds() {
  std::vector<GraphSimd> simds;
  for (const GraphKernels& kernels : AvailableGraphKernels()) simds.push_back(kernels.simd);
  return simds;
}

int64_t GraphBuildBytes(int64_t rows, int dim, const GraphBuildOptions& options) {
  const absl::StatusOr<GraphKernelChoice> choice = ChooseGraphKernel(options);
  const GraphStorage storage = choice.ok() ? choice->storage : GraphStorage::kFloat32;
  const auto code = static_cast<int64_t>(GraphCodes({}, storage, options.metric, dim).row_bytes());
  // A link is a row and a distance; a row in m is on the next level, too.
  const int64_t links = int64_t{8} * (2 * options.m + 2);
  constexpr int64_t kTables = 32;  // offset, level, first list, settled, order
  return rows * (int64_t{4} * dim + code + links + kTables) + ThreadsOf(options) * rows;
}

bool GraphBuilder::CanBuild(const faiss::Index& index) {
  const auto* const with_ids = dynamic_cast<const faiss::IndexIDMap2*>(&index);
  const auto* const graph = dynamic_cast<const faiss::IndexHNSWFlat*>(with_ids != nullptr ? with_ids->index : &index);
  return graph != nullptr && dynamic_cast<const faiss::IndexFlat*>(graph->storage) != nullptr &&
         (graph->metric_type == faiss::METRIC_L2 || graph->metric_type == faiss::METRIC_INNER_PRODUCT);
}

absl::StatusOr<std::unique_ptr<GraphBuilder>> GraphBuilder::Make(faiss::Index* index,
                                                                 const GraphBuildOptions& options) {
  if (!CanBuild(*index)) return absl::InternalError("graph: not an HNSW index over float32 vectors");
  auto* const with_ids = dynamic_cast<faiss::IndexIDMap2*>(index);
  auto* const graph = static_cast<faiss::IndexHNSWFlat*>(with_ids != nullptr ? with_ids->index : index);
  ABSL_ASSIGN_OR_RETURN(const GraphKernelChoice choice, ChooseGraphKernel(options));
  if (options.seed != 0 && graph->ntotal == 0)
    graph->hnsw.rng = faiss::RandomGenerator(static_cast<int64_t>(options.seed));
  for (const GraphKernels& kernels : AvailableGraphKernels()) {
    if (kernels.simd != choice.simd) continue;
    return std::make_unique<KernelGraphBuilder>(index, graph, kernels, choice.storage, options);
  }
  return absl::InternalError("graph: no kernel");
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
