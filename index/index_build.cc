// SPDX-License-Identifier: Apache-2.0
#include "index/index_build.h"

#include <faiss/IndexFastScan.h>
#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/ProductQuantizer.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "index/build_stage_file.h"
#include "index/fixed_assignment.h"
#include "index/index_reader.h"
#include "index/index_store.h"
#include "index/ivf_parts.h"
#include "index/shard_set.h"
#include "index/thread_count.h"

namespace reembed {
namespace {

// Between them nothing is kept: what a kill costs.
constexpr int64_t kBytesPerStep = int64_t{256} << 20;
// Saving takes at most this share of the time.
constexpr double kSavingShare = 0.05;

constexpr int64_t kBaseBytes = int64_t{64} << 20;  // of the program, its threads and buffers
constexpr int64_t kIdBytes = 72;                   // an id, and its place in a table
constexpr int64_t kGraphBytes = 8 * 66 + 16;       // links and their distances while a graph is built
constexpr int64_t kLeastRowsPerPart = 4096;
constexpr int64_t kManyRows = 1 << 20;  // over which what is not a row's own is divided

std::string MemoryText(int64_t bytes) {
  return absl::StrFormat("%.0f MiB", std::ceil(static_cast<double>(bytes) / (1 << 20)));
}

// One build of one recipe. The rows are borrowed.
class Build {
 public:
  Build(const std::string& path, const IndexBuildOptions& options, const std::string& factory, const RowSet& rows)
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

  // Trains and adds, or goes on where a build before was.
  absl::Status Make() {
    stage_.emplace(store_.path(), Identity());
    ABSL_RETURN_IF_ERROR(CheckTrainingRows(store_.path(), description_.factory, rows_.rows()));
    ABSL_ASSIGN_OR_RETURN(FaissIndex empty, MakeFaissIndex(spec_, description_.factory, rows_.dim()));
    ABSL_ASSIGN_OR_RETURN(const int64_t part_rows, RowsPerPart(empty.get()));
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

  // What the index does with the narrowest search that keeps the wish, which becomes its own.
  absl::StatusOr<Tuning> Tune(const EvalSet& set, const RecipeWish& wish) {
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

  absl::StatusOr<BuiltIndex> Publish() {
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

  // What is kept for a build that is gone on with.
  void RemoveWork() {
    stage_->Remove();
    unlink(MergedPath().c_str());
    for (int64_t part = 0; part < parts_; ++part) {
      unlink(PartPath(part).c_str());
      unlink(PartRecordPath(part).c_str());
    }
    for (const IndexShard& shard : shards_) unlink(ShardPath(store_.path(), shard).c_str());
  }

 private:
  void Tell(BuildStage stage, int64_t done, int64_t total) const {
    if (options_.progress) options_.progress({stage, done, total});
  }

  // Of all that decides what the index becomes.
  std::string Identity() const {
    return absl::StrCat(description_.factory, " ", MetricName(spec_.metric), " ", rows_.dim(), " ", rows_.rows(), " ",
                        absl::Hex(rows_.fingerprint()), " ", spec_.train_rows, " ", options_.most_training_rows, " ",
                        spec_.ef_construction, " ", options_.seed, " ", GraphStorageName(options_.storage), " ",
                        options_.deterministic, " ", FaissVersion());
  }

  std::string PartPath(int64_t part) const { return absl::StrCat(store_.path(), ".partial.part-", part); }
  std::string PartRecordPath(int64_t part) const { return absl::StrCat(PartPath(part), ".json"); }
  std::string MergedPath() const { return absl::StrCat(store_.path(), ".partial.merged"); }

  // 0: all of them at once.
  absl::StatusOr<int64_t> RowsPerPart(faiss::Index* empty) const {
    if (options_.memory == 0) return 0;
    const int64_t lasting = LastingBytes(*empty);
    // The sample is given back before rows are added.
    const int64_t training = lasting + IdBytes(8) + SampleBytes(*empty);
    const int64_t at_once = lasting + IdBytes(kIdBytes) + BytesOf(*empty, rows_.rows());
    if (std::max(training, at_once) <= options_.memory) return 0;
    const int64_t fixed = lasting + IdBytes(8);
    const int64_t row_bytes = PartRowBytes(*empty);
    const int64_t least = std::max(training, fixed + kLeastRowsPerPart * row_bytes);
    if (least <= options_.memory) return (options_.memory - fixed) / row_bytes;
    return absl::InvalidArgumentError(absl::StrCat(store_.path(), ": expected memory to build ", description_.factory,
                                                   ", got ", MemoryText(options_.memory), "; the smallest that can is ",
                                                   MemoryText(least)));
  }

  static const faiss::Index& Proper(const faiss::Index& empty) {
    return *static_cast<const faiss::IndexIDMap2&>(empty).index;
  }

  static const faiss::IndexIVF* AnyIvf(const faiss::Index* index) {
    if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
      return AnyIvf(transformed->index);
    }
    return dynamic_cast<const faiss::IndexIVF*>(index);
  }

  // The program, and the lists' centroids: FAISS has them beside the codes of a quantizer, and while it clusters.
  int64_t LastingBytes(const faiss::Index& empty) const {
    const auto* const ivf = AnyIvf(&Proper(empty));
    const int64_t lists = ivf == nullptr ? 0 : static_cast<int64_t>(ivf->nlist);
    return kBaseBytes + lists * rows_.dim() * 4 * 3;
  }

  int64_t IdBytes(int64_t of_one) const {
    return rows_.rows() * of_one + static_cast<int64_t>(rows_.key_lines().size());
  }

  int64_t SampleBytes(const faiss::Index& empty) const {
    if (empty.is_trained) return 0;
    const int64_t sample = TrainingSampleRows();
    const faiss::Index& proper = Proper(empty);
    // A transform is trained on a copy and makes another; codes are trained on what the lists leave over of some rows.
    int64_t copied = sample;
    if (dynamic_cast<const faiss::IndexPreTransform*>(&proper) != nullptr) copied = 2 * sample;
    if (dynamic_cast<const faiss::IndexIVFFlat*>(&proper) != nullptr) copied = 0;
    const auto of_codes = [&copied](const faiss::ProductQuantizer& pq) {
      copied = std::min(copied, static_cast<int64_t>(pq.ksub) * pq.cp.max_points_per_centroid);
    };
    if (const auto* const ivf = dynamic_cast<const faiss::IndexIVFPQ*>(&proper)) of_codes(ivf->pq);
    if (const auto* const ivf = dynamic_cast<const faiss::IndexIVFPQFastScan*>(&proper)) of_codes(ivf->pq);
    return (sample + copied) * rows_.dim() * 4;
  }

  // Of a row, as it stays.
  static int64_t CodeBytes(const faiss::Index& index) {
    if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index)) {
      return CodeBytes(*transformed->index);
    }
    if (const auto* const ivf = dynamic_cast<const faiss::IndexIVF*>(&index)) {
      return static_cast<int64_t>(ivf->code_size) + 8;
    }
    if (const auto* const codes = dynamic_cast<const faiss::IndexFlatCodes*>(&index)) {
      return static_cast<int64_t>(codes->code_size);
    }
    if (const auto* const blocks = dynamic_cast<const faiss::IndexFastScan*>(&index)) {
      return static_cast<int64_t>(blocks->code_size);
    }
    if (const auto* const graph = dynamic_cast<const faiss::IndexHNSW*>(&index)) return CodeBytes(*graph->storage);
    return 4 * int64_t{index.d};
  }

  // Of rows that are added, without their ids.
  int64_t BytesOf(const faiss::Index& empty, int64_t rows) const {
    if (GraphBuilder::CanBuild(empty)) {
      return GraphBuildBytes(
          rows, rows_.dim(),
          {.simd = options_.simd, .storage = options_.storage, .deterministic = options_.deterministic});
    }
    const bool is_graph = dynamic_cast<const faiss::IndexHNSW*>(&Proper(empty)) != nullptr;
    // What grows is copied, and is there twice meanwhile.
    return rows * (2 * CodeBytes(Proper(empty)) + (is_graph ? kGraphBytes : 0));
  }

  // Of a row while its part, or its shard, is built. The ids of a part are in its lists.
  int64_t PartRowBytes(const faiss::Index& empty) const {
    const bool is_part = PlainIvf(static_cast<const faiss::IndexIDMap2&>(empty).index) != nullptr;
    return BytesOf(empty, kManyRows) / kManyRows + (is_part ? 0 : kIdBytes);
  }

  int64_t MostTrainingRows() const {
    return options_.most_training_rows > 0 ? std::min(options_.most_training_rows, rows_.rows()) : rows_.rows();
  }

  int64_t TrainingSampleRows() const {
    const int64_t wanted = spec_.train_rows > 0 ? spec_.train_rows : TrainingRows(description_.factory);
    const int64_t least = LeastTrainingRows(description_.factory);
    return std::min(std::max(std::min(wanted, MostTrainingRows()), least), rows_.rows());
  }

  // Before anything is computed: by what, and by how many threads.
  absl::Status Fix() {
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

  absl::Status Train() {
    if (index_->is_trained) return absl::OkStatus();
    std::optional<FixedCodeBooks> fixed;
    if (is_fixed_) fixed.emplace(index_.get(), options_.simd);
    const std::vector<int64_t> drawn = rows_.Draw(TrainingSampleRows(), options_.seed);
    Tell(BuildStage::kTrain, 0, static_cast<int64_t>(drawn.size()));
    ABSL_RETURN_IF_ERROR(TrainIndex(store_.path(), description_.factory, rows_.Gather(drawn), index_.get()));
    description_.trained_rows = static_cast<int64_t>(drawn.size());
    return stage_->Save(*index_, description_.trained_rows);
  }

  absl::Span<const float> VectorsOf(int64_t begin, int64_t count) const {
    return rows_.vectors().subspan(static_cast<size_t>(begin) * rows_.dim(), static_cast<size_t>(count) * rows_.dim());
  }

  int64_t StepRows() const {
    return std::clamp<int64_t>(kBytesPerStep / (int64_t{4} * rows_.dim()), 1, options_.rows_per_step);
  }

  absl::Status Stopped(int64_t rows) const {
    if (!options_.stopped || !options_.stopped()) return absl::OkStatus();
    return absl::CancelledError(absl::StrCat(store_.path(), ": stopped behind ", Counted(rows, "row", "rows")));
  }

  absl::Status AddAll() {
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
  absl::StatusOr<std::unique_ptr<GraphBuilder>> GraphOf(faiss::Index* index, std::function<void(int64_t)> progress,
                                                        std::stop_token stop = {}) {
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

  std::function<void(int64_t)> TellAdded() {
    return [this](int64_t rows) { Tell(BuildStage::kAdd, added_ + rows, rows_.rows()); };
  }

  absl::Status Add(faiss::Index* index, absl::Span<const float> vectors, absl::Span<const int64_t> ids) {
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

  // Fills the lists of some rows after the other, each into a file of its own, and puts these together.
  absl::Status AddInParts(int64_t part_rows) {
    auto* const with_ids = static_cast<faiss::IndexIDMap2*>(index_.get());
    with_ids->own_fields = false;
    FaissIndex trained(with_ids->index);  // ids are in the lists: a table of them would not fit
    parts_ = (rows_.rows() + part_rows - 1) / part_rows;
    for (int64_t part = 0; part < parts_; ++part) {
      const int64_t begin = part * part_rows;
      const int64_t end = std::min(begin + part_rows, rows_.rows());
      const std::string identity = absl::StrCat(Identity(), " ", begin, " ", end);
      const std::optional<BuildStageFile::Record> kept = BuildStageFile::ReadRecord(PartRecordPath(part));
      if (kept.has_value() && kept->identity == identity && CheckFile(PartPath(part), kept->mark).ok()) {
        resumed_ += end - begin;
        continue;
      }
      for (int64_t at = begin; at < end; at += StepRows()) {
        ABSL_RETURN_IF_ERROR(Stopped(at));
        added_ = at;
        const int64_t count = std::min(StepRows(), end - at);
        ABSL_RETURN_IF_ERROR(Add(trained.get(), VectorsOf(at, count),
                                 rows_.ids().subspan(static_cast<size_t>(at), static_cast<size_t>(count))));
      }
      ABSL_ASSIGN_OR_RETURN(const FileMark mark, SaveFaissIndex(*trained, PartPath(part)));
      ABSL_RETURN_IF_ERROR(BuildStageFile::WriteRecord(PartRecordPath(part), {identity, end - begin, 0, mark}));
      trained->reset();
    }
    return Merge(trained.get());
  }

  // Builds an index of some rows after the other, each in a file that stays, as one cannot be put together of them.
  absl::Status AddInShards(int64_t shard_rows) {
    parts_ = (rows_.rows() + shard_rows - 1) / shard_rows;
    Checksum name;
    const std::string identity = Identity();
    name.Add(identity.data(), identity.size());
    const std::string base = std::filesystem::path(store_.path()).filename().string();
    for (int64_t part = 0; part < parts_; ++part) {
      const int64_t begin = part * shard_rows;
      const int64_t end = std::min(begin + shard_rows, rows_.rows());
      // The name is that of no other build, so an index that is there keeps its shards until it goes.
      IndexShard shard{
          .file = absl::StrCat(base, ".shard-", absl::Hex(name.Value(), absl::kZeroPad16), "-", begin, "-", end),
          .rows = end - begin};
      const std::string path = ShardPath(store_.path(), shard);
      const std::string of_rows = absl::StrCat(identity, " ", begin, " ", end);
      const std::optional<BuildStageFile::Record> kept = BuildStageFile::ReadRecord(PartRecordPath(part));
      if (kept.has_value() && kept->identity == of_rows && CheckFile(path, kept->mark).ok()) {
        shard.mark = kept->mark;
        resumed_ += shard.rows;
      } else {
        ABSL_RETURN_IF_ERROR(AddShard(begin, end));
        ABSL_ASSIGN_OR_RETURN(shard.mark, SaveFaissIndex(*index_, path));
        ABSL_RETURN_IF_ERROR(BuildStageFile::WriteRecord(PartRecordPath(part), {of_rows, shard.rows, 0, shard.mark}));
        Empty();
      }
      shards_.push_back(std::move(shard));
    }
    index_.reset();
    return absl::OkStatus();
  }

  // Takes the rows out of the index.
  void Empty() {
    index_->reset();
    static_cast<faiss::IndexIDMap2&>(*index_).rev_map.clear();  // which FAISS leaves as it is
  }

  absl::Status AddShard(int64_t begin, int64_t end) {
    ABSL_RETURN_IF_ERROR(Stopped(begin));
    added_ = begin;
    const auto ids = rows_.ids().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    // FAISS's own graphs draw levels, and a shard is the same whether those before it were built just now or not.
    if (auto* const hnsw = dynamic_cast<faiss::IndexHNSW*>(static_cast<faiss::IndexIDMap2&>(*index_).index)) {
      hnsw->hnsw.rng = faiss::RandomGenerator(static_cast<int64_t>(options_.seed));
    }
    std::stop_source stop;
    const auto look = [this, &stop, tell = TellAdded()](int64_t rows) {
      tell(rows);
      if (options_.stopped && options_.stopped()) stop.request_stop();
    };
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<GraphBuilder> graph, GraphOf(index_.get(), look, stop.get_token()));
    // All at once, so that nothing grows by more than it takes.
    if (graph != nullptr) return graph->Add(VectorsOf(begin, end - begin), ids);
    for (int64_t at = begin; at < end; at += StepRows()) {
      ABSL_RETURN_IF_ERROR(Stopped(at));
      added_ = at;
      const int64_t count = std::min(StepRows(), end - at);
      ABSL_RETURN_IF_ERROR(Add(index_.get(), VectorsOf(at, count),
                               ids.subspan(static_cast<size_t>(at - begin), static_cast<size_t>(count))));
    }
    return absl::OkStatus();
  }

  absl::Status Merge(faiss::Index* trained) {
    std::vector<FaissIndex> parts;
    for (int64_t part = 0; part < parts_; ++part) {
      ABSL_ASSIGN_OR_RETURN(FaissIndex mapped, LoadMappedFaissIndex(PartPath(part)));
      parts.push_back(std::move(mapped));
    }
    const auto merged = [this](int64_t done, int64_t total) {
      Tell(BuildStage::kMerge, rows_.rows() * done / total, rows_.rows());
    };
    ABSL_ASSIGN_OR_RETURN(merged_, MergeIvfParts(trained, parts, MergedPath(), merged));
    ABSL_ASSIGN_OR_RETURN(index_, LoadMappedFaissIndex(MergedPath()));
    description_.is_mapped = true;
    return absl::OkStatus();
  }

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
    Build build(path, options, recipe.factory, rows);
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
  Build build(path, options, options.spec.factory, rows);
  ABSL_RETURN_IF_ERROR(build.Make());
  return build.Publish();
}

absl::Status CheckTrainingRows(absl::string_view path, absl::string_view factory, int64_t rows) {
  const int64_t least = LeastTrainingRows(factory);
  if (rows >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": expected at least ", least, " rows to train ", factory, ", got ", rows,
      "; use factory=IVF,Flat, which chooses the number of lists, or factory=HNSW32, which needs no training"));
}

int64_t RowsPerAdd(int dim) { return std::clamp<int64_t>((int64_t{64} << 20) / (int64_t{4} * dim), 1, 4096); }

namespace {

// A rotation is trained with a product quantizer of its own, which warns on standard error of few rows: too few were
// refused before. Lends it one that does not while this lives.
class QuietRotations {
 public:
  explicit QuietRotations(faiss::Index* index) {
    if (auto* const with_ids = dynamic_cast<faiss::IndexIDMap*>(index)) index = with_ids->index;
    auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(index);
    if (transformed == nullptr) return;
    for (faiss::VectorTransform* const one : transformed->chain) {
      auto* const rotation = dynamic_cast<faiss::OPQMatrix*>(one);
      if (rotation == nullptr || rotation->pq != nullptr) continue;
      constexpr size_t kBitsOfFaiss = 8;
      quantizers_.push_back(
          std::make_unique<faiss::ProductQuantizer>(rotation->d_out, static_cast<size_t>(rotation->M), kBitsOfFaiss));
      quantizers_.back()->cp.min_points_per_centroid = 1;
      rotation->pq = quantizers_.back().get();
      rotations_.push_back(rotation);
    }
  }
  QuietRotations(const QuietRotations&) = delete;
  QuietRotations& operator=(const QuietRotations&) = delete;
  ~QuietRotations() {
    for (faiss::OPQMatrix* const rotation : rotations_) rotation->pq = nullptr;
  }

 private:
  std::vector<std::unique_ptr<faiss::ProductQuantizer>> quantizers_;
  std::vector<faiss::OPQMatrix*> rotations_;
};

}  // namespace

absl::Status TrainIndex(absl::string_view path, absl::string_view factory, absl::Span<const float> rows,
                        faiss::Index* index) {
  const int64_t count = static_cast<int64_t>(rows.size()) / index->d;
  if (const absl::Status enough = CheckTrainingRows(path, factory, count); !enough.ok()) {
    return absl::FailedPreconditionError(enough.message());
  }
  return CallFaiss(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(path, ": cannot train ", factory, " on ", Counted(count, "row", "rows")), [&] {
                     const QuietRotations quiet(index);
                     index->train(count, rows.data());
                   });
}

}  // namespace reembed
