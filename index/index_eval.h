// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_EVAL_H_
#define REEMBED_INDEX_INDEX_EVAL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/index_reader.h"
#include "index/row_set.h"

namespace reembed {

// What an index is asked, and what it should answer.
struct EvalSet {
  int dim = 0;
  std::vector<float> queries;  // [queries, dim]; of unit length where rows are
  std::vector<int64_t> self;   // [queries] or empty: the id of the row that a query is, which is no answer; -1: none
  int k = 0;                   // true neighbours of each
  std::vector<int64_t> ids;    // [queries, k]: nearest first; -1: there are fewer rows
  std::vector<float> scores;   // [queries, k], as at Metric; empty: not known
  // What an index of narrower vectors is asked, [queries, narrow_dim], see NarrowQueries(); empty: the queries.
  int narrow_dim = 0;
  std::vector<float> narrow;

  int64_t count() const { return static_cast<int64_t>(queries.size()) / dim; }
  int asked_dim() const { return narrow.empty() ? dim : narrow_dim; }
  absl::Span<const float> asked(int64_t query) const {
    const auto width = static_cast<size_t>(asked_dim());
    return absl::MakeConstSpan(narrow.empty() ? queries : narrow).subspan(static_cast<size_t>(query) * width, width);
  }
};

// Has an index be asked the first `dim` numbers of each query, of unit length, while what is true stays what the whole
// queries say: what is lost by vectors that were cut. Errors: kInvalidArgument (a query of which nothing is left; more
// numbers than there are).
absl::Status NarrowQueries(int dim, EvalSet* set);

// `count` rows drawn by lot, with their `k` true neighbours among the others. Errors: as FindExactNeighbors(),
// kInvalidArgument (fewer than two rows).
struct EvalDraw {
  Metric metric = Metric::kCosine;
  int64_t count = 1000;
  int k = 100;
  uint64_t seed = 1;
  int threads = 0;
  std::function<void(int64_t done, int64_t total)> progress;  // of queries times rows; may be null
};
absl::StatusOr<EvalSet> DrawEvalSet(const RowSet& rows, const EvalDraw& draw);

// The `draw.k` true neighbours of other queries, [n, dim]: any length for cosine. Errors: as FindExactNeighbors(); also
// kInvalidArgument (a query without a direction).
absl::StatusOr<EvalSet> MakeEvalSet(const RowSet& rows, std::vector<float> queries, const EvalDraw& draw);

// What was measured with some search parameters, one query at a time on one thread.
struct EvalPoint {
  SearchOptions search;
  double recall_at_1 = 0;  // share of the true neighbours that were found; a row as near as the last of them counts
  double recall_at_10 = 0;
  double recall_at_100 = 0;  // < 0: there are not so many neighbours
  double queries_per_second = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

// `rows` are those of the index and tell how near a found row is, where it is none of the named neighbours; may be
// null. Errors: kInvalidArgument (queries of another width), and of the search.
absl::StatusOr<EvalPoint> Evaluate(IndexReader* index, const EvalSet& set, const SearchOptions& search,
                                   const RowSet* rows);

// Search parameters to measure, from narrow to broad: powers of two of what the index has. One point where it has none.
std::vector<SearchOptions> UsualSweep(const IndexReader& index);

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_EVAL_H_
