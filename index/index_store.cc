// SPDX-License-Identifier: Apache-2.0
#include "index/index_store.h"

#include <faiss/Index.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"
#include "index/shard_set.h"

namespace reembed {
namespace {

constexpr absl::string_view kMoveAway = "; move it away, or choose another path for the index";

bool Exists(const std::string& path) {
  struct stat ignored;
  return stat(path.c_str(), &ignored) == 0;
}

bool LinkExists(const std::string& path) {
  struct stat ignored;
  return lstat(path.c_str(), &ignored) == 0;
}

bool SameFile(const std::string& a, const std::string& b) {
  struct stat of_a;
  struct stat of_b;
  return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
         of_a.st_ino == of_b.st_ino;
}

absl::Status Rename(const std::string& from, const std::string& to) {
  KillPoint("index: before a rename");
  if (std::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat(from, ": cannot rename to ", to));
}

// A second name for the file, so that the first never goes missing; where the file system has no such thing, a new
// name.
absl::Status GiveName(const std::string& from, const std::string& to) {
  if (!Exists(from) || SameFile(from, to) || link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return Rename(from, to);
}

// To read all of it first, for the checksum, would take longer than the search.
absl::StatusOr<FaissIndex> LoadMapped(const std::string& path, const FileMark& mark) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  if (info.st_size == mark.bytes) return LoadMappedFaissIndex(path);
  return absl::DataLossError(absl::StrCat(path, ": expected ", mark.bytes, " bytes, got ", info.st_size,
                                          "; the file is damaged or of another build than its description"));
}

}  // namespace

IndexStore::IndexStore(absl::string_view path) : now_(path), partial_(absl::StrCat(path, ".partial")) {}

absl::Status IndexStore::CheckReplaceable(const Model& model) const {
  const size_t slash = now_.index.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : now_.index.substr(0, slash + 1);
  if (access(directory.c_str(), W_OK | X_OK) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(now_.index, ": cannot write into directory ", directory));
  }
  const absl::StatusOr<IndexDescription> found = ReadDescription(now_.description);
  if (found.ok() && found->model.name == model.name && found->model.dim == model.dim) return absl::OkStatus();
  if (found.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(now_.index, ": expected an index of model ", model.name, " of dim ",
                                                   model.dim, ", got one of ", found->model.name, " of dim ",
                                                   found->model.dim, kMoveAway));
  }
  for (const std::string& path : {now_.index, now_.description, now_.keys}) {
    if (!Exists(path)) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected nothing here, or an index that reembed made (",
                                                   found.status().message(), ")", kMoveAway));
  }
  return absl::OkStatus();
}

absl::StatusOr<IndexDescription> IndexStore::CheckFinished() const {
  absl::StatusOr<IndexDescription> description = ReadDescription(now_.description);
  ABSL_RETURN_IF_ERROR(description.status());
  ABSL_RETURN_IF_ERROR(CheckFile(now_.index, description->index_file));
  if (description->shards > 0) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<IndexShard> shards,
                          ReadShards(now_.index, description->index_file, description->rows));
    for (const IndexShard& shard : shards) {
      ABSL_RETURN_IF_ERROR(CheckFile(ShardPath(now_.index, shard), shard.mark));
    }
  }
  if (description->id_kind == IdKind::kKey) return description;
  ABSL_RETURN_IF_ERROR(CheckFile(now_.keys, description->keys_file));
  return description;
}

absl::StatusOr<FaissIndex> IndexStore::Load(const IndexDescription& description) const {
  if (description.shards > 0) {
    return absl::InvalidArgumentError(absl::StrCat(now_.index, ": is an index in ",
                                                   Counted(description.shards, "shard", "shards"),
                                                   ", and no one file; build it again with no limit on its memory"));
  }
  absl::StatusOr<FaissIndex> index = description.is_mapped ? LoadMapped(now_.index, description.index_file)
                                                           : LoadFaissIndex(now_.index, description.index_file);
  ABSL_RETURN_IF_ERROR(index.status());
  const auto metric = description.metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
  if ((*index)->d == description.model.dim && (*index)->ntotal == description.rows && (*index)->metric_type == metric) {
    return index;
  }
  return absl::DataLossError(absl::StrCat(now_.index, ": expected ", Counted(description.rows, "row", "rows"),
                                          " of dim ", description.model.dim, " as in ", now_.description, ", got ",
                                          Counted((*index)->ntotal, "row", "rows"), " of dim ", (*index)->d,
                                          ", or another metric"));
}

absl::Status IndexStore::Replace(const faiss::Index& index, absl::string_view key_lines, IndexDescription description,
                                 Old old) const {
  return ReplaceBy([&index](const std::string& path) { return SaveFaissIndex(index, path); }, key_lines,
                   std::move(description), old);
}

absl::Status IndexStore::ReplaceBy(absl::FunctionRef<absl::StatusOr<FileMark>(const std::string& path)> write,
                                   absl::string_view key_lines, IndexDescription description, Old old) const {
  ABSL_ASSIGN_OR_RETURN(description.index_file, write(partial_.index));
  description.keys_file = {};
  if (description.id_kind == IdKind::kOrdinal) {
    ABSL_ASSIGN_OR_RETURN(description.keys_file, WriteWholeFile(partial_.keys, key_lines));
  }
  ABSL_RETURN_IF_ERROR(WriteWholeFile(partial_.description, DescriptionJson(description)).status());

  if (old == Old::kSave) {
    ABSL_RETURN_IF_ERROR(LinkPrevious());
  }
  if (description.id_kind == IdKind::kOrdinal) {
    ABSL_RETURN_IF_ERROR(Rename(partial_.keys, now_.keys));
  } else if (unlink(now_.keys.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat(now_.keys, ": cannot remove"));
  }
  ABSL_RETURN_IF_ERROR(Rename(partial_.description, now_.description));
  ABSL_RETURN_IF_ERROR(Rename(partial_.index, now_.index));
  return SyncDirectoryOf(now_.index);
}

absl::Status IndexStore::LinkPrevious() const {
  if (!Exists(now_.index)) return absl::OkStatus();
  for (int number = 1;; ++number) {
    const IndexPaths previous(number == 1 ? absl::StrCat(now_.index, ".previous")
                                          : absl::StrCat(now_.index, ".previous.", number));
    // A run died between the renames: what is kept already is the last complete index.
    if (SameFile(now_.index, previous.index)) return absl::OkStatus();
    const std::pair<const std::string&, const std::string&> kept[] = {
        {now_.keys, previous.keys}, {now_.description, previous.description}, {now_.index, previous.index}};
    // Whoever has such a name keeps it, unless a run died while it gave them.
    const bool is_free = std::all_of(std::begin(kept), std::end(kept), [](const auto& names) {
      return !LinkExists(names.second) || SameFile(names.first, names.second);
    });
    if (!is_free) continue;
    for (const auto& [from, to] : kept) {
      ABSL_RETURN_IF_ERROR(GiveName(from, to));
    }
    return SyncDirectoryOf(now_.index);
  }
}

void IndexStore::RemovePartialFiles() const {
  for (const std::string& path : {partial_.description, partial_.keys}) unlink(path.c_str());
  // Its name stays, so that the place is seen to be taken.
  if (LinkExists(partial_.index)) OutputFile::Create(partial_.index).IgnoreError();
}

}  // namespace reembed
