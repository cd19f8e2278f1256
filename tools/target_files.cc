// SPDX-License-Identifier: Apache-2.0
#include "tools/target_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/growing_file.h"
#include "tools/place.h"
#include "tools/registry.h"

namespace reembed {
namespace {

std::vector<std::string> WithFilesBeside(const WholeFile& form, const std::string& path) {
  std::vector<std::string> files = {path};
  for (const char* const end : form.beside) files.push_back(path + end);
  return files;
}

// What tells a file from all others, there or not: its folder, by which names ever, and its name in it.
std::string FileIdentity(const std::string& path) {
  const std::filesystem::path file(path);
  struct stat folder;
  if (stat(file.parent_path().c_str(), &folder) != 0) return path;
  return absl::StrCat(folder.st_dev, ":", folder.st_ino, "/", file.filename().string());
}

// Files that are databases are shared by the targets in them.
bool IsFileOfTables(const Store& target) { return target.kind->is_file && target.kind->is_table(); }

}  // namespace

std::vector<std::string> FilesOf(const Store& target) {
  const WholeFile* const form = target.kind->whole_file;
  return form == nullptr ? std::vector<std::string>() : WithFilesBeside(*form, target.location.path);
}

std::vector<std::string> GrowingNamesOf(const Store& target) {
  const WholeFile* const form = target.kind->whole_file;
  if (form == nullptr) return {};
  if (!form->grows_beside) return WithFilesBeside(*form, PartialPath(target.location.path));
  std::vector<std::string> names;
  for (const std::string& file : FilesOf(target)) {
    names.push_back(PartialPath(file));
    names.push_back(UnfinishedCopyPath(PartialPath(file)));
  }
  return names;
}

std::string FileMark(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

absl::Status CheckTargetsApart(absl::Span<const Store> targets) {
  std::map<std::string, const Store*> owners;
  const auto is_stream = [](const Store& target) { return target.kind->is_stream; };
  if (std::count_if(targets.begin(), targets.end(), is_stream) > 1) {
    return absl::InvalidArgumentError("--target: two of them are standard output; what comes out would be neither");
  }
  for (const Store& target : targets) {
    std::vector<std::string> names = FilesOf(target);
    for (std::string& name : GrowingNamesOf(target)) names.push_back(std::move(name));
    if (!names.empty()) names.push_back(PlaceLockPath(target.location.path));
    if (IsFileOfTables(target)) names.push_back(target.location.path);
    for (const std::string& name : names) {
      const auto [owner, is_first] = owners.emplace(FileIdentity(name), &target);
      if (is_first || owner->second == &target || (IsFileOfTables(target) && IsFileOfTables(*owner->second))) continue;
      return absl::InvalidArgumentError(absl::StrCat("--target ", PlaceText(owner->second->location), " and --target ",
                                                     PlaceText(target.location), " would both write ", name,
                                                     "; give each a file of its own"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGrowingFiles(const Store& target, const std::string& directory, bool is_new) {
  for (const std::string& name : GrowingNamesOf(target)) {
    struct stat info;
    if (lstat(name.c_str(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) || info.st_nlink > 1) return NotOursError(name);
    const LockOwner owner = PlaceLock::OwnerOf(target.location.path);
    const bool is_anothers = !owner.left_by.empty() && owner.left_by != AbsolutePath(directory);
    if (!is_anothers && !is_new) continue;
    const std::string whose = is_anothers ? absl::StrCat("the job ", owner.left_by) : "another job";
    return absl::InvalidArgumentError(absl::StrCat(name, " exists already: ", whose, " writes ", target.location.path,
                                                   ", or was stopped while it did; let that job finish, ",
                                                   "move the file away, or choose another target"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TargetLocks> LockTargets(absl::Span<const Store> targets, const std::string& directory) {
  TargetLocks locks;
  for (const Store& target : targets) {
    locks.emplace_back();
    if (FilesOf(target).empty()) continue;
    ABSL_RETURN_IF_ERROR(CheckTargetPath(target.location.path));
    ABSL_ASSIGN_OR_RETURN(locks.back(), PlaceLock::Acquire(target.location.path, AbsolutePath(directory)));
  }
  return locks;
}

}  // namespace reembed
