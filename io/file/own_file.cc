// SPDX-License-Identifier: Apache-2.0
#include "io/file/own_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOwnFolder = S_IRWXU;
constexpr mode_t kOwnFile = S_IRUSR | S_IWUSR;
constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

absl::Status Refused(const std::string& path, absl::string_view why, absl::string_view next_step) {
  return absl::PermissionDeniedError(absl::StrCat(path, ": ", why, "; ", next_step));
}

// Of what is open at `fd`.
absl::Status CheckOwner(const std::string& path, const struct stat& info) {
  if (info.st_uid == geteuid()) return absl::OkStatus();
  return Refused(path, absl::StrCat("belongs to another user (", info.st_uid, ", this one is ", geteuid(), ")"),
                 "use another folder, or run this as that user");
}

absl::Status CheckFolder(const std::string& dir) {
  const File folder(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir);
  if (folder.fd() < 0 && errno == ENOTDIR) {
    return absl::AlreadyExistsError(absl::StrCat(dir, ": is there already, and is no folder"));
  }
  struct stat info;
  if (folder.fd() < 0 || fstat(folder.fd(), &info) != 0) return FileError(dir, "open the folder", errno);
  ABSL_RETURN_IF_ERROR(CheckOwner(dir, info));
  if ((info.st_mode & kOthers) == 0) return absl::OkStatus();
  std::error_code failed;
  if (fs::is_empty(dir, failed) && !failed) {
    return fchmod(folder.fd(), kOwnFolder) == 0 ? absl::OkStatus() : FileError(dir, "make it private", errno);
  }
  const bool writable = (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0;
  if (!writable) return absl::OkStatus();
  return Refused(dir, "others may write into this folder",
                 absl::StrCat("chmod go-w ", dir, " if its files are what you expect, or use another folder"));
}

// Folders above a job's are nobody's business either where they are made for it.
absl::Status MakeFolders(const fs::path& dir) {
  std::error_code failed;
  if (dir.empty() || fs::exists(dir, failed)) return absl::OkStatus();
  if (dir.has_parent_path() && dir.parent_path() != dir) {
    ABSL_RETURN_IF_ERROR(MakeFolders(dir.parent_path()));
  }
  if (mkdir(dir.c_str(), kOwnFolder) == 0) return SyncFolderOf(dir.string());
  return errno == EEXIST ? absl::OkStatus() : FileError(dir.string(), "make the folder", errno);
}

absl::Status IsLink(const std::string& path) {
  return Refused(path, "is a symbolic link, and reembed does not write through links here",
                 "remove it, and find out who put it there; only a whole job directory may be a link");
}

absl::Status CheckOwn(const std::string& path, const struct stat& info) {
  if (S_ISLNK(info.st_mode)) return IsLink(path);
  if (!S_ISREG(info.st_mode)) {
    return Refused(path, "expected a plain file of the job, got something else",
                   "remove it, and find out who put it there");
  }
  return CheckOwner(path, info);
}

absl::Status MakePartial(const std::string& partial, absl::FunctionRef<absl::Status(const File&)> write) {
  if (unlink(partial.c_str()) != 0 && errno != ENOENT) return FileError(partial, "remove", errno);
  const File file(open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kOwnFile), partial);
  if (file.fd() < 0) return FileError(partial, "make", errno);
  return write(file);
}

}  // namespace

absl::Status MakeOwnFolder(const std::string& dir) {
  const fs::path path = fs::absolute(dir).lexically_normal();
  ABSL_RETURN_IF_ERROR(MakeFolders(path));
  return CheckFolder(dir);
}

absl::StatusOr<File> OpenOwnFile(const std::string& path, Absent absent) {
  const int make = absent == Absent::kMake ? O_CREAT : 0;
  // Without waiting for the other end of a pipe that lies there.
  File file(open(path.c_str(), O_RDWR | make | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, kOwnFile), path);
  if (file.fd() < 0 && errno == ELOOP) return IsLink(path);
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) return FileError(path, "open", errno);
  ABSL_RETURN_IF_ERROR(CheckOwn(path, info));
  if ((info.st_mode & kOthers) != 0 && fchmod(file.fd(), kOwnFile) != 0) {
    return FileError(path, "make it private", errno);
  }
  return file;
}

absl::Status ClaimOwnFile(const std::string& path, Absent absent) {
  if (absent == Absent::kMake) {
    const File made(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnFile), path);
    if (made.fd() >= 0) return absl::OkStatus();
    if (errno != EEXIST) return FileError(path, "make", errno);
  }
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return errno == ENOENT ? absl::OkStatus() : FileError(path, "look at it", errno);
  ABSL_RETURN_IF_ERROR(CheckOwn(path, info));
  const bool is_tight = (info.st_mode & kOthers) == 0 || chmod(path.c_str(), kOwnFile) == 0;
  return is_tight ? absl::OkStatus() : FileError(path, "make it private", errno);
}

absl::Status ReplaceOwnFile(const std::string& path, absl::string_view content) {
  return ReplaceOwnFile(path, [&](const File& file) { return file.WriteAt(0, content); });
}

absl::Status ReplaceOwnFile(const std::string& path, absl::FunctionRef<absl::Status(const File&)> write) {
  const std::string partial = path + ".partial";
  ABSL_RETURN_IF_ERROR(MakePartial(partial, [&write](const File& file) {
    ABSL_RETURN_IF_ERROR(write(file));
    return file.Sync();
  }));
  return RenameDurably(partial, path);
}

absl::Status ReplaceOwnFileForNow(const std::string& path, absl::string_view content) {
  const std::string partial = path + ".partial";
  ABSL_RETURN_IF_ERROR(MakePartial(partial, [&content](const File& file) { return file.WriteAt(0, content); }));
  return rename(partial.c_str(), path.c_str()) == 0 ? absl::OkStatus()
                                                    : FileError(partial, absl::StrCat("rename to ", path), errno);
}

}  // namespace reembed
