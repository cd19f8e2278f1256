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

// What an index is doing just now.
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
  uint64_t seed = 1234;    // of the training sample and of whatever FAISS draws
  bool skip_unusable = false;
  // Of graphs and, where `deterministic` is asked for, of lists over a flat quantizer (fixed_assignment.h), which have
  // the kernels for it; elsewhere `deterministic` means one thread.
  GraphSimd simd = GraphSimd::kAuto;
  GraphStorage storage = GraphStorage::kAuto;
  bool deterministic = false;
  // Bytes of anonymous memory that building may use; 0: no limit. An index that needs more is built in parts, which are
  // merged on the disk (lists of plain codes), or stay a set of shards (shard_set.h).
  int64_t memory = 0;
  // Instead of `spec.factory`: what the index has to achieve, see RecipesFor(). The measures go into its description.
  std::optional<RecipeWish> wish;
  int64_t queries = 1000;  // to measure that with
  // Training takes at most so many rows, but never fewer than it cannot do without, and a number of lists that is open
  // is such that they suffice; 0: as many as the factory needs.
  int64_t most_training_rows = 0;
  bool keeps_previous = true;  // an index that is at the path already is kept as PATH.previous
  // Time between checkpoints of what is added; longer where a checkpoint takes long; 0: after each step.
  absl::Duration keep_every = absl::Minutes(1);
  int64_t rows_per_step = 65536;  // added between two looks at the time; at most 256 MiB of them
  OnBuildProgress progress;
  // Called before each step, and by one thread at a time while a graph is linked: true ends the build with kCancelled;
  // the checkpoint stays. May be null.
  std::function<bool()> stopped;
};

// Builds an index of all rows of `reader` and publishes it at `path`, see IndexStore::Replace(); the files are
// described in index_format.md. Whoever calls has the right to write there. `place`: of the rows, for messages.
//
// A build that was killed resumes from its last checkpoint if the rows and `options` are the same.
// Errors: kInvalidArgument (rows, see RowSet::Read(); a factory that FAISS cannot build; fewer rows than it takes to
// train it; a memory that is not enough: says how much is), kResourceExhausted (disk full, memory; what was at `path`
// is still there), and those of the reader.
struct BuiltIndex {
  IndexDescription description;
  int64_t passed_over = 0;   // rows, with skip_unusable
  std::string first_fault;   // of the first of them
  int64_t resumed_rows = 0;  // that a build before had added
  int64_t bytes = 0;         // of the index with its shards
};
absl::StatusOr<BuiltIndex> BuildIndex(VectorReader* reader, const std::string& place, const std::string& path,
                                      const IndexBuildOptions& options);

// The same of rows that are there already and stay the caller's. `options.wish` and `skip_unusable` mean nothing here.
absl::StatusOr<BuiltIndex> BuildIndexOf(const RowSet& rows, const std::string& path, const IndexBuildOptions& options);

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_BUILD_H_
