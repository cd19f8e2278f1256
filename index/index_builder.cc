// SPDX-License-Identifier: Apache-2.0
#include "index/index_builder.h"

#include <faiss/IndexIDMap.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "index/build_memory.h"
#include "index/fixed_assignment.h"
#include "index/index_reader.h"
#include "index/index_training.h"
#include "index/ivf_parts.h"

namespace reembed {
namespace {

// Between them nothing is kept: what a kill costs.
constexpr int64_t kBytesPerStep = int64_t{256} << 20;
// Saving takes at most this share of the time.
constexpr double kSavingShare = 0.05;

}  // namespace

IndexBuilder::IndexBuilder(const std::string& path, const IndexBuildOptions& options, const std::string& factory,
                           const RowSet& rows)
    : store_(path), options_(options), rows_(rows), spec_(options.spec) {
  spec_.factory = factory;
  spec_.seed = options.seed;
  description_.model = options.model;
  description_.model.dim = rows_.dim();
  description_.metric = spec_.metric;
  description_.asked_factory = spec_.factory;
  description_.factory = ResolveFactory(spec_.factory, rows_.rows(), MostTrainingRows());
  description_.id_kind = rows_.id_kind();
  description_.faiss_version = FaissVersion();
  description_.reembed_version = options.version;
  description_.source = options.source;
  description_.built_from = options.built_from;
  description_.seed = static_cast<int64_t>(options.seed);
  description_.ef_construction = spec_.ef_construction;
  description_.fingerprint = rows_.fingerprint();
}

absl::Status IndexBuilder::Make() {
  stage_.emplace(store_.path(), Identity());
  ABSL_RETURN_IF_ERROR(CheckTrainingRows(store_.path(), description_.factory, rows_.rows()));
  ABSL_ASSIGN_OR_RETURN(FaissIndex empty, MakeFaissIndex(spec_, description_.factory, rows_.dim()));
  ABSL_ASSIGN_OR_RETURN(const int64_t part_rows, RowsPerPart(*empty));
  ABSL_ASSIGN_OR_RETURN(std::optional<BuildStageFile::Stage> kept, stage_->Load());
  if (kept.has_value()) {
    index_ = std::move(kept->index);
    description_.trained_rows = kept->trained_rows;
    resumed_ = index_->ntotal;
    ABSL_RETURN_IF_ERROR(Fix());
  } else {
    index_ = std::move(empty);
    ABSL_RETURN_IF_ERROR(Fix());
    ABSL_RETURN_IF_ERROR(Train());
  }
  if (part_rows == 0) return AddAll();
  // Of a build before that had more memory.
  Empty();
  resumed_ = 0;
  return PlainIvf(static_cast<faiss::IndexIDMap2&>(*index_).index) != nullptr ? AddInParts(part_rows)
                                                                              : AddInShards(part_rows);
}

absl::StatusOr<Tuning> IndexBuilder::Tune(const EvalSet& set, const RecipeWish& wish) {
  Tell(BuildStage::kTune, 0, rows_.rows());
  std::unique_ptr<IndexReader> reader;
  if (shards_.empty()) {
    reader = IndexReader::Of(store_.path(), description_, std::move(index_));
  } else {
    ABSL_ASSIGN_OR_RETURN(reader, IndexReader::OfShards(store_.path(), description_, shards_));
  }
  absl::StatusOr<Tuning> tuning = TuneSearch(reader.get(), set, wish, &rows_);
  index_ = reader->Release();
  if (!tuning.ok() || !tuning->found.has_value()) return tuning;
  description_.nprobe = tuning->found->search.nprobe;
  description_.ef_search = tuning->found->search.ef_search;
  description_.recall_at_10 = tuning->found->recall_at_10;
  description_.recall_queries = set.count();
  return tuning;
}

absl::StatusOr<BuiltIndex> IndexBuilder::Publish() {
  Tell(BuildStage::kSave, 0, rows_.rows());
  description_.rows = rows_.rows();
  description_.shards = static_cast<int64_t>(shards_.size());
  int64_t shard_bytes = 0;
  for (const IndexShard& shard : shards_) shard_bytes += shard.mark.bytes;
  const auto old = options_.keeps_previous ? IndexStore::Old::kSave : IndexStore::Old::kContinued;
  if (!shards_.empty()) {
    const auto write = [this](const std::string& path) { return WriteWholeFile(path, ShardLines(shards_)); };
    ABSL_RETURN_IF_ERROR(store_.ReplaceBy(write, rows_.key_lines(), description_, old));
    shards_.clear();  // they are the index now
  } else if (merged_.has_value()) {
    const auto move = [this](const std::string& path) -> absl::StatusOr<FileMark> {
      if (std::rename(MergedPath().c_str(), path.c_str()) == 0) return *merged_;
      return absl::ErrnoToStatus(errno, absl::StrCat(MergedPath(), ": cannot rename to ", path));
    };
    ABSL_RETURN_IF_ERROR(store_.ReplaceBy(move, rows_.key_lines(), description_, old));
  } else {
    ABSL_RETURN_IF_ERROR(store_.Replace(*index_, rows_.key_lines(), description_, old));
  }
  RemoveWork();
  ABSL_ASSIGN_OR_RETURN(description_, ReadDescription(IndexPaths(store_.path()).description));
  return BuiltIndex{.description = description_,
                    .passed_over = rows_.passed_over(),
                    .first_fault = rows_.first_fault(),
                    .resumed_rows = resumed_,
                    .bytes = description_.index_file.bytes + shard_bytes};
}

void IndexBuilder::RemoveWork() {
  stage_->Remove();
  unlink(MergedPath().c_str());
  for (int64_t part = 0; part < parts_; ++part) {
    unlink(PartPath(part).c_str());
    unlink(PartRecordPath(part).c_str());
  }
  for (const IndexShard& shard : shards_) unlink(ShardPath(store_.path(), shard).c_str());
}

void IndexBuilder::Tell(BuildStage stage, int64_t done, int64_t total) const {
  if (options_.progress) options_.progress({stage, done, total});
}

// Of all that decides what the index becomes.
std::string IndexBuilder::Identity() const {
  return absl::StrCat(description_.factory, " ", MetricName(spec_.metric), " ", rows_.dim(), " ", rows_.rows(), " ",
                      absl::Hex(rows_.fingerprint()), " ", spec_.train_rows, " ", options_.most_training_rows, " ",
                      spec_.ef_construction, " ", options_.seed, " ", GraphStorageName(options_.storage), " ",
                      options_.deterministic, " ", FaissVersion());
}

std::string IndexBuilder::PartPath(int64_t part) const { return absl::StrCat(store_.path(), ".partial.part-", part); }

std::string IndexBuilder::PartRecordPath(int64_t part) const { return absl::StrCat(PartPath(part), ".json"); }

std::string IndexBuilder::MergedPath() const { return absl::StrCat(store_.path(), ".partial.merged"); }

// 0: all of them at once.
absl::StatusOr<int64_t> IndexBuilder::RowsPerPart(const faiss::Index& empty) const {
  if (options_.memory == 0) return 0;
  const BuildSize size{
      .rows = rows_.rows(),
      .dim = rows_.dim(),
      .key_bytes = static_cast<int64_t>(rows_.key_lines().size()),
      .sample_rows = TrainingSampleRows(),
      .graph = {.simd = options_.simd, .storage = options_.storage, .deterministic = options_.deterministic}};
  return RowsWithin(options_.memory, empty, size, store_.path(), description_.factory);
}

int64_t IndexBuilder::MostTrainingRows() const {
  return options_.most_training_rows > 0 ? std::min(options_.most_training_rows, rows_.rows()) : rows_.rows();
}

int64_t IndexBuilder::TrainingSampleRows() const {
  const int64_t wanted = spec_.train_rows > 0 ? spec_.train_rows : TrainingRows(description_.factory);
  const int64_t least = LeastTrainingRows(description_.factory);
  return std::min(std::max(std::min(wanted, MostTrainingRows()), least), rows_.rows());
}

// Before anything is computed: by what, and by how many threads.
absl::Status IndexBuilder::Fix() {
  if (!options_.deterministic) {
    SetLibraryThreads(ThreadCount(options_.threads));
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(is_fixed_, FixAssignments(index_.get(), options_.simd));
  // What is left to FAISS and the BLAS sums in the order of their threads.
  one_blas_thread_.emplace();
  SetLibraryThreads(is_fixed_ ? ThreadCount(options_.threads) : 1);
  return absl::OkStatus();
}

absl::Status IndexBuilder::Train() {
  if (index_->is_trained) return absl::OkStatus();
  std::optional<FixedCodeBooks> fixed;
  if (is_fixed_) fixed.emplace(index_.get(), options_.simd);
  const std::vector<int64_t> drawn = rows_.Draw(TrainingSampleRows(), options_.seed);
  Tell(BuildStage::kTrain, 0, static_cast<int64_t>(drawn.size()));
  ABSL_RETURN_IF_ERROR(TrainIndex(store_.path(), description_.factory, rows_.Gather(drawn), index_.get()));
  description_.trained_rows = static_cast<int64_t>(drawn.size());
  return stage_->Save(*index_, description_.trained_rows);
}

absl::Span<const float> IndexBuilder::VectorsOf(int64_t begin, int64_t count) const {
  return rows_.vectors().subspan(static_cast<size_t>(begin) * rows_.dim(), static_cast<size_t>(count) * rows_.dim());
}

int64_t IndexBuilder::StepRows() const {
  return std::clamp<int64_t>(kBytesPerStep / (int64_t{4} * rows_.dim()), 1, options_.rows_per_step);
}

absl::Status IndexBuilder::Stopped(int64_t rows) const {
  if (!options_.stopped || !options_.stopped()) return absl::OkStatus();
  return absl::CancelledError(absl::StrCat(store_.path(), ": stopped behind ", Counted(rows, "row", "rows")));
}

absl::Status IndexBuilder::AddAll() {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<GraphBuilder> graph, GraphOf(index_.get(), TellAdded()));
  absl::Time saved = absl::Now();
  absl::Duration between = options_.keep_every;
  for (int64_t begin = index_->ntotal; begin < rows_.rows();) {
    ABSL_RETURN_IF_ERROR(Stopped(begin));
    added_ = begin;
    const int64_t count = std::min(StepRows(), rows_.rows() - begin);
    const auto ids = rows_.ids().subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    ABSL_RETURN_IF_ERROR(graph != nullptr ? graph->Add(VectorsOf(begin, count), ids)
                                          : Add(index_.get(), VectorsOf(begin, count), ids));
    begin += count;
    Tell(BuildStage::kAdd, begin, rows_.rows());
    const absl::Time now = absl::Now();
    if (begin == rows_.rows() || now - saved < between) continue;
    ABSL_RETURN_IF_ERROR(stage_->Save(*index_, description_.trained_rows));
    saved = absl::Now();
    if (between > absl::ZeroDuration()) between = std::max(options_.keep_every, (saved - now) / kSavingShare);
  }
  return absl::OkStatus();
}

// Null: FAISS adds by itself.
absl::StatusOr<std::unique_ptr<GraphBuilder>> IndexBuilder::GraphOf(faiss::Index* index,
                                                                    std::function<void(int64_t)> progress,
                                                                    std::stop_token stop) {
  if (!GraphBuilder::CanBuild(*index)) return nullptr;
  return GraphBuilder::Make(index, {.metric = spec_.metric,
                                    .threads = options_.threads,
                                    .simd = options_.simd,
                                    .storage = options_.storage,
                                    .deterministic = options_.deterministic,
                                    .seed = options_.seed,
                                    .progress = std::move(progress),
                                    .stop = std::move(stop)});
}

std::function<void(int64_t)> IndexBuilder::TellAdded() {
  return [this](int64_t rows) { Tell(BuildStage::kAdd, added_ + rows, rows_.rows()); };
}

absl::Status IndexBuilder::Add(faiss::Index* index, absl::Span<const float> vectors, absl::Span<const int64_t> ids) {
  const int64_t at_once = RowsPerAdd(rows_.dim());
  const auto count = static_cast<int64_t>(ids.size());
  return CallFaiss(absl::StatusCode::kInternal, absl::StrCat(store_.path(), ": cannot add rows"), [&] {
    for (int64_t begin = 0; begin < count; begin += at_once) {
      const int64_t rows = std::min(at_once, count - begin);
      index->add_with_ids(rows, vectors.data() + begin * rows_.dim(), ids.data() + begin);
      Tell(BuildStage::kAdd, added_ + begin + rows, rows_.rows());
    }
  });
}

}  // namespace reembed
