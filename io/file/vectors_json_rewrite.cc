// SPDX-License-Identifier: Apache-2.0
#include "io/file/vectors_json_rewrite.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

// A file written from its beginning to its end.
class VectorsJsonRewrite::Output {
 public:
  explicit Output(File file) : file_(std::move(file)) {}

  int64_t size() const { return written_ + static_cast<int64_t>(buffer_.size()); }

  absl::Status Append(absl::string_view bytes) {
    if (bytes.size() < kBufferBytes) {
      buffer_.append(bytes.data(), bytes.size());
      return buffer_.size() < kBufferBytes ? absl::OkStatus() : Drain();
    }
    ABSL_RETURN_IF_ERROR(Drain());
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

VectorsJsonRewrite::VectorsJsonRewrite(std::string path, std::string collection)
    : path_(std::move(path)), collection_(std::move(collection)) {}

VectorsJsonRewrite::~VectorsJsonRewrite() {
  // What kept Begin() from making the file is not ours.
  if (partial_ != nullptr) unlink(PartialPath().c_str());
}

std::string VectorsJsonRewrite::PartialPath() const { return absl::StrCat(path_, ".", collection_, ".partial"); }

absl::StatusOr<std::unique_ptr<VectorsJsonRewrite>> VectorsJsonRewrite::Begin(const std::string& path,
                                                                              const std::string& collection) {
  std::unique_ptr<VectorsJsonRewrite> rewrite(new VectorsJsonRewrite(path, collection));
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToWrite(rewrite->PartialPath()));
  ABSL_RETURN_IF_ERROR(file.Truncate(0));
  rewrite->partial_ = std::make_unique<Output>(std::move(file));
  return rewrite;
}

absl::Status VectorsJsonRewrite::Put(absl::string_view id, absl::string_view entry) {
  const Place place{partial_->size(), static_cast<int64_t>(entry.size()), places_.size()};
  const auto [known, is_new] = places_.emplace(id, place);
  if (!is_new) known->second = {place.begin, place.size, known->second.order};
  return partial_->Append(entry);
}

absl::Status VectorsJsonRewrite::AppendNew(const Place& place, Output* out) {
  entry_.resize(static_cast<size_t>(place.size));
  ABSL_ASSIGN_OR_RETURN(const size_t read, partial_->file().ReadAt(place.begin, absl::MakeSpan(entry_)));
  if (read != entry_.size()) return absl::DataLossError(absl::StrCat(PartialPath(), ": was cut short"));
  return out->Append(entry_);
}

// The entries of one collection: those of the file in their order, then new ones in order of first use.
absl::Status VectorsJsonRewrite::AppendCollection(absl::string_view key, const VectorsJson::Collection* old,
                                                  bool is_ours, Output* out) {
  struct Entry {
    absl::string_view key;            // with quotes; empty: of `id`
    absl::string_view value;          // if `place` is null
    const Place* place = nullptr;     // of the new value
    const std::string* id = nullptr;  // of a new entry
  };
  std::vector<Entry> entries;
  if (old != nullptr) {
    for (const VectorsJson::Entry& entry : old->entries) entries.push_back({.key = entry.key, .value = entry.value});
  }
  if (is_ours) {
    std::vector<Entry> added;
    for (const auto& [id, place] : places_) {
      const VectorsJson::Entry* const known = old == nullptr ? nullptr : old->Find(id);
      if (known == nullptr) {
        added.push_back({.place = &place, .id = &id});
      } else {
        entries[old->by_id.at(id)].place = &place;
      }
    }
    std::sort(added.begin(), added.end(),
              [](const Entry& a, const Entry& b) { return a.place->order < b.place->order; });
    // Removed ones lose their key, and go.
    for (const std::string& id : removed_) {
      if (old != nullptr && old->Find(id) != nullptr) entries[old->by_id.at(id)].key = absl::string_view();
    }
    std::erase_if(entries, [](const Entry& entry) { return entry.key.empty(); });
    entries.insert(entries.end(), added.begin(), added.end());
  }
  absl::Status status = out->Append(absl::StrCat(collections_written_++ == 0 ? "{\n  " : ",\n  ", key, ": "));
  if (status.ok() && entries.empty()) return out->Append("{}");
  std::string head;
  for (const Entry& entry : entries) {
    head = &entry == &entries.front() ? "{\n    " : ",\n    ";
    if (entry.id == nullptr) {
      absl::StrAppend(&head, entry.key);
    } else {
      AppendAsciiJsonString(*entry.id, &head);
    }
    head += ": ";
    if (status.ok()) status = out->Append(head);
    if (status.ok()) status = entry.place == nullptr ? out->Append(entry.value) : AppendNew(*entry.place, out);
    ABSL_RETURN_IF_ERROR(status);
  }
  return out->Append("\n  }");
}

absl::Status VectorsJsonRewrite::AppendAll(const VectorsJson& old, bool drops_empty_collection, Output* out) {
  bool seen = false;
  collections_written_ = 0;
  for (const VectorsJson::Collection& collection : old.collections()) {
    const bool is_ours = collection.name == collection_;
    seen = seen || is_ours;
    if (is_ours && drops_empty_collection && places_.empty() && collection.by_id.size() == removed_.size()) continue;
    ABSL_RETURN_IF_ERROR(AppendCollection(collection.key, &collection, is_ours, out));
  }
  if (!seen && !places_.empty()) {
    ABSL_RETURN_IF_ERROR(AppendCollection(absl::StrCat("\"", collection_, "\""), nullptr, true, out));
  }
  ABSL_RETURN_IF_ERROR(out->Append(collections_written_ == 0 ? "{}" : "\n}"));
  ABSL_RETURN_IF_ERROR(out->Drain());
  return out->file().Sync();
}

// The new file is whole: MemU can read it, and it has what it must have.
absl::Status VectorsJsonRewrite::CheckNew(const std::string& path, const VectorsJson& old,
                                          const CommitOptions& options) const {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorsJson> made, VectorsJson::Open(path));
  const auto fail = [&](absl::string_view what) {
    return absl::InternalError(absl::StrCat(path, ": ", what, "; ", path_, " was not touched"));
  };
  for (const VectorsJson::Collection& collection : old.collections()) {
    const VectorsJson::Collection* const now = made->Find(collection.name);
    const size_t gone = collection.name == collection_ ? removed_.size() : 0;
    if ((now == nullptr ? 0 : now->entries.size()) + gone < collection.entries.size()) return fail("lost entries");
  }
  const VectorsJson::Collection* const ours = made->Find(collection_);
  for (const auto& [id, place] : places_) {
    const VectorsJson::Entry* const entry = ours == nullptr ? nullptr : ours->Find(id);
    if (entry == nullptr || (options.dim != 0 && entry->dim != options.dim)) {
      return fail(absl::StrCat("lacks the vector of ", id));
    }
  }
  return absl::OkStatus();
}

absl::Status VectorsJsonRewrite::Commit(const VectorsJson& old, const CommitOptions& options) {
  ABSL_RETURN_IF_ERROR(partial_->Drain());
  const std::string path = absl::StrCat(path_, ".new");
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToWrite(path));
  absl::Status status = file.Truncate(0);
  Output out(std::move(file));
  if (status.ok()) status = AppendAll(old, options.drops_empty_collection, &out);
  if (status.ok()) status = CheckNew(path, old, options);
  if (status.ok() && old.HasChanged()) {
    status = absl::AbortedError(absl::StrCat(
        path_, ": was changed by another program meanwhile; stop MemU and run again: nothing is bought twice"));
  }
  if (status.ok() && options.drops_empty_file && collections_written_ == 0) {
    unlink(path_.c_str());
    status = SyncFolderOf(path_);
  } else if (status.ok()) {
    return RenameDurably(path, path_);
  }
  unlink(path.c_str());
  return status;
}

}  // namespace reembed
