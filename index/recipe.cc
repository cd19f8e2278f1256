// SPDX-License-Identifier: Apache-2.0
#include "index/recipe.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Below it comparing with every row takes less than a millisecond or two, and misses nothing.
constexpr int64_t kFewRows = 5000;
// Ids, and the table from ids to rows that is made when an index is read.
constexpr int64_t kIdBytes = 72;
constexpr int64_t kGraphBytes =
    int64_t{4} * 66;  // 64 links of HNSW32 on the lowest level, and the share of those above

struct Kind {
  std::string factory;
  int64_t row_bytes;
  double most_recall;  // more its codes are not known to keep; what is measured decides
};

// From the one that is fast and exact to the smallest.
std::vector<Kind> KindsFor(int64_t rows, int dim) {
  const int64_t floats = int64_t{4} * dim;
  std::vector<Kind> kinds;
  if (rows <= kFewRows) kinds.push_back({"Flat", floats, 1});
  kinds.push_back({"HNSW32", floats + kGraphBytes, 1});
  kinds.push_back({"IVF,Flat", floats + 8, 1});
  if (rows > kFewRows) kinds.push_back({"Flat", floats, 1});
  kinds.push_back({"HNSW32_SQ8", dim + kGraphBytes, 0.98});
  kinds.push_back({"IVF,SQ8", dim + 8, 0.98});
  // FAISS divides a vector into equal parts.
  if (dim % 2 == 0) kinds.push_back({absl::StrCat("IVF,PQ", dim / 2), dim / 2 + 8, 0.9});
  if (dim % 4 == 0) kinds.push_back({absl::StrCat("IVF,PQ", dim / 4), dim / 4 + 8, 0.8});
  if (dim % 8 == 0) kinds.push_back({absl::StrCat("IVF,PQ", dim / 8), dim / 8 + 8, 0.65});
  return kinds;
}

int64_t BytesOf(const Kind& kind, int64_t rows, int dim) {
  const bool has_lists = kind.factory.rfind("IVF", 0) == 0;
  // Centroids, twice: FAISS keeps them beside the codes of a quantizer.
  const int64_t lists = has_lists ? static_cast<int64_t>(4 * std::sqrt(static_cast<double>(rows))) * dim * 4 : 0;
  return rows * (kind.row_bytes + kIdBytes) + 2 * lists;
}

std::string GiB(int64_t bytes) {
  constexpr double kMiB = 1 << 20;
  const double mib = std::ceil(static_cast<double>(bytes) / kMiB * 100) / 100;
  return mib < 1024 ? absl::StrFormat("%.2f MiB", mib) : absl::StrFormat("%.2f GiB", std::ceil(mib / 10.24) / 100);
}

// So much a share of `queries` may be too high by luck, once in twenty. Takes all neighbours of a query to be found or
// missed together, which is the worst case.
double Luck(double share, int64_t queries) {
  return 1.64 * std::sqrt(std::max(share * (1 - share), 0.0) / static_cast<double>(std::max<int64_t>(queries, 1)));
}

// One row of search parameters, from narrow to broad, by a number.
class Ladder {
 public:
  explicit Ladder(const IndexReader& index) : breadth_(index.breadth()) {
    if (breadth_.lists > 0) {
      most_ = static_cast<int>(std::min<int64_t>(breadth_.lists, 1 << 16));
    } else if (breadth_.is_graph) {
      least_ = 10;
      most_ = static_cast<int>(std::clamp<int64_t>(index.rows(), 10, 4096));
    }
  }
  int least() const { return least_; }
  int most() const { return most_; }
  SearchOptions At(int number) const {
    if (breadth_.lists > 0) return {.nprobe = number};
    if (breadth_.is_graph) return {.ef_search = number};
    return {};
  }

 private:
  const SearchBreadth breadth_;
  int least_ = 1, most_ = 1;
};

}  // namespace

absl::StatusOr<std::vector<Recipe>> RecipesFor(const RecipeWish& wish, int64_t rows, int dim) {
  if (!(wish.recall > 0 && wish.recall <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("recall: expected more than 0 and at most 1, got ", wish.recall));
  }
  std::vector<Recipe> recipes;
  int64_t smallest = INT64_MAX;
  for (const Kind& kind : KindsFor(rows, dim)) {
    if (wish.recall > kind.most_recall) continue;
    const int64_t bytes = BytesOf(kind, rows, dim);
    smallest = std::min(smallest, bytes);
    if (wish.memory == 0 || bytes <= wish.memory) recipes.push_back({kind.factory, bytes});
  }
  if (!recipes.empty()) return recipes;
  return absl::InvalidArgumentError(absl::StrCat("expected memory for ", Counted(rows, "row", "rows"), " of ", dim,
                                                 " numbers with recall ", wish.recall, ", got ", GiB(wish.memory),
                                                 "; the smallest index that can takes ", GiB(smallest)));
}

absl::StatusOr<Tuning> TuneSearch(IndexReader* index, const EvalSet& set, const RecipeWish& wish, const RowSet* rows) {
  const Ladder ladder(*index);
  Tuning tuning;
  const auto keeps_recall = [&](int number) -> absl::StatusOr<bool> {
    ABSL_ASSIGN_OR_RETURN(const EvalPoint point, Evaluate(index, set, ladder.At(number), rows));
    // Where every neighbour was found there is no luck to allow for.
    const double sure = point.recall_at_10 - Luck(point.recall_at_10, set.count());
    if (point.recall_at_10 >= tuning.best.recall_at_10 || sure >= wish.recall) {
      tuning.best = point;
      tuning.sure_recall = sure;
    }
    if (sure < wish.recall) return false;
    return true;
  };
  int too_narrow = ladder.least() - 1;
  int enough = ladder.least();
  for (;;) {
    ABSL_ASSIGN_OR_RETURN(const bool kept, keeps_recall(enough));
    if (kept) break;
    if (enough >= ladder.most()) return tuning;
    too_narrow = enough;
    enough = std::min(enough * 2, ladder.most());
  }
  EvalPoint point = tuning.best;
  // To within a sixteenth.
  while (enough - too_narrow > std::max(1, enough / 16)) {
    const int middle = too_narrow + (enough - too_narrow) / 2;
    ABSL_ASSIGN_OR_RETURN(const bool kept, keeps_recall(middle));
    (kept ? enough : too_narrow) = middle;
    if (kept) point = tuning.best;
  }
  tuning.best = point;
  const double latency_ms = 1000 / std::max(point.queries_per_second, 1e-9);
  if (wish.latency_ms <= 0 || latency_ms <= wish.latency_ms) tuning.found = point;
  return tuning;
}

}  // namespace reembed
