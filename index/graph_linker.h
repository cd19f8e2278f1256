// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_GRAPH_LINKER_H_
#define REEMBED_INDEX_GRAPH_LINKER_H_

#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "index/graph_codes.h"

namespace faiss {
struct HNSW;
}  // namespace faiss

namespace reembed {

// Links rows into a graph of FAISS, as its own add() would, but a batch of rows at a time: first each row of the batch
// finds its neighbours in the graph as it stands and among the rows of the batch before it, and writes its own links;
// then each row that was linked to takes the links back, in the order of the batch. Threads share the rows of the first
// step and the receivers of the second, so nothing is locked, and the result is the same for any number of threads.
//
// A list that overflows is thinned as in FAISS: from the nearest on, who is nearer to one that stays than to the owner
// goes. Distances of links are kept, and which of them are known to bear each other, so that thinning again asks only
// for what is new.
class GraphLinker {
 public:
  // Both must outlive the linker, and nobody else touches them meanwhile. The graph may have rows.
  GraphLinker(faiss::HNSW* graph, const GraphCodes* codes, int threads);
  ~GraphLinker();

  // Links rows from `first` on to the last that the graph has levels and (empty) lists for. Their codes are there.
  // Errors: kCancelled, kResourceExhausted (memory); after both the graph is of no use.
  absl::Status Link(int64_t first, const std::function<void(int64_t rows)>& progress, const std::stop_token& stop);

 private:
  struct Worker;
  struct Run;

  void GrowLists();

  faiss::HNSW* const graph_;
  const GraphCodes* const codes_;
  const int threads_;
  // Beside graph_->neighbors, for each link how far it is; NaN: not known.
  std::vector<float> distances_;
  // For each list how many of its first links, nearest first, are known to bear each other. The lists of a row begin at
  // first_list_[row], lowest level first.
  std::vector<uint16_t> settled_;
  std::vector<int64_t> first_list_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_GRAPH_LINKER_H_
