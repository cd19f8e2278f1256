// SPDX-License-Identifier: Apache-2.0
#include "index/index_eval.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "index/brute_force.h"
#include "index/exact_neighbors.h"

namespace reembed {
namespace {

// Two sums of the same numbers in another order differ by so much of their size.
constexpr double kAsNear = 1e-6;

// Finds rows by their ids.
class RowsById {
 public:
  explicit RowsById(const RowSet* rows) : rows_(rows) {
    if (rows == nullptr) return;
    for (int64_t row = 0; row < rows->rows(); ++row) places_.emplace(rows->ids()[static_cast<size_t>(row)], row);
  }

  // Whether row `id` is as near to `query` as `score`, for `metric`.
  bool IsAsNear(absl::Span<const float> query, int64_t id, double score, Metric metric) const {
    const auto found = places_.find(id);
    if (found == places_.end()) return false;
    const std::optional<double> own = ExactScore(query, rows_->vector(found->second), metric);
    if (!own.has_value()) return false;
    const double slack = kAsNear * std::max(1.0, std::abs(score));
    return metric == Metric::kL2 ? *own <= score + slack : *own >= score - slack;
  }

 private:
  const RowSet* const rows_;
  absl::flat_hash_map<int64_t, int64_t> places_;
};

absl::StatusOr<EvalSet> SetOf(const RowSet& rows, std::vector<float> queries, absl::Span<const int64_t> excluded,
                              const EvalDraw& draw) {
  EvalSet set{.dim = rows.dim(), .queries = std::move(queries)};
  set.k = static_cast<int>(std::min<int64_t>(draw.k, rows.rows() - (excluded.empty() ? 0 : 1)));
  if (set.k < 1) return absl::InvalidArgumentError("evaluation: expected at least two rows, got one");
  const int64_t total = rows.rows() * set.count();
  std::atomic<int64_t> done{0};
  ExactSearch search{.metric = draw.metric, .k = set.k, .threads = draw.threads, .excluded = excluded};
  if (draw.progress) search.progress = [&](int64_t more) { draw.progress(done += more, total); };
  ABSL_ASSIGN_OR_RETURN(Neighbors found, FindExactNeighbors(rows.vectors(), set.queries, set.dim, search));
  for (const int64_t row : found.rows) set.ids.push_back(row < 0 ? -1 : rows.ids()[static_cast<size_t>(row)]);
  set.scores = std::move(found.scores);
  for (const int64_t row : excluded) set.self.push_back(rows.ids()[static_cast<size_t>(row)]);
  return set;
}

// Of one query's `found` (nearest first, without the query itself), how many of its first `depth` are right.
int64_t Right(const EvalSet& set, int64_t query, absl::Span<const int64_t> found, int depth, Metric metric,
              const RowsById& rows) {
  const size_t first = static_cast<size_t>(query) * set.k;
  const auto true_ids = absl::MakeConstSpan(set.ids).subspan(first, static_cast<size_t>(depth));
  const absl::flat_hash_set<int64_t> wanted(true_ids.begin(), true_ids.end());
  const absl::Span<const float> asked =
      absl::MakeConstSpan(set.queries).subspan(static_cast<size_t>(query) * set.dim, set.dim);
  int64_t right = 0;
  for (size_t i = 0; i < std::min<size_t>(found.size(), depth); ++i) {
    if (found[i] < 0) continue;
    const bool is_right =
        wanted.contains(found[i]) ||
        (!set.scores.empty() && rows.IsAsNear(asked, found[i], set.scores[first + depth - 1], metric));
    right += is_right ? 1 : 0;
  }
  return right;
}

// The nearest `k` that the index finds for each query, without the query itself. `took_ms` may be null.
absl::StatusOr<std::vector<std::vector<int64_t>>> Answers(IndexReader* index, const EvalSet& set,
                                                          const SearchOptions& search, int k,
                                                          std::vector<double>* took_ms) {
  const auto wanted = static_cast<size_t>(k) + (set.self.empty() ? 0 : 1);
  std::vector<float> scores(wanted);
  std::vector<int64_t> ids(wanted);
  std::vector<std::vector<std::pair<float, int64_t>>> found(static_cast<size_t>(set.count()));
  if (took_ms != nullptr) took_ms->assign(static_cast<size_t>(set.count()), 0);
  // All queries of a shard, then those of the next: each is read once, and reading it is nobody's time.
  for (int64_t shard = 0; shard < index->shards(); ++shard) {
    ABSL_RETURN_IF_ERROR(index->UseShard(shard));
    for (size_t query = 0; query < found.size(); ++query) {
      const auto begin = std::chrono::steady_clock::now();
      ABSL_RETURN_IF_ERROR(index->SearchShardIds(shard, set.asked(static_cast<int64_t>(query)), search,
                                                 absl::MakeSpan(ids), absl::MakeSpan(scores)));
      if (took_ms != nullptr) {
        (*took_ms)[query] +=
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
      }
      for (size_t i = 0; i < wanted; ++i) {
        if (ids[i] >= 0) found[query].emplace_back(scores[i], ids[i]);
      }
    }
  }
  const bool small_is_near = index->description().metric == Metric::kL2;
  std::vector<std::vector<int64_t>> answers;
  for (size_t query = 0; query < found.size(); ++query) {
    std::stable_sort(found[query].begin(), found[query].end(), [small_is_near](const auto& a, const auto& b) {
      return small_is_near ? a.first < b.first : a.first > b.first;
    });
    answers.emplace_back();
    for (size_t i = 0; i < std::min(wanted, found[query].size()); ++i) {
      const int64_t id = found[query][i].second;
      if (set.self.empty() || id != set.self[query]) answers.back().push_back(id);
    }
  }
  return answers;
}

}  // namespace

absl::StatusOr<EvalSet> DrawEvalSet(const RowSet& rows, const EvalDraw& draw) {
  const std::vector<int64_t> drawn = rows.Draw(draw.count, draw.seed);
  return SetOf(rows, rows.Gather(drawn), drawn, draw);
}

absl::StatusOr<EvalSet> MakeEvalSet(const RowSet& rows, std::vector<float> queries, const EvalDraw& draw) {
  if (draw.metric == Metric::kCosine) {
    if (const absl::Status status = NormalizeRows(absl::MakeSpan(queries), rows.dim()); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("queries: ", status.message()));
    }
  }
  return SetOf(rows, std::move(queries), {}, draw);
}

absl::Status NarrowQueries(int dim, EvalSet* set) {
  if (dim < 1 || dim > set->dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("queries: expected at least ", dim, " numbers to take, got ", set->dim));
  }
  std::vector<float> narrow(static_cast<size_t>(set->count()) * dim);
  for (int64_t query = 0; query < set->count(); ++query) {
    const auto whole = absl::MakeConstSpan(set->queries).subspan(static_cast<size_t>(query) * set->dim, set->dim);
    const absl::Status cut = NarrowVector(whole, absl::MakeSpan(narrow).subspan(static_cast<size_t>(query) * dim, dim));
    if (!cut.ok()) return absl::InvalidArgumentError(absl::StrCat("query ", query, ": ", cut.message()));
  }
  set->narrow_dim = dim;
  set->narrow = std::move(narrow);
  return absl::OkStatus();
}

absl::StatusOr<EvalPoint> Evaluate(IndexReader* index, const EvalSet& set, const SearchOptions& search,
                                   const RowSet* rows) {
  if (set.asked_dim() != index->dim() || set.count() == 0) {
    return absl::InvalidArgumentError(absl::StrCat("evaluation: expected queries of ", index->dim(), " numbers, got ",
                                                   set.count(), " of ", set.asked_dim()));
  }
  const Metric metric = index->description().metric;
  const RowsById by_id(rows);
  EvalPoint point{.search = search, .recall_at_100 = -1};
  const auto recall = [&](const std::vector<std::vector<int64_t>>& found, int depth) {
    int64_t right = 0;
    for (int64_t query = 0; query < set.count(); ++query) {
      right += Right(set, query, found[static_cast<size_t>(query)], depth, metric, by_id);
    }
    return static_cast<double>(right) / static_cast<double>(set.count() * depth);
  };
  // A search for more neighbours is a broader one, so speed is measured with what most ask for.
  std::vector<double> took_ms;
  const int few = std::min(10, set.k);
  ABSL_ASSIGN_OR_RETURN(std::vector<std::vector<int64_t>> found, Answers(index, set, search, few, &took_ms));
  point.recall_at_1 = recall(found, 1);
  point.recall_at_10 = recall(found, few);
  if (set.k >= 100) {
    ABSL_ASSIGN_OR_RETURN(found, Answers(index, set, search, 100, nullptr));
    point.recall_at_100 = recall(found, 100);
  }
  double sum = 0;
  for (const double ms : took_ms) sum += ms;
  std::sort(took_ms.begin(), took_ms.end());
  point.queries_per_second = sum > 0 ? static_cast<double>(set.count()) * 1000 / sum : 0;
  point.p50_ms = took_ms[took_ms.size() / 2];
  point.p99_ms = took_ms[std::min(took_ms.size() - 1, took_ms.size() * 99 / 100)];
  return point;
}

std::vector<SearchOptions> UsualSweep(const IndexReader& index) {
  const SearchBreadth breadth = index.breadth();
  std::vector<SearchOptions> sweep;
  if (breadth.lists > 0) {
    constexpr int64_t kMostLists = 1024;
    const int64_t most = std::min(breadth.lists, kMostLists);
    for (int64_t lists = 1; lists < most; lists *= 2) sweep.push_back({.nprobe = static_cast<int>(lists)});
    sweep.push_back({.nprobe = static_cast<int>(most)});
  } else if (breadth.is_graph) {
    constexpr int kBroadest = 1024;
    for (int ef = 16; ef <= kBroadest; ef *= 2) sweep.push_back({.ef_search = ef});
  } else {
    sweep.emplace_back();
  }
  return sweep;
}

}  // namespace reembed
