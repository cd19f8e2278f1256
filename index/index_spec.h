// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_SPEC_H_
#define REEMBED_INDEX_INDEX_SPEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"

namespace reembed {

// What "near" means. Results are always nearest first.
enum class Metric {
  kCosine,        // rows are scaled to unit length on their way in; score: cosine similarity, greater is nearer
  kInnerProduct,  // rows as they are; score: inner product, greater is nearer
  kL2,            // rows as they are; score: squared Euclidean distance as in FAISS, smaller is nearer
};

absl::string_view MetricName(Metric metric);  // "cosine", "ip", "l2"

// Errors: kInvalidArgument (none of the three names).
absl::StatusOr<Metric> ParseMetric(absl::string_view name);

// What index was asked for: `faiss:PATH?factory=HNSW32&metric=cosine&train=N&efConstruction=N&seed=N`.
struct IndexSpec {
  // A FAISS index factory string, e.g. `Flat`, `HNSW32`, `IVF4096,Flat`, `OPQ16_64,IVF,PQ16`. In place of a number of
  // lists, `IVF` and `IVFauto` leave the number to ResolveFactory(). Ids are added by us.
  std::string factory = "HNSW32";
  Metric metric = Metric::kCosine;
  int64_t train_rows = 0;   // rows to train on; 0: what the factory needs, see TrainingRows()
  uint64_t seed = 0;        // of what FAISS draws by lot; 0: its own
  int ef_construction = 0;  // breadth of the search while building an HNSW graph; 0: the default of FAISS
};

// The checked factory with its short forms written out. Errors: kInvalidArgument (one that FAISS could not take).
absl::StatusOr<std::string> ParseFactory(absl::string_view factory);

// `simd`, `storage` and `deterministic` are the sink's, which has graphs to build (faiss_sink.h).
// Errors: kInvalidArgument (unknown parameter or metric, a number that is none, a factory that FAISS could not take).
absl::StatusOr<IndexSpec> ParseIndexSpec(const Location& location);

// The factory string with a number of lists wherever `IVF` or `IVFauto` left it open: 4 * sqrt(rows), as the FAISS
// guidelines for fewer than a million rows say, but so few that each list has its 39 training rows out of
// `training_rows`. At least 1.
std::string ResolveFactory(absl::string_view factory, int64_t rows, int64_t training_rows);

// Whether ResolveFactory() has anything to decide.
bool IsFactoryOpen(absl::string_view factory);

// Inverted lists of a resolved factory; 0 if it has none. It cannot be trained on fewer rows.
int64_t ListCount(absl::string_view resolved_factory);

// Rows without which a resolved factory cannot be trained at all: one for each of its lists, for each code word of a
// product quantizer, or for each number that a PCA leaves. 1: there is no such number.
int64_t LeastTrainingRows(absl::string_view resolved_factory);

// Rows that make a good training of a resolved factory: 64 per list, or per code word of a quantizer without lists.
int64_t TrainingRows(absl::string_view resolved_factory);

// Below this FAISS warns of poor centroids (ClusteringParameters::min_points_per_centroid).
inline constexpr int kLeastTrainingRowsPerList = 39;

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_SPEC_H_
