// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_sink.h"

#include <faiss/IndexIDMap.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"
#include "index/build_stage_file.h"
#include "index/faiss_io.h"
#include "index/graph_build.h"
#include "index/index_build.h"
#include "index/index_files.h"
#include "index/index_spec.h"
#include "index/index_store.h"
#include "index/index_training.h"
#include "index/row_set.h"
#include "index/thread_count.h"

namespace reembed {
namespace {

// How graphs are linked.
struct GraphWish {
  GraphSimd simd = GraphSimd::kAuto;
  GraphStorage storage = GraphStorage::kAuto;
  bool deterministic = false;
};

absl::StatusOr<GraphWish> ParseGraphWish(const Location& location) {
  const auto here = [&location](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(location.path, ": ", status.message()));
  };
  const absl::StatusOr<GraphSimd> simd = ParseGraphSimd(location.Get("simd", "auto"));
  if (!simd.ok()) return here(simd.status());
  const absl::StatusOr<GraphStorage> storage = ParseGraphStorage(location.Get("storage", "auto"));
  if (!storage.ok()) return here(storage.status());
  const std::string deterministic = location.Get("deterministic", "false");
  if (deterministic != "true" && deterministic != "false") {
    return absl::InvalidArgumentError(
        absl::StrCat(location.path, ": expected deterministic=true or false, got `", deterministic, "`"));
  }
  const GraphWish wish{*simd, *storage, deterministic == "true"};
  const absl::StatusOr<GraphKernelChoice> choice =
      ChooseGraphKernel({.simd = wish.simd, .storage = wish.storage, .deterministic = wish.deterministic});
  if (!choice.ok()) return here(choice.status());
  return wish;
}

class FaissSink final : public VectorSink {
 public:
  FaissSink(IndexStore store, IndexSpec spec, const GraphWish& wish, const Model& model,
            const FaissSinkOptions& options, bool needs_training)
      : store_(std::move(store)),
        spec_(std::move(spec)),
        wish_(wish),
        options_(options),
        needs_training_(needs_training),
        rows_per_add_(RowsPerAdd(model.dim)) {
    fresh_.model = model;
    fresh_.metric = spec_.metric;
    fresh_.asked_factory = spec_.factory;
    fresh_.faiss_version = FaissVersion();
    fresh_.source = options.source;
    fresh_.seed = static_cast<int64_t>(spec_.seed);
    fresh_.ef_construction = spec_.ef_construction;
  }

  RowOrder row_order() const override { return RowOrder::kAscending; }
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override;
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override;
  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Complete() override;

 private:
  int dim() const { return fresh_.model.dim; }
  std::string Prefix(KeyView key) const { return absl::StrCat(store_.path(), ": row ", KeyText(key), ": "); }
  absl::Status LoadFinished();
  absl::Status Stage(const BatchRow& row, std::vector<RefusedRow>* refused);
  absl::StatusOr<int64_t> IdOf(const BatchRow& row);
  absl::Status AddStaged();
  absl::Status AddRows();
  absl::Status MakeIndex();
  IndexStore::Old old() const {
    return continues_ || replaces_own_ ? IndexStore::Old::kContinued : IndexStore::Old::kSave;
  }
  absl::Status BuildOf(const RowSet& rows) const;

  const IndexStore store_;
  const IndexSpec spec_;
  const GraphWish wish_;
  const FaissSinkOptions options_;
  const bool needs_training_;
  const int64_t rows_per_add_;
  IndexDescription fresh_;  // of an index without rows

  int64_t expected_rows_ = 0;
  int64_t last_ordinal_ = -1;
  bool continues_ = false;               // the finished index at PATH
  bool replaces_own_ = false;            // the finished index at PATH is the outdated one of this job, or has no rows
  FaissIndex index_;                     // null until there is something to add
  std::unique_ptr<GraphBuilder> graph_;  // adds to index_, if that is a graph that it can build
  IndexDescription description_;         // of index_
  std::optional<IdKind> id_kind_;
  absl::flat_hash_set<int64_t> ids_;  // that are keys
  std::string key_lines_;
  std::unique_ptr<RowSet::Writer> spool_;  // all rows, where the index is built of them in Complete()
  std::vector<float> staged_;
  std::vector<int64_t> staged_ids_;
};

absl::StatusOr<int64_t> FaissSink::Open(const SinkContext& context, const SinkPosition& last) {
  if (context.model.name != fresh_.model.name || context.model.dim != dim()) {
    return absl::FailedPreconditionError(absl::StrCat(store_.path(), ": made for model ", fresh_.model.name, " of dim ",
                                                      dim(), ", opened for ", context.model.name, " of dim ",
                                                      context.model.dim));
  }
  expected_rows_ = context.expected_rows;
  description_ = fresh_;
  store_.RemovePartialFiles();
  const std::optional<int64_t> outdated = OutdatedRows(last);
  if (outdated.has_value() || last.stored_rows == 0) {
    // One without rows is not worth keeping, either.
    const absl::StatusOr<IndexDescription> there = store_.CheckFinished();
    replaces_own_ = there.ok() && there->rows == outdated.value_or(0);
    return 0;
  }
  const absl::StatusOr<IndexDescription> found = store_.CheckFinished();
  // Rows are added to one file, in memory.
  const bool grows = found.ok() && found->shards == 0 && !found->is_mapped;
  if (!grows || found->rows != last.stored_rows || found->asked_factory != spec_.factory ||
      found->metric != spec_.metric) {
    return 0;
  }
  continues_ = true;
  description_ = *found;
  description_.source = fresh_.source;
  last_ordinal_ = last.position - 1;
  return last.position;
}

absl::Status FaissSink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
  if (continues_ && index_ == nullptr) {
    ABSL_RETURN_IF_ERROR(LoadFinished());
  }
  if (needs_training_ && index_ == nullptr && spool_ == nullptr) {
    ABSL_ASSIGN_OR_RETURN(spool_, RowSet::Writer::Make(dim(), spec_.metric, absl::StrCat(store_.path(), ".partial")));
  }
  for (const Batch* const batch : batches) {
    ABSL_RETURN_IF_ERROR(CheckWidth(store_.path(), dim(), batch->dim()));
    for (const BatchRow& row : batch->rows()) {
      if (row.vector == nullptr) continue;
      ABSL_RETURN_IF_ERROR(Stage(row, refused));
      if (static_cast<int64_t>(staged_ids_.size()) < rows_per_add_) continue;
      ABSL_RETURN_IF_ERROR(AddStaged());
    }
  }
  return absl::OkStatus();
}

absl::Status FaissSink::LoadFinished() {
  ABSL_ASSIGN_OR_RETURN(index_, store_.Load(description_));
  if (description_.rows > 0) id_kind_ = description_.id_kind;
  if (description_.id_kind == IdKind::kKey) {
    const auto& ids = static_cast<const faiss::IndexIDMap2&>(*index_).id_map;
    ids_.insert(ids.begin(), ids.end());
  } else {
    ABSL_ASSIGN_OR_RETURN(key_lines_, store_.LoadKeyLines(description_));
  }
  return absl::OkStatus();
}

// Takes a row's vector and id, or refuses it.
absl::Status FaissSink::Stage(const BatchRow& row, std::vector<RefusedRow>* refused) {
  if (row.ordinal <= last_ordinal_) {
    return absl::InternalError(absl::StrCat(Prefix(row.key), "ordinal ", row.ordinal, " came after ", last_ordinal_));
  }
  last_ordinal_ = row.ordinal;
  const absl::Span<const float> vector(row.vector, dim());
  const VectorFault fault = CheckVector(vector);
  if (fault == VectorFault::kNotFinite || (fault == VectorFault::kAllZero && spec_.metric == Metric::kCosine)) {
    refused->push_back({row.ordinal, absl::InvalidArgumentError(absl::StrCat(
                                         Prefix(row.key), "expected a vector with a direction, got ",
                                         fault == VectorFault::kAllZero ? "only zeros" : "a number that is not finite",
                                         "; an index with metric=cosine cannot hold it"))});
    return absl::OkStatus();
  }
  const absl::StatusOr<int64_t> id = IdOf(row);
  if (!id.ok()) {
    refused->push_back({row.ordinal, id.status()});
    return absl::OkStatus();
  }
  if (id_kind_ == IdKind::kKey && !ids_.insert(*id).second) {
    refused->push_back({row.ordinal, absl::AlreadyExistsError(absl::StrCat(
                                         Prefix(row.key), "an earlier row has this key; keys must be unique"))});
    return absl::OkStatus();
  }
  if (spool_ != nullptr) return spool_->Add(row.key, *id, vector);
  if (id_kind_ == IdKind::kOrdinal) KeyTable::AppendLine(*id, std::get<absl::string_view>(row.key), &key_lines_);
  staged_.insert(staged_.end(), vector.begin(), vector.end());
  staged_ids_.push_back(*id);
  if (spec_.metric != Metric::kCosine) return absl::OkStatus();
  return NormalizeRows(absl::MakeSpan(staged_).last(dim()), dim());
}

absl::StatusOr<int64_t> FaissSink::IdOf(const BatchRow& row) {
  const auto* const number = std::get_if<int64_t>(&row.key);
  // Before it decides for all: a key that no index holds says nothing of the others.
  if (number != nullptr) {
    ABSL_RETURN_IF_ERROR(CheckFaissKey(Location{.scheme = "faiss", .path = store_.path()}, row.key));
  }
  const IdKind kind = number != nullptr ? IdKind::kKey : IdKind::kOrdinal;
  if (!id_kind_.has_value()) id_kind_ = kind;
  if (kind != *id_kind_) {
    return absl::InvalidArgumentError(absl::StrCat(Prefix(row.key),
                                                   kind == IdKind::kKey
                                                       ? "expected text as a key, like the rows before, got an integer"
                                                       : "expected an integer as a key, like the rows before, got text",
                                                   "; choose a key column whose values are all of one kind"));
  }
  if (number == nullptr) return row.ordinal;
  return *number;
}

absl::Status FaissSink::AddStaged() {
  SetLibraryThreads(ThreadCount(options_.threads));
  if (index_ == nullptr) {
    ABSL_RETURN_IF_ERROR(MakeIndex());
  }
  absl::Status status = staged_ids_.empty() ? absl::OkStatus() : AddRows();
  staged_.clear();
  staged_ids_.clear();
  return status;
}

absl::Status FaissSink::AddRows() {
  if (graph_ == nullptr && GraphBuilder::CanBuild(*index_)) {
    ABSL_ASSIGN_OR_RETURN(graph_, GraphBuilder::Make(index_.get(), {.threads = options_.threads,
                                                                    .simd = wish_.simd,
                                                                    .storage = wish_.storage,
                                                                    .deterministic = wish_.deterministic,
                                                                    .seed = spec_.seed}));
  }
  const std::string what = absl::StrCat(store_.path(), ": cannot add rows");
  if (graph_ == nullptr) {
    return CallFaiss(absl::StatusCode::kInternal, what, [&] {
      index_->add_with_ids(static_cast<int64_t>(staged_ids_.size()), staged_.data(), staged_ids_.data());
    });
  }
  const absl::Status status = graph_->Add(staged_, staged_ids_);
  return status.ok() ? status : absl::Status(status.code(), absl::StrCat(what, ": ", status.message()));
}

absl::Status FaissSink::MakeIndex() {
  const auto rows = static_cast<int64_t>(staged_ids_.size());
  description_.factory = ResolveFactory(spec_.factory, std::max(expected_rows_, rows), rows);
  ABSL_ASSIGN_OR_RETURN(index_, MakeFaissIndex(spec_, description_.factory, dim()));
  return absl::OkStatus();
}

absl::Status FaissSink::BuildOf(const RowSet& rows) const {
  int64_t most = std::max<int64_t>(options_.max_training_bytes / (int64_t{4} * dim()), 1);
  if (spec_.train_rows > 0) most = std::min(most, spec_.train_rows);
  IndexBuildOptions options{.spec = spec_,
                            .model = fresh_.model,
                            .source = fresh_.source,
                            .threads = options_.threads,
                            .simd = wish_.simd,
                            .storage = wish_.storage,
                            .deterministic = wish_.deterministic,
                            .most_training_rows = most,
                            .keeps_previous = old() == IndexStore::Old::kSave};
  if (spec_.seed != 0) options.seed = spec_.seed;
  absl::Status status = BuildIndexOf(rows, store_.path(), options).status();
  // The place is as it was asked for: it is the rows that do not suffice.
  if (!absl::IsInvalidArgument(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

absl::Status FaissSink::Complete() {
  if (continues_ && index_ == nullptr) return absl::OkStatus();  // nothing new came
  if (spool_ != nullptr && spool_->rows() > 0) {
    ABSL_ASSIGN_OR_RETURN(const RowSet rows, spool_->Finish());
    return BuildOf(rows);
  }
  ABSL_RETURN_IF_ERROR(AddStaged());
  description_.rows = index_->ntotal;
  description_.id_kind = id_kind_.value_or(IdKind::kKey);
  ABSL_RETURN_IF_ERROR(store_.Replace(*index_, key_lines_, description_, old()));
  // Of a build that had another factory, and was killed.
  BuildStageFile(store_.path(), "").Remove();
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFaissKey(const Location& location, KeyView key) {
  const auto* const number = std::get_if<int64_t>(&key);
  if (number == nullptr || *number >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(location.path, ": row ", KeyText(key),
                   ": expected a key of at least 0, because FAISS marks missing results with -1; choose another key "
                   "column, or one of texts"));
}

absl::Status CheckFaissRows(const Location& location, int64_t rows) {
  ABSL_ASSIGN_OR_RETURN(const IndexSpec spec, ParseIndexSpec(location));
  return rows == 0 ? absl::OkStatus()
                   : CheckTrainingRows(location.path, ResolveFactory(spec.factory, rows, rows), rows);
}

int64_t FaissScratchBytes(const Location& location, int64_t rows, int dim) {
  const absl::StatusOr<IndexSpec> spec = ParseIndexSpec(location);
  if (!spec.ok() || dim < 1) return 0;
  const absl::StatusOr<FaissIndex> probe = MakeFaissIndex(*spec, ResolveFactory(spec->factory, 1, 1), dim);
  return probe.ok() && !(*probe)->is_trained ? rows * dim * 4 : 0;
}

absl::StatusOr<std::unique_ptr<VectorSink>> MakeFaissSink(const Location& location, const Model& model,
                                                          const FaissSinkOptions& options) {
  if (model.dim < 1) return absl::InternalError(absl::StrCat(location.path, ": a model of dim ", model.dim));
  ABSL_ASSIGN_OR_RETURN(IndexSpec spec, ParseIndexSpec(location));
  // One list stands for any number: only the form of the factory is tried here.
  const absl::StatusOr<FaissIndex> probe = MakeFaissIndex(spec, ResolveFactory(spec.factory, 1, 1), model.dim);
  if (!probe.ok()) {
    return absl::Status(probe.status().code(), absl::StrCat(location.path, ": ", probe.status().message()));
  }
  ABSL_ASSIGN_OR_RETURN(const GraphWish wish, ParseGraphWish(location));
  IndexStore store(location.path);
  ABSL_RETURN_IF_ERROR(store.CheckReplaceable(model));
  return std::make_unique<FaissSink>(std::move(store), std::move(spec), wish, model, options, !(*probe)->is_trained);
}

}  // namespace reembed
