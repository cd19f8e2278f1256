// SPDX-License-Identifier: Apache-2.0
#include "index/brute_force.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/status_macros.h"

// This file is compiled once per SIMD target; HWY_DYNAMIC_DISPATCH picks the best one for the processor at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/brute_force.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace reembed {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr hn::ScalableTag<double> kDoubles;
constexpr hn::Rebind<float, decltype(kDoubles)> kFloats;

// Sums in double, as NormalizeRows(), so that no finite row overflows.
void DotAndSquares(const float* HWY_RESTRICT query, const float* HWY_RESTRICT row, size_t dim, double* HWY_RESTRICT dot,
                   double* HWY_RESTRICT squares) {
  const size_t lanes = hn::Lanes(kFloats);
  auto dots = hn::Zero(kDoubles);
  auto squared = hn::Zero(kDoubles);
  size_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    const auto q = hn::PromoteTo(kDoubles, hn::LoadU(kFloats, query + i));
    const auto x = hn::PromoteTo(kDoubles, hn::LoadU(kFloats, row + i));
    dots = hn::MulAdd(q, x, dots);
    squared = hn::MulAdd(x, x, squared);
  }
  *dot = hn::GetLane(hn::SumOfLanes(kDoubles, dots));
  *squares = hn::GetLane(hn::SumOfLanes(kDoubles, squared));
  for (; i < dim; ++i) {
    *dot += static_cast<double>(query[i]) * row[i];
    *squares += static_cast<double>(row[i]) * row[i];
  }
}

double SquaredDistance(const float* HWY_RESTRICT query, const float* HWY_RESTRICT row, size_t dim) {
  const size_t lanes = hn::Lanes(kFloats);
  auto sums = hn::Zero(kDoubles);
  size_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
    const auto apart = hn::Sub(hn::PromoteTo(kDoubles, hn::LoadU(kFloats, query + i)),
                               hn::PromoteTo(kDoubles, hn::LoadU(kFloats, row + i)));
    sums = hn::MulAdd(apart, apart, sums);
  }
  double sum = hn::GetLane(hn::SumOfLanes(kDoubles, sums));
  for (; i < dim; ++i) sum += (static_cast<double>(query[i]) - row[i]) * (static_cast<double>(query[i]) - row[i]);
  return sum;
}

}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

HWY_EXPORT(DotAndSquares);
HWY_EXPORT(SquaredDistance);

// The k nearest rows so far: a heap with the farthest of them on top.
class Nearest {
 public:
  Nearest(size_t k, Metric metric) : k_(k), sign_(metric == Metric::kL2 ? 1 : -1) {}

  void Offer(KeyView key, double score) {
    const Candidate candidate{sign_ * score, seen_++, {}};
    if (candidates_.size() == k_) {
      if (!(candidate < candidates_.front())) return;
      std::pop_heap(candidates_.begin(), candidates_.end());
      candidates_.pop_back();
    }
    candidates_.push_back({candidate.distance, candidate.order, Own(key)});
    std::push_heap(candidates_.begin(), candidates_.end());
  }

  std::vector<Hit> Take() {
    std::sort_heap(candidates_.begin(), candidates_.end());
    std::vector<Hit> hits;
    for (Candidate& candidate : candidates_) {
      hits.push_back({std::move(candidate.key), static_cast<float>(sign_ * candidate.distance)});
    }
    return hits;
  }

 private:
  struct Candidate {
    double distance = 0;  // smaller is nearer, whatever the metric
    int64_t order = 0;
    Key key;
    bool operator<(const Candidate& other) const {
      return distance != other.distance ? distance < other.distance : order < other.order;
    }
  };

  const size_t k_;
  const double sign_;
  int64_t seen_ = 0;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::optional<double> ExactScore(absl::Span<const float> query, absl::Span<const float> row, Metric metric) {
  double score = 0;
  if (metric == Metric::kL2) {
    score = HWY_DYNAMIC_DISPATCH(SquaredDistance)(query.data(), row.data(), row.size());
  } else {
    double squares = 0;
    HWY_DYNAMIC_DISPATCH(DotAndSquares)(query.data(), row.data(), row.size(), &score, &squares);
    if (metric == Metric::kCosine) score /= std::sqrt(squares);
  }
  return std::isfinite(score) ? std::optional<double>(score) : std::nullopt;
}

absl::StatusOr<std::vector<Hit>> SearchExactly(VectorReader* reader, absl::Span<const float> query, int k,
                                               Metric metric) {
  if (static_cast<int>(query.size()) != reader->dim() || k < 1) {
    return absl::InvalidArgumentError(absl::StrCat("search: expected a query of ", reader->dim(),
                                                   " numbers and k of at least 1, got ", query.size(), " and ", k));
  }
  std::vector<float> direction(query.begin(), query.end());
  const bool finite = CheckVector(direction) != VectorFault::kNotFinite;
  if (!finite || (metric == Metric::kCosine && !NormalizeRows(absl::MakeSpan(direction), reader->dim()).ok())) {
    return absl::InvalidArgumentError(absl::StrCat("search: expected a query with a direction, got ",
                                                   finite ? "only zeros" : "a number that is not finite"));
  }
  Nearest nearest(static_cast<size_t>(k), metric);
  for (;;) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> stored, reader->Next());
    if (!stored.has_value()) return nearest.Take();
    const StoredVector& row = *stored;
    if (static_cast<int>(row.vector.size()) != reader->dim()) {
      return absl::InternalError(
          absl::StrCat("search: a reader of dim ", reader->dim(), " gave a vector of ", row.vector.size()));
    }
    if (const std::optional<double> score = ExactScore(direction, row.vector, metric)) nearest.Offer(row.key, *score);
  }
}

}  // namespace reembed
#endif  // HWY_ONCE
