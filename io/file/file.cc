// SPDX-License-Identifier: Apache-2.0
#include "io/file/file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::StatusCode CodeOf(int error_number) {
  if (error_number == EFBIG) return absl::StatusCode::kResourceExhausted;
  if (error_number == EIO) return absl::StatusCode::kDataLoss;
  return absl::ErrnoToStatusCode(error_number);
}

absl::Status WriteError(absl::string_view path, size_t bytes, int error_number) {
  return FileError(path, absl::StrCat("write ", bytes, " more bytes"), error_number);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The bytes of `from`, by the kernel where it can (some file systems then share them), else through a buffer.
absl::Status CopyBytes(const File& from, const File& to, int64_t bytes) {
  off_t done = 0;
  while (done < bytes) {
    off_t in = done;
    off_t out = done;
    const ssize_t copied = copy_file_range(from.fd(), &in, to.fd(), &out, static_cast<size_t>(bytes - done), 0);
    if (copied <= 0) break;
    done += copied;
  }
  constexpr size_t kBufferBytes = size_t{1} << 20;
  const auto buffer = std::make_unique<char[]>(kBufferBytes);
  while (done < bytes) {
    const size_t wanted = static_cast<size_t>(std::min<int64_t>(kBufferBytes, bytes - done));
    ABSL_ASSIGN_OR_RETURN(const size_t read, from.ReadAt(done, absl::MakeSpan(buffer.get(), wanted)));
    if (read == 0)
      return absl::DataLossError(absl::StrCat(from.path(), ": ended at byte ", done, " while it was copied"));
    ABSL_RETURN_IF_ERROR(to.WriteAt(done, {buffer.get(), read}));
    done += static_cast<off_t>(read);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FileError(absl::string_view path, absl::string_view doing, int error_number) {
  const absl::StatusCode code = CodeOf(error_number);
  const bool no_files = error_number == EMFILE || error_number == ENFILE;
  const bool no_locks = error_number == ENOLCK;
  const absl::string_view next_step =
      no_files ? "; raise ulimit -n and run the same command again"
      : no_locks
          ? "; this file system gives no locks, as NFS does without its lock service: choose a place on another one"
      : code == absl::StatusCode::kResourceExhausted ? "; make room and run the same command again"
                                                     : "";
  return absl::Status(code, absl::StrCat(path, ": could not ", doing, ": ", std::strerror(error_number), next_step));
}

absl::StatusOr<File> File::OpenToRead(const std::string& path) {
  File file(open(path.c_str(), O_RDONLY | O_CLOEXEC), path);
  if (file.fd() < 0) return FileError(path, "open", errno);
  struct stat info;
  if (fstat(file.fd(), &info) == 0 && S_ISDIR(info.st_mode)) return FileError(path, "read", EISDIR);
  return file;
}

absl::StatusOr<File> File::OpenToWrite(const std::string& path) {
  File file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666), path);
  if (file.fd() < 0 && errno == ELOOP) return NotOursError(path);
  if (file.fd() < 0) return FileError(path, "open for writing", errno);
  struct stat info;
  if (fstat(file.fd(), &info) != 0) return FileError(path, "look at it", errno);
  if (!S_ISREG(info.st_mode) || info.st_nlink > 1) return NotOursError(path);
  return file;
}

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<int64_t> File::Size() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return FileError(path_, "read the size", errno);
  return info.st_size;
}

bool File::IsRegular() const {
  struct stat info;
  return fstat(fd_, &info) == 0 && S_ISREG(info.st_mode);
}

absl::StatusOr<size_t> File::ReadAt(int64_t offset, absl::Span<char> to) const {
  size_t done = 0;
  while (done < to.size()) {
    const ssize_t read = pread(fd_, to.data() + done, to.size() - done, offset + static_cast<int64_t>(done));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return FileError(path_, absl::StrCat("read at byte ", offset), errno);
    if (read == 0) break;
    done += static_cast<size_t>(read);
  }
  return done;
}

absl::Status File::WriteAt(int64_t offset, absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return WriteError(path_, bytes.size(), errno);
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status File::WritePiecesAt(int64_t offset, absl::Span<const absl::string_view> pieces) const {
  iovec vectors[IOV_MAX];
  while (!pieces.empty()) {
    const size_t count = std::min<size_t>(pieces.size(), IOV_MAX);
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      vectors[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
      bytes += pieces[i].size();
    }
    ssize_t written = pwritev(fd_, vectors, static_cast<int>(count), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return WriteError(path_, bytes, errno);
    offset += written;
    // A short write is rare: its torn piece is finished by itself.
    while (!pieces.empty() && written >= static_cast<ssize_t>(pieces.front().size())) {
      written -= static_cast<ssize_t>(pieces.front().size());
      pieces.remove_prefix(1);
    }
    if (written == 0) continue;
    const absl::string_view rest = pieces.front().substr(static_cast<size_t>(written));
    ABSL_RETURN_IF_ERROR(WriteAt(offset, rest));
    offset += static_cast<int64_t>(rest.size());
    pieces.remove_prefix(1);
  }
  return absl::OkStatus();
}

absl::Status File::Truncate(int64_t size) const {
  if (ftruncate(fd_, size) != 0) return FileError(path_, absl::StrCat("cut to ", size, " bytes"), errno);
  return absl::OkStatus();
}

absl::Status File::Sync() const {
  KillPoint("file: before the sync");
  if (fdatasync(fd_) != 0) return FileError(path_, "sync", errno);
  return absl::OkStatus();
}

absl::Status NotOursError(absl::string_view path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": expected a file of its own, or nothing, got a link, or something else that reembed does not make; it is ",
      "not written to: move it away"));
}

absl::StatusOr<bool> PathExists(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  return FileError(path, "look at it", errno);
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = FolderOf(path);
  const File file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), folder);
  if (file.fd() < 0) return FileError(folder, "open the folder", errno);
  if (fsync(file.fd()) != 0) return FileError(folder, "sync the folder", errno);
  KillPoint("file: folder synced");
  return absl::OkStatus();
}

absl::Status RenameDurably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return FileError(from, absl::StrCat("rename to ", to), errno);
  KillPoint("file: renamed");
  return SyncFolderOf(to);
}

std::string PreviousPath(absl::string_view path, int number) {
  return number == 1 ? absl::StrCat(path, ".previous") : absl::StrCat(path, ".previous.", number);
}

absl::Status MoveToPrevious(const std::string& path) {
  absl::StatusOr<bool> exists = PathExists(path);
  if (!exists.ok() || !*exists) return exists.status();
  for (int number = 1;; ++number) {
    const std::string previous = PreviousPath(path, number);
    exists = PathExists(previous);
    ABSL_RETURN_IF_ERROR(exists.status());
    if (!*exists) return RenameDurably(path, previous);
  }
}

std::string UnfinishedCopyPath(absl::string_view path) { return absl::StrCat(path, ".copy"); }

absl::Status CopyDurably(const std::string& from, const std::string& to, int64_t bytes) {
  ABSL_ASSIGN_OR_RETURN(const File source, File::OpenToRead(from));
  const std::string unfinished = UnfinishedCopyPath(to);
  {
    ABSL_ASSIGN_OR_RETURN(const File copy, File::OpenToWrite(unfinished));
    ABSL_RETURN_IF_ERROR(copy.Truncate(0));
    ABSL_RETURN_IF_ERROR(CopyBytes(source, copy, bytes));
    ABSL_RETURN_IF_ERROR(copy.Sync());
  }
  return RenameDurably(unfinished, to);
}

}  // namespace reembed
