// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_BUILDER_H_
#define REEMBED_INDEX_INDEX_BUILDER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/build_stage_file.h"
#include "index/faiss_io.h"
#include "index/graph_build.h"
#include "index/index_build.h"
#include "index/index_eval.h"
#include "index/index_files.h"
#include "index/index_spec.h"
#include "index/index_store.h"
#include "index/recipe.h"
#include "index/row_set.h"
#include "index/shard_set.h"
#include "index/thread_count.h"

namespace reembed {

// One build of one factory, which goes on where one before was killed. Precondition: rows and options outlive it.
// index_builder.cc: training, adding all rows at once, publishing; index_builder_parts.cc: some rows after the other,
// where memory is short.
class IndexBuilder {
 public:
  IndexBuilder(const std::string& path, const IndexBuildOptions& options, const std::string& factory,
               const RowSet& rows);

  // Trains and adds, or goes on where a build before was. Errors: as BuildIndexOf().
  absl::Status Make();

  // What the index does with the narrowest search that keeps the wish, which becomes its own.
  absl::StatusOr<Tuning> Tune(const EvalSet& set, const RecipeWish& wish);

  absl::StatusOr<BuiltIndex> Publish();

  // Removes what is kept for a build that is gone on with.
  void RemoveWork();

 private:
  void Tell(BuildStage stage, int64_t done, int64_t total) const;
  std::string Identity() const;
  std::string PartPath(int64_t part) const;
  std::string PartRecordPath(int64_t part) const;
  std::string MergedPath() const;
  absl::StatusOr<int64_t> RowsPerPart(const faiss::Index& empty) const;
  int64_t MostTrainingRows() const;
  int64_t TrainingSampleRows() const;
  absl::Status Fix();
  absl::Status Train();
  absl::Span<const float> VectorsOf(int64_t begin, int64_t count) const;
  int64_t StepRows() const;
  absl::Status Stopped(int64_t rows) const;
  absl::Status AddAll();
  absl::StatusOr<std::unique_ptr<GraphBuilder>> GraphOf(faiss::Index* index, std::function<void(int64_t)> progress,
                                                        std::stop_token stop = {});
  std::function<void(int64_t)> TellAdded();
  absl::Status Add(faiss::Index* index, absl::Span<const float> vectors, absl::Span<const int64_t> ids);

  // index_builder_parts.cc
  absl::Status AddInParts(int64_t part_rows);
  absl::Status AddInShards(int64_t shard_rows);
  void Empty();
  absl::Status AddShard(int64_t begin, int64_t end);
  absl::Status Merge(faiss::Index* trained);

  const IndexStore store_;
  const IndexBuildOptions& options_;
  const RowSet& rows_;
  IndexSpec spec_;
  IndexDescription description_;
  std::optional<BuildStageFile> stage_;
  FaissIndex index_;
  int64_t added_ = 0;    // rows before this step
  int64_t resumed_ = 0;  // rows that a build before had added
  int64_t parts_ = 0;
  bool is_fixed_ = false;  // assignments are by our own kernels
  std::optional<OneBlasThread> one_blas_thread_;
  std::vector<IndexShard> shards_;  // that are built and not published
  std::optional<FileMark> merged_;  // of the file at MergedPath(), which index_ is mapped from
};

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_BUILDER_H_
