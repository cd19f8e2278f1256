// SPDX-License-Identifier: Apache-2.0
#include "tools/scratch_place.h"

#include <filesystem>
#include <random>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string NewName() {
  std::random_device random;
  return absl::StrFormat("reembed_bench_%08x%08x", random(), random());
}

// Of files, whose sinks make all that they need; what lies beside one has its name in front.
absl::StatusOr<Location> FileLike(const Location& target, const std::string& name) {
  Location scratch = target;
  const fs::path path = target.path;
  scratch.path = (path.parent_path() / absl::StrCat(name, "_", path.filename().string())).string();
  std::error_code ignored;
  if (!fs::is_directory(path.parent_path(), ignored)) {
    return absl::NotFoundError(absl::StrCat(target.path, ": there is no folder ", path.parent_path().string(),
                                            "; a target is measured in its own folder"));
  }
  return scratch;
}

// The paths that begin with that of the file.
std::vector<std::string> FilesOf(const Location& scratch) {
  std::vector<std::string> files;
  std::error_code failed;
  const fs::path path = scratch.path;
  for (const auto& entry : fs::directory_iterator(path.parent_path(), failed)) {
    if (absl::StartsWith(entry.path().filename().string(), path.filename().string())) {
      files.push_back(entry.path().string());
    }
  }
  return files;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScratchPlace>> ScratchPlace::Make(const Store& target, int dim, int64_t rows) {
  const StoreKind& kind = *target.kind;
  const std::string name = NewName();
  if (kind.scratch != nullptr) {
    ABSL_ASSIGN_OR_RETURN(Location location, kind.scratch->place(target.location, name));
    ABSL_RETURN_IF_ERROR(kind.scratch->make(location, target.location, dim, rows));
    return std::unique_ptr<ScratchPlace>(new ScratchPlace(Store{target.kind, std::move(location)}));
  }
  if (kind.make_sink != nullptr && kind.whole_file == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        target.location.ToString(), ": ", kind.title,
        " cannot be measured, as no temporary place like it can be made; these can: ",
        absl::StrJoin(NamesOfKinds([](const StoreKind& each) {
                        return each.make_sink != nullptr && (each.scratch != nullptr || each.whole_file != nullptr);
                      }),
                      ", ")));
  }
  ABSL_ASSIGN_OR_RETURN(Location location, FileLike(target.location, name));
  return std::unique_ptr<ScratchPlace>(new ScratchPlace(Store{target.kind, std::move(location)}));
}

ScratchPlace::~ScratchPlace() { Remove().IgnoreError(); }

int64_t ScratchPlace::FileBytes() const {
  if (!store_.kind->is_file) return 0;
  int64_t bytes = 0;
  for (const std::string& file : FilesOf(store_.location)) {
    std::error_code failed;
    const auto size = fs::file_size(file, failed);
    if (!failed) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

absl::Status ScratchPlace::Remove() {
  if (removed_) return absl::OkStatus();
  absl::Status status;
  if (store_.kind->scratch != nullptr) {
    status = store_.kind->scratch->remove(store_.location);
  } else {
    for (const std::string& file : FilesOf(store_.location)) {
      std::error_code failed;
      fs::remove(file, failed);
      if (failed) status = absl::UnavailableError(absl::StrCat(file, ": ", failed.message()));
    }
  }
  removed_ = status.ok();
  if (removed_) return status;
  return absl::Status(status.code(),
                      absl::StrCat(PlaceName(store_.location), ", which was made for a measure, is still ",
                                   "there, and nobody needs it: ", status.message()));
}

}  // namespace reembed
