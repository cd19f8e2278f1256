// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_RECIPE_H_
#define REEMBED_INDEX_RECIPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "index/index_eval.h"
#include "index/index_reader.h"
#include "index/row_set.h"

// What to build where a user says what the index shall do, and not how.
namespace reembed {

struct RecipeWish {
  int64_t memory = 0;     // bytes that the index may take while it is searched; 0: any
  double recall = 0;      // of the ten nearest
  double latency_ms = 0;  // of a search on one thread, on average; 0: any
};

// A factory string, and what an index of it takes.
struct Recipe {
  std::string factory;
  int64_t bytes = 0;
};

// The recipes that may do it, the most promising first: those that fit into the memory and whose codes have been seen
// to keep that much recall. Errors: kInvalidArgument (none fits: says the smallest memory that one needs; a recall that
// is none).
absl::StatusOr<std::vector<Recipe>> RecipesFor(const RecipeWish& wish, int64_t rows, int dim);

// The narrowest search of `index` that keeps the wish with some certainty, found by measurement; nullopt: none does,
// and `best` is the nearest to it. `rows` may be null. Errors: as Evaluate().
struct Tuning {
  std::optional<EvalPoint> found;
  EvalPoint best;
  double sure_recall = 0;  // of `best`: what is left when luck in the queries is allowed for
};
absl::StatusOr<Tuning> TuneSearch(IndexReader* index, const EvalSet& set, const RecipeWish& wish, const RowSet* rows);

}  // namespace reembed

#endif  // REEMBED_INDEX_RECIPE_H_
