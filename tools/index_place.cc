// SPDX-License-Identifier: Apache-2.0
#include "tools/index_place.h"

#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/file/growing_file.h"
#include "io/job/job_reader.h"
#include "io/job/job_vectors.h"
#include "tools/lfs_pointer.h"
#include "tools/registry.h"
#include "tools/streams.h"
#include "tools/target_files.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<OpenedVectors> OpenJob(const std::string& directory) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> folders, JobFolders(directory));
  if (folders.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": the job has several streams; name the folder of one: ", absl::StrJoin(folders, ", ")));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<JobReader> job, JobReader::Open(folders.front()));
  OpenedVectors opened{
      .name = directory, .uri = directory, .model = job->identity().model, .texts = job->identity().source};
  ABSL_ASSIGN_OR_RETURN(opened.reader, OpenJobVectors(std::move(job), directory));
  return opened;
}

// What a file most likely is, by how its name ends; null: nobody can say.
const StoreKind* KindOfPath(absl::string_view path) {
  const StoreKind* found = nullptr;
  size_t longest = 0;
  for (const StoreKind* const kind : StoreKinds()) {
    for (const absl::string_view ending : kind->file_endings) {
      if (ending.size() <= longest || !absl::EndsWithIgnoreCase(path, ending)) continue;
      found = kind;
      longest = ending.size();
    }
  }
  return found;
}

// A file that is there needs no scheme where its name says what it is.
std::string WithScheme(const std::string& place, const Environment& environment) {
  std::error_code ignored;
  if (!fs::exists(ExpandHome(place, environment), ignored)) return place;
  const StoreKind* const kind = KindOfPath(place);
  return kind == nullptr || kind->open_reader == nullptr ? place : absl::StrCat(kind->name, ":", place);
}

}  // namespace

absl::StatusOr<OpenedVectors> OpenVectors(const std::string& place, int dim, const SecretVariables& variables,
                                          const Environment& environment) {
  const std::string path = ExpandHome(place, environment);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return OpenJob(AbsolutePath(path));
  ABSL_ASSIGN_OR_RETURN(const Location location, ParsePlace(WithScheme(place, environment), variables, environment));
  OpenedVectors opened{.name = PlaceName(location), .uri = location.ToString()};
  const Store store = StoreOf(location);
  // Not OpenReader(), which ends at a number that is not finite: whoever takes the rows decides about those.
  if (store.kind->open_reader == nullptr) return OpenReader(store, dim).status();
  if (store.kind->is_file) ABSL_RETURN_IF_ERROR(CheckNoLfsPointer(location.path));
  ABSL_ASSIGN_OR_RETURN(opened.reader, store.kind->open_reader(location, dim));
  if (!location.Get("text").empty()) opened.texts = opened.uri;
  return opened;
}

absl::StatusOr<Store> IndexPlace(const std::string& path, const Environment& environment) {
  constexpr absl::string_view kScheme = "faiss:";
  const std::string uri = absl::StartsWith(path, kScheme) ? path : absl::StrCat(kScheme, path);
  ABSL_ASSIGN_OR_RETURN(const Location location, ParsePlace(uri, {}, environment));
  ABSL_RETURN_IF_ERROR(CheckNoLfsPointer(location.path));
  if (location.parameters.empty()) return StoreOf(location);
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected the path of an index, got one with parameters; ",
                                                 "use the flags to say what to build"));
}

absl::StatusOr<std::unique_ptr<PlaceLock>> LockIndex(const Store& index) {
  const std::string& path = index.location.path;
  ABSL_RETURN_IF_ERROR(CheckTargetPath(path));
  // What is built so has no job: its own path stands for one.
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<PlaceLock> lock, PlaceLock::Acquire(path, path));
  ABSL_RETURN_IF_ERROR(CheckGrowingFiles(index, path, /*is_new=*/false));
  return lock;
}

}  // namespace reembed
