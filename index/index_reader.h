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
#include "index/faiss_io.h"
#include "index/hit.h"
#include "index/index_files.h"
#include "index/shard_set.h"

namespace reembed {

// How much of the index a search visits. More is slower, with a higher recall.
struct SearchOptions {
  int nprobe = 0;     // lists of an IVF index; 0: as tuned at its build, or twice the square root of their number
  int ef_search = 0;  // breadth in an HNSW graph; 0: as tuned, or the larger of 64 and twice the number of results
};

// What can be chosen for a search.
struct SearchBreadth {
  int64_t lists = 0;      // of an IVF index; 0: it is no IVF index
  bool is_graph = false;  // an HNSW graph
};

// A finished index, in memory; of a set of shards only one at a time is in memory. Rows come in the order in which
// they were added; vectors are as the index holds them: with unit length if the metric is cosine, and approximate if
// the index is quantized. Used by one thread.
class IndexReader final : public VectorReader {
 public:
  // Reads PATH and the files beside it.
  // Errors: kNotFound; kDataLoss (damaged, or the files do not belong together); kResourceExhausted (memory).
  static absl::StatusOr<std::unique_ptr<IndexReader>> Open(const std::string& path);

  // Also reads a FAISS file without a description, made by any program: ids are the keys, the model is unknown. Files
  // beside it are not read. Without a checksum, sizes and offsets in it are checked as far as LoadFaissIndex() can.
  // Errors: also kDataLoss for a kind of index that this FAISS does not know (names it).
  static absl::StatusOr<std::unique_ptr<IndexReader>> OpenAny(const std::string& path);

  // An index that is in memory and not finished, for SearchIds() alone. `path`: for messages. Release() returns it; no
  // other call may follow.
  static std::unique_ptr<IndexReader> Of(const std::string& path, IndexDescription description, FaissIndex index);
  // The same for a set of shards beside `path`; then Release() returns nothing. Errors: as Open().
  static absl::StatusOr<std::unique_ptr<IndexReader>> OfShards(const std::string& path, IndexDescription description,
                                                               std::vector<IndexShard> shards);
  FaissIndex Release();
  ~IndexReader() override;

  // What the index is: model, metric, factory, rows, source.
  const IndexDescription& description() const;

  // The `k` rows nearest to `query` [dim], which need not be of unit length; fewer if the index has, or finds, fewer.
  // Errors: kInvalidArgument (another width, a vector of zeros, k < 1).
  absl::StatusOr<std::vector<Hit>> Search(absl::Span<const float> query, int k, const SearchOptions& options);

  // The ids that FAISS has for these rows, and their scores; -1 if it finds fewer. `query` is not changed: it must have
  // unit length if rows were normalised. Both [k]. Errors: kInternal (FAISS's own).
  absl::Status SearchIds(absl::Span<const float> query, const SearchOptions& options, absl::Span<int64_t> ids,
                         absl::Span<float> scores);

  // Number of shards; 1: it is no set. For many queries, search one shard after the other: UseShard() reads a shard
  // into memory if it is not there, and SearchShardIds() is SearchIds() among its rows. Errors: also as Open().
  int64_t shards() const;
  absl::Status UseShard(int64_t shard);
  absl::Status SearchShardIds(int64_t shard, absl::Span<const float> query, const SearchOptions& options,
                              absl::Span<int64_t> ids, absl::Span<float> scores);

  SearchBreadth breadth() const;
  // Whether it holds the exact vectors that were added.
  bool is_exact() const;
  // What it is made of, from the outside in: "IDMap2, HNSW32, Flat".
  std::string kind() const;
  // Whether it has a description beside it.
  bool has_description() const;

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
