// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_READER_H_
#define REEMBED_INDEX_INDEX_READER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/vector_reader.h"
#include "index/hit.h"
#include "index/index_files.h"

namespace reembed {

// How much of the index a search looks at. More is slower and finds more.
struct SearchOptions {
  int nprobe = 0;     // lists of an IVF index; 0: twice the root of their number
  int ef_search = 0;  // breadth in an HNSW graph; 0: 64, or twice the results where that is more
};

// A finished index, in memory. Rows come in the order in which they were added; vectors are as the index holds them: of
// unit length where the metric is cosine, and approximate where the index is quantized. Used by one thread.
class IndexReader final : public VectorReader {
 public:
  // Reads PATH and the files beside it.
  // Errors: kNotFound; kDataLoss (damaged, or the files do not belong together); kResourceExhausted (memory).
  static absl::StatusOr<std::unique_ptr<IndexReader>> Open(const std::string& path);
  ~IndexReader() override;

  // What the index is: model, metric, factory, rows, source.
  const IndexDescription& description() const;

  // The `k` rows nearest to `query` [dim], which need not be of unit length; fewer if the index has, or finds, fewer.
  // Errors: kInvalidArgument (another width, no direction, k < 1).
  absl::StatusOr<std::vector<Hit>> Search(absl::Span<const float> query, int k, const SearchOptions& options);

  int dim() const override;
  int64_t rows() const override;
  absl::StatusOr<std::optional<StoredVector>> Next() override;
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override;

 private:
  struct State;
  explicit IndexReader(std::unique_ptr<State> state);

  const std::unique_ptr<State> state_;
};

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_READER_H_
