// SPDX-License-Identifier: Apache-2.0
#include "io/system/memu_sink.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/rollback.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/file/vectors_json.h"
#include "io/file/vectors_json_rewrite.h"
#include "io/job/job_lock.h"
#include "io/store/vector_encoding.h"
#include "io/system/memu_rows.h"

namespace reembed {
namespace {

constexpr absl::string_view kMade = "made";
constexpr absl::string_view kFileNote = "file";
constexpr absl::string_view kCollectionNote = "collection";

// The lock beside the file of vectors, which keeps other runs away. Its file goes with it.
class FileLock {
 public:
  static absl::StatusOr<std::unique_ptr<FileLock>> Acquire(const std::string& vectors) {
    const std::string path = absl::StrCat(vectors, ".lock");
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<JobLock> lock, JobLock::Acquire(path));
    return std::make_unique<FileLock>(path, std::move(lock));
  }
  FileLock(std::string path, std::unique_ptr<JobLock> lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { unlink(path_.c_str()); }

 private:
  const std::string path_;
  const std::unique_ptr<JobLock> lock_;
};

// Whether JSON numbers are this vector, to the bit. `scratch` is a buffer.
bool HasNumbers(absl::string_view json, absl::Span<const float> vector, std::vector<float>* scratch) {
  scratch->resize(vector.size());
  return DecodeVector(VectorEncoding::kJsonPython, json, absl::MakeSpan(*scratch)) &&
         std::memcmp(scratch->data(), vector.data(), vector.size() * sizeof(float)) == 0;
}

class MemuRowWriter final : public RowWriter {
 public:
  MemuRowWriter(Location location, Location source, MemuLocation asked, Model model)
      : location_(std::move(location)),
        source_(std::move(source)),
        asked_(std::move(asked)),
        model_(std::move(model)),
        makes_file_(access(asked_.vectors.c_str(), F_OK) != 0) {}

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition&) override {
    undo_ = context.undo;
    ABSL_ASSIGN_OR_RETURN(lock_, FileLock::Acquire(asked_.vectors));
    ABSL_ASSIGN_OR_RETURN(rows_, MemuRows::Open(source_, {.dim = model_.dim}));
    ABSL_ASSIGN_OR_RETURN(rewrite_, VectorsJsonRewrite::Begin(asked_.vectors, asked_.collection));
    return 0;
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    for (RowToWrite* const row : rows) {
      ABSL_RETURN_IF_ERROR(WriteRow(row));
    }
    return absl::OkStatus();
  }

  absl::Status Complete() override {
    absl::Status status;
    if (!rewrite_->empty()) {
      // All that is overwritten is overwritten now.
      status = KeepOldEntries();
      if (status.ok()) status = rewrite_->Commit(rows_->vectors(), {.dim = model_.dim});
    }
    rewrite_.reset();
    rows_.reset();
    lock_.reset();
    return status;
  }

 private:
  bool IsThere(const MemuRow& row, absl::Span<const float> vector) {
    return row.owned && row.entry->dim == static_cast<int64_t>(vector.size()) &&
           HasNumbers(row.entry->vector, vector, &stored_);
  }

  absl::Status KeepOldEntries() {
    if (undo_ == nullptr) return absl::OkStatus();
    const VectorsJson::Collection* const old = rows_->vectors().Find(asked_.collection);
    absl::Status status = makes_file_ ? undo_->LogNote(kFileNote, kMade) : absl::OkStatus();
    if (status.ok() && old == nullptr) status = undo_->LogNote(kCollectionNote, kMade);
    ABSL_RETURN_IF_ERROR(status);
    auto row = written_.begin();
    return undo_->Log([&]() -> absl::StatusOr<std::optional<OldRow>> {
      if (row == written_.end()) return std::nullopt;
      OldRow kept{.ordinal = row->second, .key = absl::string_view(row->first)};
      const VectorsJson::Entry* const entry = old == nullptr ? nullptr : old->Find(row->first);
      if (entry != nullptr) kept.content = entry->value;
      ++row;
      return kept;
    });
  }

  absl::Status WriteRow(RowToWrite* to_write) {
    const BatchRow& batch_row = *to_write->row;
    ABSL_ASSIGN_OR_RETURN(const std::optional<MemuRow> found, rows_->Find(batch_row.key));
    if (!found.has_value()) {
      to_write->SetGone(absl::StrCat("is gone from ", asked_.rows.path));
      return absl::OkStatus();
    }
    const MemuRow& row = *found;
    const absl::Span<const float> vector(batch_row.vector, static_cast<size_t>(model_.dim));
    text_.clear();
    // What a resource's entry says is the only place of its caption, so it stays as it is.
    const bool keep_text = asked_.collection == "resources" && row.entry != nullptr && !row.entry->text.empty() &&
                           row.entry->text != "null";
    if (keep_text) {
      text_ = std::string(row.entry->text);
    } else if (row.text.has_value()) {
      AppendAsciiJsonString(*row.text, &text_);
    } else {
      text_ = "null";
    }
    entry_.clear();
    AppendVectorsJsonEntry(row.user_id, row.agent_id, vector, text_, &entry_);
    // Printing is quicker than reading, so bytes are compared first.
    if (row.entry != nullptr && (row.entry->value == entry_ || IsThere(row, vector))) return absl::OkStatus();
    const std::string id = KeyText(batch_row.key);
    written_[id] = batch_row.ordinal;
    return rewrite_->Put(id, entry_);
  }

  const Location location_, source_;
  const MemuLocation asked_;
  const Model model_;
  const bool makes_file_;
  UndoLog* undo_ = nullptr;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<MemuRows> rows_;
  std::unique_ptr<VectorsJsonRewrite> rewrite_;
  absl::flat_hash_map<std::string, int64_t> written_;  // id -> ordinal
  std::vector<float> stored_;
  std::string text_, entry_;
};

class MemuReader final : public VectorReader {
 public:
  MemuReader(std::unique_ptr<VectorsJson> file, const VectorsJson::Collection* collection, std::string path, int dim)
      : file_(std::move(file)), collection_(collection), path_(std::move(path)), dim_(dim), vector_(dim) {
    for (const auto& [id, place] : collection_->by_id) ids_.emplace_back(place, &id);
    std::sort(ids_.begin(), ids_.end());
  }

  int dim() const override { return dim_; }

  int64_t rows() const override {
    return std::count_if(collection_->entries.begin(), collection_->entries.end(),
                         [](const VectorsJson::Entry& entry) { return entry.dim != 0; });
  }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    while (next_ < ids_.size() && collection_->entries[ids_[next_].first].dim == 0) ++next_;
    if (next_ == ids_.size()) return std::nullopt;
    const size_t at = next_++;
    return Read(*ids_[at].second, collection_->entries[ids_[at].first]);
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const auto found = collection_->by_id.find(KeyText(key));
    if (found == collection_->by_id.end()) return std::nullopt;
    const auto place = std::lower_bound(ids_.begin(), ids_.end(), std::pair(found->second, &found->first),
                                        [](const auto& a, const auto& b) { return a.first < b.first; });
    next_ = static_cast<size_t>(place - ids_.begin()) + 1;
    const VectorsJson::Entry& entry = collection_->entries[found->second];
    if (entry.dim == 0) return std::nullopt;
    return Read(found->first, entry);
  }

 private:
  absl::StatusOr<std::optional<StoredVector>> Read(const std::string& id, const VectorsJson::Entry& entry) {
    if (!DecodeVector(VectorEncoding::kJsonPython, entry.vector, absl::MakeSpan(vector_))) {
      return absl::DataLossError(absl::StrCat(path_, ": ", collection_->name, ": row ", id, ": expected a vector of ",
                                              dim_, " numbers, got ",
                                              entry.dim < 0 ? "none" : absl::StrCat(entry.dim)));
    }
    return StoredVector{.key = absl::string_view(id), .vector = vector_};
  }

  const std::unique_ptr<VectorsJson> file_;
  const VectorsJson::Collection* const collection_;
  const std::string path_;
  const int dim_;
  std::vector<float> vector_;
  std::vector<std::pair<size_t, const std::string*>> ids_;  // place in the file, id
  size_t next_ = 0;
};

// The entries of one collection. Nothing of the file changes before TakeAway(), which writes it anew.
class MemuEntries final : public RowTable {
 public:
  // Both are borrowed.
  MemuEntries(const MemuLocation& asked, const VectorsJson* file, VectorsJsonRewrite* rewrite)
      : file_(file), collection_(file->Find(asked.collection)), rewrite_(rewrite) {}

  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      const VectorsJson::Entry* const entry =
          collection_ == nullptr ? nullptr : collection_->Find(KeyText(rows[i].key));
      now[i].was_there = rows[i].content.has_value();
      now[i].there = entry != nullptr;
      if (entry == nullptr) continue;
      now[i].content = std::string(entry->value);
      if (entry->dim > 0) now[i].vector = std::string(entry->vector);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return HasNumbers(now.vector, written, &scratch_);
  }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome>) override {
    for (const RowChange& change : changes) {
      if (change.content.has_value()) {
        ABSL_RETURN_IF_ERROR(rewrite_->Put(KeyText(change.key), *change.content));
      } else {
        rewrite_->Remove(KeyText(change.key));
      }
    }
    return absl::OkStatus();
  }

  absl::Status TakeAway(UndoReader* log, RollbackReport*) override {
    if (rewrite_->empty()) return absl::OkStatus();
    ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> made_file, log->FindNote(kFileNote));
    ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> made_collection, log->FindNote(kCollectionNote));
    return rewrite_->Commit(
        *file_, {.drops_empty_collection = made_collection.has_value(), .drops_empty_file = made_file.has_value()});
  }

 private:
  const VectorsJson* const file_;
  const VectorsJson::Collection* const collection_;
  VectorsJsonRewrite* const rewrite_;
  std::vector<float> scratch_;
};

}  // namespace

absl::StatusOr<RollbackReport> RollBackMemu(const Location& location, UndoReader* old_rows) {
  ABSL_ASSIGN_OR_RETURN(const MemuLocation asked, ParseMemuLocation(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<FileLock> lock, FileLock::Acquire(asked.vectors));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorsJson> file, VectorsJson::Open(asked.vectors));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorsJsonRewrite> rewrite,
                        VectorsJsonRewrite::Begin(asked.vectors, asked.collection));
  MemuEntries entries(asked, file.get(), rewrite.get());
  return RollBackRows(asked.vectors, &entries, old_rows);
}

absl::StatusOr<std::unique_ptr<VectorSink>> MakeMemuSink(const Location& location, const Model& model,
                                                         const Location& source) {
  ABSL_ASSIGN_OR_RETURN(MemuLocation asked, ParseMemuLocation(location));
  if (source.scheme != "memu") {
    return absl::InvalidArgumentError(absl::StrCat(location.ToString(),
                                                   ": takes the rows of MemU only, since an entry names its owner; use "
                                                   "the memory system memu"));
  }
  const std::string place = absl::StrCat(asked.vectors, ": collection `", asked.collection, "`");
  return MakeTableSink(place, model.dim, std::make_unique<MemuRowWriter>(location, source, std::move(asked), model));
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenMemuReader(const Location& location, int dim) {
  ABSL_ASSIGN_OR_RETURN(const MemuLocation asked, ParseMemuLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorsJson> file, VectorsJson::Open(asked.vectors));
  const VectorsJson::Collection* const collection = file->Find(asked.collection);
  if (collection != nullptr && dim == 0) {
    for (const VectorsJson::Entry& entry : collection->entries) {
      if (dim == 0 && entry.dim > 0) dim = static_cast<int>(entry.dim);
    }
  }
  if (collection == nullptr || dim == 0) {
    return absl::NotFoundError(
        absl::StrCat(asked.vectors, ": no vector in the collection ", asked.collection, "; run the job first"));
  }
  return std::make_unique<MemuReader>(std::move(file), collection, asked.vectors, dim);
}

}  // namespace reembed
