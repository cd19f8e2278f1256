#include "io/store/memu_sink.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/json_text.h"
#include "io/file/file.h"
#include "io/file/vectors_json.h"
#include "io/job/job_lock.h"
#include "io/store/memu_rows.h"
#include "io/store/vector_encoding.h"

namespace reembed {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

// A file written from its beginning to its end.
class Output {
 public:
  explicit Output(File file) : file_(std::move(file)) {}

  int64_t size() const { return written_ + static_cast<int64_t>(buffer_.size()); }

  absl::Status Append(absl::string_view bytes) {
    if (bytes.size() < kBufferBytes) {
      buffer_.append(bytes.data(), bytes.size());
      return buffer_.size() < kBufferBytes ? absl::OkStatus() : Drain();
    }
    if (absl::Status drained = Drain(); !drained.ok()) return drained;
    absl::Status status = file_.WriteAt(written_, bytes);
    written_ += static_cast<int64_t>(bytes.size());
    return status;
  }

  absl::Status Drain() {
    absl::Status status = file_.WriteAt(written_, buffer_);
    written_ += static_cast<int64_t>(buffer_.size());
    buffer_.clear();
    return status;
  }

  const File& file() const { return file_; }

 private:
  File file_;
  int64_t written_ = 0;
  std::string buffer_;
};

class MemuSink final : public VectorSink {
 public:
  MemuSink(Location location, Location source, MemuLocation asked, Model model)
      : location_(std::move(location)),
        source_(std::move(source)),
        asked_(std::move(asked)),
        model_(std::move(model)) {}

  ~MemuSink() override {
    if (lock_ != nullptr) unlink(LockPath().c_str());
  }

  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition&) override {
    if (context.model.dim != model_.dim) {
      return absl::FailedPreconditionError(
          absl::StrCat(asked_.vectors, ": expected vectors of ", model_.dim, " numbers, got ", context.model.dim));
    }
    absl::StatusOr<std::unique_ptr<JobLock>> lock = JobLock::Acquire(LockPath());
    if (!lock.ok()) return lock.status();
    lock_ = *std::move(lock);
    absl::StatusOr<std::unique_ptr<MemuRows>> rows = MemuRows::Open(source_, {.dim = model_.dim});
    if (!rows.ok()) return rows.status();
    rows_ = *std::move(rows);
    absl::StatusOr<File> file = File::OpenToWrite(PartialPath());
    if (!file.ok()) return file.status();
    if (absl::Status emptied = file->Truncate(0); !emptied.ok()) return emptied;
    partial_ = std::make_unique<Output>(*std::move(file));
    return 0;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    for (const Batch* const batch : batches) {
      if (batch->dim() != model_.dim) return absl::InternalError("a batch of another width");
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        if (absl::Status status = WriteRow(row, refused); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override { return absl::OkStatus(); }

  absl::Status Finish() override {
    absl::Status status = places_.empty() ? absl::OkStatus() : Replace();
    partial_.reset();
    unlink(PartialPath().c_str());
    rows_.reset();
    unlink(LockPath().c_str());
    lock_.reset();
    return status;
  }

 private:
  // Where a new entry is in the partial file.
  struct Place {
    int64_t begin = 0;
    int64_t size = 0;
    size_t order = 0;  // among the new ones
  };

  std::string PartialPath() const { return absl::StrCat(asked_.vectors, ".", asked_.collection, ".partial"); }
  std::string LockPath() const { return absl::StrCat(asked_.vectors, ".lock"); }

  bool IsThere(const MemuRow& row, absl::Span<const float> vector) {
    if (!row.owned || row.entry->dim != model_.dim) return false;
    stored_.resize(vector.size());
    return DecodeVector(VectorEncoding::kJsonPython, row.entry->vector, absl::MakeSpan(stored_)) &&
           std::memcmp(stored_.data(), vector.data(), vector.size() * sizeof(float)) == 0;
  }

  absl::Status WriteRow(const BatchRow& batch_row, std::vector<RefusedRow>* refused) {
    const absl::StatusOr<std::optional<MemuRow>> found = rows_->Find(batch_row.key);
    if (!found.ok()) return found.status();
    if (!found->has_value()) {
      refused->push_back({batch_row.ordinal, absl::NotFoundError(absl::StrCat(asked_.rows.path, ": row ",
                                                                              KeyText(batch_row.key), ": is gone"))});
      return absl::OkStatus();
    }
    const MemuRow& row = **found;
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
    const Place place{partial_->size(), static_cast<int64_t>(entry_.size()), places_.size()};
    const auto [known, is_new] = places_.emplace(KeyText(batch_row.key), place);
    if (!is_new) known->second = {place.begin, place.size, known->second.order};
    return partial_->Append(entry_);
  }

  absl::Status AppendNew(const Place& place, Output* out) {
    entry_.resize(static_cast<size_t>(place.size));
    const absl::StatusOr<size_t> read = partial_->file().ReadAt(place.begin, absl::MakeSpan(entry_));
    if (!read.ok()) return read.status();
    if (*read != entry_.size()) return absl::DataLossError(absl::StrCat(PartialPath(), ": was cut short"));
    return out->Append(entry_);
  }

  // The entries of one collection: those of the file in their order, then new ones in order of first use.
  absl::Status AppendCollection(const VectorsJson::Collection* old, bool is_ours, Output* out) {
    std::vector<std::pair<size_t, const std::string*>> added;
    if (is_ours) {
      for (const auto& [id, place] : places_) {
        if (old == nullptr || old->Find(id) == nullptr) added.emplace_back(place.order, &id);
      }
      std::sort(added.begin(), added.end());
    }
    const size_t entries = (old == nullptr ? 0 : old->entries.size()) + added.size();
    if (entries == 0) return out->Append("{}");
    std::vector<const std::string*> replaced(old == nullptr ? 0 : old->entries.size());
    if (is_ours && old != nullptr) {
      for (const auto& [id, place] : places_) {
        const auto at = old->by_id.find(id);
        if (at != old->by_id.end()) replaced[at->second] = &id;
      }
    }
    std::string key;
    for (size_t i = 0; i < entries; ++i) {
      const bool is_old = i < replaced.size();
      const std::string* const id = is_old ? replaced[i] : added[i - replaced.size()].second;
      key = i == 0 ? "{\n    " : ",\n    ";
      if (is_old) {
        absl::StrAppend(&key, old->entries[i].key);
      } else {
        AppendAsciiJsonString(*id, &key);
      }
      key += ": ";
      absl::Status status = out->Append(key);
      if (status.ok()) status = id == nullptr ? out->Append(old->entries[i].value) : AppendNew(places_.at(*id), out);
      if (!status.ok()) return status;
    }
    return out->Append("\n  }");
  }

  absl::Status AppendAll(const VectorsJson& old, Output* out) {
    bool seen = false;
    std::string key;
    absl::Status status;
    absl::string_view separator = "{\n  ";
    for (const VectorsJson::Collection& collection : old.collections()) {
      const bool is_ours = collection.name == asked_.collection;
      seen = seen || is_ours;
      key = absl::StrCat(separator, collection.key, ": ");
      separator = ",\n  ";
      if (status = out->Append(key); !status.ok()) return status;
      if (status = AppendCollection(&collection, is_ours, out); !status.ok()) return status;
    }
    if (!seen) {
      key = absl::StrCat(separator, "\"", asked_.collection, "\": ");
      if (status = out->Append(key); !status.ok()) return status;
      if (status = AppendCollection(nullptr, true, out); !status.ok()) return status;
    }
    if (status = out->Append("\n}"); !status.ok()) return status;
    if (status = out->Drain(); !status.ok()) return status;
    return out->file().Sync();
  }

  // The new file is whole: MemU can read it, and it has what it must have.
  absl::Status CheckNew(const std::string& path, const VectorsJson& old) const {
    const absl::StatusOr<std::unique_ptr<VectorsJson>> made = VectorsJson::Open(path);
    if (!made.ok()) return made.status();
    const auto fail = [&](absl::string_view what) {
      return absl::InternalError(absl::StrCat(path, ": ", what, "; ", asked_.vectors, " was not touched"));
    };
    for (const VectorsJson::Collection& collection : old.collections()) {
      const VectorsJson::Collection* const now = (*made)->Find(collection.name);
      if (now == nullptr || now->entries.size() < collection.entries.size()) return fail("lost entries");
    }
    const VectorsJson::Collection* const ours = (*made)->Find(asked_.collection);
    for (const auto& [id, place] : places_) {
      const VectorsJson::Entry* const entry = ours == nullptr ? nullptr : ours->Find(id);
      if (entry == nullptr || entry->dim != model_.dim) return fail(absl::StrCat("lacks the vector of ", id));
    }
    return absl::OkStatus();
  }

  absl::Status Replace() {
    if (absl::Status drained = partial_->Drain(); !drained.ok()) return drained;
    const std::string path = absl::StrCat(asked_.vectors, ".new");
    absl::StatusOr<File> file = File::OpenToWrite(path);
    if (!file.ok()) return file.status();
    absl::Status status = file->Truncate(0);
    const VectorsJson& old = rows_->vectors();
    Output out(*std::move(file));
    if (status.ok()) status = AppendAll(old, &out);
    if (status.ok()) status = CheckNew(path, old);
    if (status.ok() && old.HasChanged()) {
      status = absl::AbortedError(
          absl::StrCat(asked_.vectors,
                       ": was changed by another program meanwhile; stop MemU and run again: nothing is bought twice"));
    }
    if (status.ok()) status = RenameDurably(path, asked_.vectors);
    if (!status.ok()) unlink(path.c_str());
    return status;
  }

  const Location location_, source_;
  const MemuLocation asked_;
  const Model model_;
  std::unique_ptr<JobLock> lock_;
  std::unique_ptr<MemuRows> rows_;
  std::unique_ptr<Output> partial_;
  absl::flat_hash_map<std::string, Place> places_;  // by id
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

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeMemuSink(const Location& location, const Model& model,
                                                         const Location& source) {
  absl::StatusOr<MemuLocation> asked = ParseMemuLocation(location);
  if (!asked.ok()) return asked.status();
  if (source.scheme != "memu") {
    return absl::InvalidArgumentError(absl::StrCat(location.ToString(),
                                                   ": takes the rows of MemU only, since an entry names its owner; use "
                                                   "--system memu"));
  }
  return std::make_unique<MemuSink>(location, source, *std::move(asked), model);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenMemuReader(const Location& location, int dim) {
  const absl::StatusOr<MemuLocation> asked = ParseMemuLocation(location);
  if (!asked.ok()) return asked.status();
  absl::StatusOr<std::unique_ptr<VectorsJson>> file = VectorsJson::Open(asked->vectors);
  if (!file.ok()) return file.status();
  const VectorsJson::Collection* const collection = (*file)->Find(asked->collection);
  if (collection != nullptr && dim == 0) {
    for (const VectorsJson::Entry& entry : collection->entries) {
      if (dim == 0 && entry.dim > 0) dim = static_cast<int>(entry.dim);
    }
  }
  if (collection == nullptr || dim == 0) {
    return absl::NotFoundError(
        absl::StrCat(asked->vectors, ": no vector in the collection ", asked->collection, "; run the job first"));
  }
  return std::make_unique<MemuReader>(*std::move(file), collection, asked->vectors, dim);
}

}  // namespace reembed
