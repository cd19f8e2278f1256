// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_GRAPH_BUILD_H_
#define REEMBED_INDEX_GRAPH_BUILD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "index/faiss_io.h"
#include "index/index_spec.h"

// HNSW graphs, linked by our own distance kernels. The result is an ordinary FAISS index with float32 vectors.
namespace reembed {

// The processor instructions for computing distances.
enum class GraphSimd {
  kAuto,        // the fastest that this processor has
  kPortable,    // what every processor of this architecture has
  kAvx2,        // with FMA
  kAvx512,      // F, BW, DQ, VL
  kAvx512Bf16,  // AVX-512 with dot products of bfloat16
  kAvx512Vnni,  // AVX-512 with dot products of bytes
  kNeon,        // AArch64
};

// How rows are stored while the graph is linked. The index always holds float32.
enum class GraphStorage {
  kAuto,     // int8, unless `simd` is kAvx512Bf16; float32 with `deterministic`
  kFloat32,  // no copy
  kBf16,     // 2 more bytes a number while building; only kAvx512Bf16
  kInt8,     // 1 more byte a number; a scale for each row. Every kernel but kAvx512Bf16
};

absl::string_view GraphSimdName(GraphSimd simd);  // "auto", "portable", "avx2", "avx512", "bf16", "vnni", "neon"
absl::string_view GraphStorageName(GraphStorage storage);  // "auto", "float32", "bf16", "int8"
// Errors: kInvalidArgument (none of the names).
absl::StatusOr<GraphSimd> ParseGraphSimd(absl::string_view name);
absl::StatusOr<GraphStorage> ParseGraphStorage(absl::string_view name);

struct GraphBuildOptions {
  int m = 32;                       // links of a row above the lowest level; twice as many on it
  int ef_construction = 40;         // breadth of the search for a row's neighbours
  Metric metric = Metric::kCosine;  // kCosine: the rows have unit length already
  int threads = 0;                  // 0: one per core
  GraphSimd simd = GraphSimd::kAuto;
  GraphStorage storage = GraphStorage::kAuto;
  // The same rows, options and seed give the same bytes with any number of threads and any `simd`. Refuses bf16.
  bool deterministic = false;
  uint64_t seed = 0;  // of levels and order; 0: FAISS's default
  // After each few hundred rows, by one thread at a time; how many rows of this call are linked.
  std::function<void(int64_t rows)> progress;
  std::stop_token stop;  // ends in kCancelled
};

// Resolves `options` for this processor. Errors: kInvalidArgument (instructions that this processor lacks, a storage
// that they do not support; the message names both and what is available).
struct GraphKernelChoice {
  GraphSimd simd = GraphSimd::kPortable;
  GraphStorage storage = GraphStorage::kFloat32;
};
absl::StatusOr<GraphKernelChoice> ChooseGraphKernel(const GraphBuildOptions& options);

// The instructions that this processor and this build have, slowest first.
std::vector<GraphSimd> AvailableGraphSimds();

// Anonymous memory at the peak of building: the index with its float32 vectors, the links and their distances, and the
// copy that `options.storage` makes. Not the caller's own vectors.
int64_t GraphBuildBytes(int64_t rows, int dim, const GraphBuildOptions& options);

// Links rows into an index, some at a time. Used by one thread; has its own threads while Add() runs.
class GraphBuilder {
 public:
  // Whether `index` is an HNSW graph over plain float32 vectors, with or without an IndexIDMap2 around it.
  static bool CanBuild(const faiss::Index& index);

  // Adds to `index`, whose own m, metric and ef_construction hold, not those of `options`.
  // Precondition: CanBuild(); `index` outlives the builder, and nobody else adds to it meanwhile.
  // Errors: as ChooseGraphKernel(); kResourceExhausted (memory).
  static absl::StatusOr<std::unique_ptr<GraphBuilder>> Make(faiss::Index* index, const GraphBuildOptions& options);
  virtual ~GraphBuilder() = default;

  // Adds vectors, row-major [rows, dim], all finite. `ids` [rows] are needed for an IndexIDMap2, and only for it. After
  // Add() the index can be searched and saved. Errors: kInternal (shape), kResourceExhausted (memory), kCancelled;
  // after these errors the index is unusable.
  virtual absl::Status Add(absl::Span<const float> vectors, absl::Span<const int64_t> ids) = 0;
};

// A whole index: IndexHNSWFlat (without ids) over `vectors`, row-major [rows, dim], all finite, which may be mapped
// from a file; they are copied into the index. Errors: kInvalidArgument (m, ef_construction, dim or rows out of range;
// as ChooseGraphKernel()), kResourceExhausted (memory), kCancelled.
absl::StatusOr<FaissIndex> BuildGraph(absl::Span<const float> vectors, int64_t rows, int dim,
                                      const GraphBuildOptions& options);

}  // namespace reembed

#endif  // REEMBED_INDEX_GRAPH_BUILD_H_
