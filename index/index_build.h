// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_BUILD_H_
#define REEMBED_INDEX_INDEX_BUILD_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "index/graph_build.h"
#include "index/index_files.h"
#include "index/index_spec.h"
#include "index/recipe.h"
#include "index/row_set.h"

namespace reembed {

// The current stage of an index build.
enum class BuildStage { kRead, kTrain, kAdd, kMerge, kCompare, kTune, kSave };
absl::string_view BuildStageName(BuildStage stage);  // "reading", "training", "adding", ...

struct BuildProgress {
  BuildStage stage = BuildStage::kRead;
  int64_t done = 0;   // rows
  int64_t total = 0;  // 0: not known
};
using OnBuildProgress = std::function<void(const BuildProgress&)>;  // from any thread; may be null

struct IndexBuildOptions {
  IndexSpec spec;
  Model model;             // name empty: not known; the dim is that of the rows
  std::string source;      // URI of the store with the texts, perhaps empty
  std::string built_from;  // URI of the vectors
  std::string version;     // of the program
  int threads = 0;         // 0: one per core
  uint64_t seed = 1234;    // of the training sample and of FAISS's random choices
  bool skip_unusable = false;
  // For graphs, and with `deterministic` also for lists over a flat quantizer (fixed_assignment.h), which have kernels
  // for it. For all other types `deterministic` means one thread.
  GraphSimd simd = GraphSimd::kAuto;
  GraphStorage storage = GraphStorage::kAuto;
  bool deterministic = false;
  // Maximum bytes of anonymous memory for the build; 0: no limit. An index that needs more is built in parts, which are
  // merged on the disk (lists of plain codes), or stay a set of shards (shard_set.h).
  int64_t memory = 0;
  // Instead of `spec.factory`: what the index must achieve, see RecipesFor(). The results go into its description.
  std::optional<RecipeWish> wish;
  int64_t queries = 1000;  // for that measurement
  // Maximum rows for training, but never fewer than its minimum; if the number of lists is open, it is chosen so that
  // these rows suffice. 0: as many as the factory needs.
  int64_t most_training_rows = 0;
  bool keeps_previous = true;  // an existing index at the path is kept as PATH.previous
  // Time between checkpoints; longer if a checkpoint takes long; 0: after each step.
  absl::Duration keep_every = absl::Minutes(1);
  int64_t rows_per_step = 65536;  // added between two checks of the time; at most 256 MiB of them
  OnBuildProgress progress;
  // Called before each step, and by one thread at a time while a graph is linked: true ends the build with kCancelled;
  // the checkpoint stays. May be null.
  std::function<bool()> stopped;
};

// Builds an index of all rows of `reader` and publishes it at `path`, see IndexStore::Replace(); the files are
// described in index_format.md. Precondition: the caller may write there. `place`: of the rows, for messages.
//
// A build that was killed resumes from its last checkpoint if the rows and `options` are the same.
// Errors: kInvalidArgument (rows, see RowSet::Read(); a factory that FAISS cannot build; fewer rows than
// training needs; too little memory: says how much is enough), kResourceExhausted (disk full, memory; an older index at
// `path` is still there), and those of the reader.
struct BuiltIndex {
  IndexDescription description;
  int64_t passed_over = 0;   // rows that were left out, with skip_unusable
  std::string first_fault;   // of the first of them
  int64_t resumed_rows = 0;  // rows that an earlier build had added
  int64_t bytes = 0;         // of the index with its shards
};
absl::StatusOr<BuiltIndex> BuildIndex(VectorReader* reader, const std::string& place, const std::string& path,
                                      const IndexBuildOptions& options);

// The same for rows that are in memory and stay the caller's. `options.wish` and `skip_unusable` are ignored.
absl::StatusOr<BuiltIndex> BuildIndexOf(const RowSet& rows, const std::string& path, const IndexBuildOptions& options);

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_BUILD_H_
