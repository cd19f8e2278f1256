// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_sink.h"

#include <faiss/IndexIDMap.h>
#include <omp.h>
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
#include "index/faiss_io.h"
#include "index/graph_build.h"
#include "index/index_build.h"
#include "index/index_files.h"
#include "index/index_spec.h"
#include "index/index_store.h"

namespace reembed {
namespace {

class FaissSink final : public VectorSink {
 public:
  FaissSink(IndexStore store, IndexSpec spec, const Model& model, const FaissSinkOptions& options, bool needs_training)
      : store_(std::move(store)),
        spec_(std::move(spec)),
        options_(options),
        needs_training_(needs_training),
        rows_per_add_(RowsPerAdd(model.dim)) {
    fresh_.model = model;
    fresh_.metric = spec_.metric;
    fresh_.asked_factory = spec_.factory;
    fresh_.faiss_version = FaissVersion();
    fresh_.source = options.source;
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
  absl::Status Train();
  int64_t TrainingTarget() const;

  const IndexStore store_;
  const IndexSpec spec_;
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
  int64_t wanted_rows_ = 0;  // to have staged before they are added
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
  wanted_rows_ = needs_training_ ? TrainingTarget() : rows_per_add_;
  store_.RemovePartialFiles();
  const std::optional<int64_t> outdated = OutdatedRows(last);
  if (outdated.has_value() || last.stored_rows == 0) {
    // One without rows is not worth keeping, either.
    const absl::StatusOr<IndexDescription> there = store_.CheckFinished();
    replaces_own_ = there.ok() && there->rows == outdated.value_or(0);
    return 0;
  }
  const absl::StatusOr<IndexDescription> found = store_.CheckFinished();
  if (!found.ok() || found->rows != last.stored_rows || found->asked_factory != spec_.factory ||
      found->metric != spec_.metric) {
    return 0;
  }
  continues_ = true;
  description_ = *found;
  description_.source = fresh_.source;
  last_ordinal_ = last.position - 1;
  return last.position;
}

// Rows to hold back for training. When they are there the index is made.
int64_t FaissSink::TrainingTarget() const {
  const int64_t memory_rows = options_.max_training_bytes / (int64_t{4} * dim());
  const int64_t expected = expected_rows_ > 0 ? expected_rows_ : std::numeric_limits<int64_t>::max();
  int64_t wanted = spec_.train_rows;
  if (wanted == 0) {
    wanted = IsFactoryOpen(spec_.factory) && expected_rows_ == 0
                 ? memory_rows
                 : TrainingRows(ResolveFactory(spec_.factory, expected_rows_, memory_rows));
  }
  const int64_t least = std::max<int64_t>(ListCount(spec_.factory), 1);
  return std::max(std::min({wanted, memory_rows, expected}), least);
}

absl::Status FaissSink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
  if (continues_ && index_ == nullptr) {
    ABSL_RETURN_IF_ERROR(LoadFinished());
  }
  for (const Batch* const batch : batches) {
    ABSL_RETURN_IF_ERROR(CheckWidth(store_.path(), dim(), batch->dim()));
    for (const BatchRow& row : batch->rows()) {
      if (row.vector == nullptr) continue;
      ABSL_RETURN_IF_ERROR(Stage(row, refused));
      if (static_cast<int64_t>(staged_ids_.size()) < wanted_rows_) continue;
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
  if (index_->is_trained) wanted_rows_ = rows_per_add_;
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
  if (id_kind_ == IdKind::kOrdinal) {
    KeyTable::AppendLine(*id, std::get<absl::string_view>(row.key), &key_lines_);
  } else if (!ids_.insert(*id).second) {
    refused->push_back({row.ordinal, absl::AlreadyExistsError(absl::StrCat(
                                         Prefix(row.key), "an earlier row has this key; keys must be unique"))});
    return absl::OkStatus();
  }
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
  // OpenMP keeps this setting per calling thread.
  omp_set_num_threads(options_.threads > 0 ? options_.threads : omp_get_num_procs());
  if (index_ == nullptr) {
    ABSL_RETURN_IF_ERROR(MakeIndex());
  }
  if (!index_->is_trained && !staged_ids_.empty()) {
    ABSL_RETURN_IF_ERROR(Train());
  }
  const absl::Status status = staged_ids_.empty() ? absl::OkStatus() : AddRows();
  if (wanted_rows_ > rows_per_add_) staged_.shrink_to_fit();
  staged_.clear();
  staged_ids_.clear();
  wanted_rows_ = rows_per_add_;
  return status;
}

absl::Status FaissSink::AddRows() {
  if (graph_ == nullptr && GraphBuilder::CanBuild(*index_)) {
    ABSL_ASSIGN_OR_RETURN(graph_, GraphBuilder::Make(index_.get(), {.threads = options_.threads}));
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

absl::Status FaissSink::Train() {
  description_.trained_rows = static_cast<int64_t>(staged_ids_.size());
  return TrainIndex(store_.path(), description_.factory, staged_, index_.get());
}

absl::Status FaissSink::Complete() {
  if (continues_ && index_ == nullptr) return absl::OkStatus();  // nothing new came
  ABSL_RETURN_IF_ERROR(AddStaged());
  description_.rows = index_->ntotal;
  description_.id_kind = id_kind_.value_or(IdKind::kKey);
  return store_.Replace(*index_, key_lines_, description_,
                        continues_ || replaces_own_ ? IndexStore::Old::kContinued : IndexStore::Old::kSave);
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

absl::StatusOr<std::unique_ptr<VectorSink>> MakeFaissSink(const Location& location, const Model& model,
                                                          const FaissSinkOptions& options) {
  if (model.dim < 1) return absl::InternalError(absl::StrCat(location.path, ": a model of dim ", model.dim));
  ABSL_ASSIGN_OR_RETURN(IndexSpec spec, ParseIndexSpec(location));
  // One list stands for any number: only the form of the factory is tried here.
  const absl::StatusOr<FaissIndex> probe = MakeFaissIndex(spec, ResolveFactory(spec.factory, 1, 1), model.dim);
  if (!probe.ok()) {
    return absl::Status(probe.status().code(), absl::StrCat(location.path, ": ", probe.status().message()));
  }
  IndexStore store(location.path);
  ABSL_RETURN_IF_ERROR(store.CheckReplaceable(model));
  return std::make_unique<FaissSink>(std::move(store), std::move(spec), model, options, !(*probe)->is_trained);
}

}  // namespace reembed
