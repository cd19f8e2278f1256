// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FAISS_SINK_H_
#define REEMBED_INDEX_FAISS_SINK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

struct FaissSinkOptions {
  std::string source;  // URI of the store with the texts, written beside the index so that a search can show them
  // Bounds the sample that an index is trained on, but never below one row per list. A row is 4 * dim bytes.
  int64_t max_training_bytes = int64_t{1} << 30;
  int threads = 0;  // that add rows; 0: one per core
};

// Builds a FAISS index at `location`, see ParseIndexSpec(); the files it makes are described in index_format.md. How
// HNSW graphs are linked: `simd=avx2`, `storage=float32`, `deterministic=true`, see graph_build.h.
//
// Ids are the keys where keys are integers, and ordinals, with the keys in PATH.keys.jsonl, where keys are texts; the
// first row decides for all. The index lives in memory until Complete(), which replaces PATH at once and keeps an index
// that it does not continue as PATH.previous (with its files; PATH.previous.2 if that name is taken). When Open() is
// told of exactly the rows that the finished index at PATH has, it goes on behind them; else everything is asked for
// again.
//
// An index that needs training is built in Complete(), as BuildIndexOf() does it: until then its rows lie beside PATH,
// in a file without a name, so that the sample it is trained on is drawn from all of them. What a Complete() that was
// killed has trained and added is gone on with when the same rows come again.
//
// Refused are rows that have no direction (cosine), are not finite, or have the integer key of an earlier row, a
// negative one, or a key of another kind than the first row's.
// Errors of making it: kInvalidArgument (bad option, or PATH holds something that is not an index of this model),
// kNotFound (no such directory).
// Errors of Complete(): kFailedPrecondition (fewer rows than it takes to train the index).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeFaissSink(const Location& location, const Model& model,
                                                          const FaissSinkOptions& options = {});

// Whether an index at `location` can hold a row of this key. Errors: kInvalidArgument.
absl::Status CheckFaissKey(const Location& location, KeyView key);

// Whether the index at `location` can be trained on `rows` rows. Errors: kInvalidArgument (says how many it takes).
absl::Status CheckFaissRows(const Location& location, int64_t rows);

// Bytes beside the index until it is complete: the rows of one that needs training. `location` is a valid one.
int64_t FaissScratchBytes(const Location& location, int64_t rows, int dim);

}  // namespace reembed

#endif  // REEMBED_INDEX_FAISS_SINK_H_
