// SPDX-License-Identifier: Apache-2.0
#include "index/index_build.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "index/index_builder.h"
#include "index/index_training.h"

namespace reembed {
namespace {

// One list stands for any number: only the form of the factory is tried.
absl::Status CheckFactory(const std::string& path, const IndexSpec& spec, int dim) {
  const absl::StatusOr<FaissIndex> probe = MakeFaissIndex(spec, ResolveFactory(spec.factory, 1, 1), dim);
  if (probe.ok()) return absl::OkStatus();
  return absl::Status(probe.status().code(), absl::StrCat(path, ": ", probe.status().message()));
}

// The recipes one after the other until one keeps the wish.
absl::StatusOr<BuiltIndex> BuildByWish(const std::string& path, const IndexBuildOptions& options,
                                       const std::vector<Recipe>& recipes, const RowSet& rows) {
  const RecipeWish& wish = *options.wish;
  EvalDraw draw{.metric = options.spec.metric,
                .count = options.queries,
                .k = 10,
                .seed = options.seed,
                .threads = options.threads};
  if (options.progress) {
    draw.progress = [&options](int64_t done, int64_t total) { options.progress({BuildStage::kCompare, done, total}); };
  }
  ABSL_ASSIGN_OR_RETURN(const EvalSet set, DrawEvalSet(rows, draw));
  std::vector<std::string> tried;
  for (const Recipe& recipe : recipes) {
    IndexBuilder build(path, options, recipe.factory, rows);
    ABSL_RETURN_IF_ERROR(build.Make());
    ABSL_ASSIGN_OR_RETURN(const Tuning tuning, build.Tune(set, wish));
    if (tuning.found.has_value()) return build.Publish();
    build.RemoveWork();
    tried.push_back(absl::StrFormat("%s: recall %.4f measured, %.4f of it sure, at %.3f ms", recipe.factory,
                                    tuning.best.recall_at_10, tuning.sure_recall,
                                    1000 / std::max(tuning.best.queries_per_second, 1e-9)));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": expected recall ", wish.recall,
                   wish.latency_ms > 0 ? absl::StrCat(" within ", wish.latency_ms, " ms") : "",
                   ", and none of the recipes that fit into the memory has it (", absl::StrJoin(tried, "; "),
                   "); allow more memory or time, or ask for less recall"));
}

}  // namespace

absl::string_view BuildStageName(BuildStage stage) {
  switch (stage) {
    case BuildStage::kRead:
      return "reading";
    case BuildStage::kTrain:
      return "training";
    case BuildStage::kAdd:
      return "adding";
    case BuildStage::kMerge:
      return "merging";
    case BuildStage::kCompare:
      return "comparing";
    case BuildStage::kTune:
      return "tuning";
    case BuildStage::kSave:
      return "saving";
  }
  return "unknown";
}

absl::StatusOr<BuiltIndex> BuildIndex(VectorReader* reader, const std::string& place, const std::string& path,
                                      const IndexBuildOptions& options) {
  // What can be said before the rows are read.
  Model model = options.model;
  model.dim = reader->dim();
  const IndexStore store(path);
  ABSL_RETURN_IF_ERROR(store.CheckReplaceable(model));
  std::vector<Recipe> recipes;
  const int64_t expected = reader->rows();
  if (options.wish.has_value()) {
    if (expected > 0) ABSL_RETURN_IF_ERROR(RecipesFor(*options.wish, expected, model.dim).status());
  } else {
    ABSL_RETURN_IF_ERROR(CheckFactory(path, options.spec, model.dim));
    if (expected > 0 && !options.skip_unusable) {
      ABSL_RETURN_IF_ERROR(CheckTrainingRows(path, ResolveFactory(options.spec.factory, expected, expected), expected));
    }
  }
  ABSL_RETURN_IF_ERROR(
      ChooseGraphKernel({.simd = options.simd, .storage = options.storage, .deterministic = options.deterministic})
          .status());
  const auto seen = [&](int64_t rows) {
    if (options.progress) options.progress({BuildStage::kRead, rows, expected});
    return absl::OkStatus();
  };
  ABSL_ASSIGN_OR_RETURN(const RowSet rows, RowSet::Read(reader, place,
                                                        {.metric = options.spec.metric,
                                                         .beside = absl::StrCat(path, ".partial"),
                                                         .skip_unusable = options.skip_unusable},
                                                        seen));
  if (options.wish.has_value()) {
    ABSL_ASSIGN_OR_RETURN(recipes, RecipesFor(*options.wish, rows.rows(), rows.dim()));
    return BuildByWish(path, options, recipes, rows);
  }
  return BuildIndexOf(rows, path, options);
}

absl::StatusOr<BuiltIndex> BuildIndexOf(const RowSet& rows, const std::string& path, const IndexBuildOptions& options) {
  IndexBuilder build(path, options, options.spec.factory, rows);
  ABSL_RETURN_IF_ERROR(build.Make());
  return build.Publish();
}

}  // namespace reembed
