// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_BUILD_MEMORY_H_
#define REEMBED_INDEX_BUILD_MEMORY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "index/graph_build.h"

// What building an index takes of memory, reckoned before anything is built.
namespace reembed {

// What is to be built.
struct BuildSize {
  int64_t rows = 0;
  int dim = 0;
  int64_t key_bytes = 0;    // of text keys, all together
  int64_t sample_rows = 0;  // that the index is trained on
  GraphBuildOptions graph;  // of a graph: how it would be built
};

// How many rows can be built at once within `memory` bytes; 0: all of them. `empty`: the index as MakeFaissIndex() has
// it, of the resolved `factory`. Errors: kInvalidArgument (names `path`, and the smallest memory that is enough).
absl::StatusOr<int64_t> RowsWithin(int64_t memory, const faiss::Index& empty, const BuildSize& size,
                                   const std::string& path, const std::string& factory);

}  // namespace reembed

#endif  // REEMBED_INDEX_BUILD_MEMORY_H_
