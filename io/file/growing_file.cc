// SPDX-License-Identifier: Apache-2.0
#include "io/file/growing_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

absl::Status CheckTargetPath(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a file, got a folder; add a file name"));
  }
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return absl::OkStatus();
  const std::string folder = path.substr(0, slash);
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat(path, ": there is no folder ", folder, "; make it first"));
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) return FileError(path, "make a file in its folder", errno);
  return absl::OkStatus();
}

absl::Status ForeignFileError(absl::string_view path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, " exists already and was not made by this job; move it away or choose another target"));
}

std::string PartialPath(absl::string_view path) { return absl::StrCat(path, ".partial"); }

GrowingFiles::GrowingFiles(std::vector<GrowingFile> files) {
  for (GrowingFile& file : files) files_.push_back({.file = std::move(file)});
}

absl::Status GrowingFiles::Remember(absl::Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  return failure_;
}

// For a sink that never stored anything: a complete file is ours only if a partial one tells of an earlier attempt.
absl::Status GrowingFiles::CheckOurs() const {
  for (const Growing& growing : files_) {
    const absl::StatusOr<bool> partial = PathExists(PartialPath(growing.file.path));
    if (!partial.ok() || *partial) return partial.status();
  }
  for (const Growing& growing : files_) {
    ABSL_ASSIGN_OR_RETURN(const bool complete, PathExists(growing.file.path));
    if (complete) return ForeignFileError(growing.file.path);
  }
  return absl::OkStatus();
}

// Whether the partial file holds `rows` rows: it is what goes on then.
absl::StatusOr<bool> GrowingFiles::ContinuePartial(Growing* growing, int64_t rows) {
  absl::StatusOr<bool> exists = PathExists(PartialPath(growing->file.path));
  if (!exists.ok() || !*exists) return exists;
  ABSL_ASSIGN_OR_RETURN(File partial, File::OpenToWrite(PartialPath(growing->file.path)));
  ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> bytes, growing->file.measure(partial, rows));
  if (!bytes.has_value()) return false;
  growing->partial = std::move(partial);
  growing->bytes = *bytes;
  return true;
}

// Whether the complete file holds exactly `rows` rows.
absl::StatusOr<bool> GrowingFiles::ContinueComplete(Growing* growing, int64_t rows) {
  const absl::StatusOr<File> complete = File::OpenToRead(growing->file.path);
  if (absl::IsNotFound(complete.status())) return false;
  ABSL_RETURN_IF_ERROR(complete.status());
  ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> bytes, growing->file.measure(*complete, rows));
  ABSL_ASSIGN_OR_RETURN(const int64_t size, complete->Size());
  growing->bytes = bytes.value_or(-1);
  return growing->bytes == size;
}

absl::Status GrowingFiles::StartOver() {
  started_over_ = true;
  for (Growing& growing : files_) {
    ABSL_ASSIGN_OR_RETURN(File partial, File::OpenToWrite(PartialPath(growing.file.path)));
    ABSL_RETURN_IF_ERROR(partial.Truncate(0));
    ABSL_RETURN_IF_ERROR(partial.WriteAt(0, growing.file.header));
    growing.partial = std::move(partial);
    growing.bytes = static_cast<int64_t>(growing.file.header.size());
  }
  return SyncFolderOf(files_.front().file.path);
}

absl::StatusOr<int64_t> GrowingFiles::Open(const SinkPosition& last) {
  const std::optional<int64_t> outdated = OutdatedRows(last);
  if (last.position == 0 && !outdated.has_value()) {
    ABSL_RETURN_IF_ERROR(CheckOurs());
  }
  // Every file decides for itself, so a crash between two renames or two copies loses nothing.
  bool goes_on = last.position > 0;
  for (Growing& growing : files_) growing.is_durable = false;
  for (Growing& growing : files_) {
    if (!goes_on) break;
    absl::StatusOr<bool> found = ContinuePartial(&growing, last.stored_rows);
    if (found.ok() && !*found) found = ContinueComplete(&growing, last.stored_rows);
    ABSL_RETURN_IF_ERROR(found.status());
    goes_on = *found;
  }
  if (!goes_on) {
    // What has no rows is not worth keeping, either.
    const int64_t replaced_rows = outdated.value_or(0);
    keeps_previous_ = false;
    for (Growing& growing : files_) {
      if (keeps_previous_) break;
      ABSL_ASSIGN_OR_RETURN(const bool ours, ContinueComplete(&growing, replaced_rows));
      keeps_previous_ = !ours;
    }
    ABSL_RETURN_IF_ERROR(Remember(StartOver()));
    return 0;
  }
  for (const Growing& growing : files_) {
    if (growing.partial.fd() < 0) continue;
    ABSL_RETURN_IF_ERROR(Remember(growing.partial.Truncate(growing.bytes)));
  }
  return last.position;
}

absl::Status GrowingFiles::BeginWriting() {
  ABSL_RETURN_IF_ERROR(failure_);
  // Last file first: the target itself says where the next Open() goes on.
  for (auto growing = files_.rbegin(); growing != files_.rend(); ++growing) {
    if (growing->partial.fd() >= 0) continue;
    const std::string path = PartialPath(growing->file.path);
    if (absl::Status status = CopyDurably(growing->file.path, path, growing->bytes); !status.ok())
      return Remember(status);
    absl::StatusOr<File> partial = File::OpenToWrite(path);
    if (!partial.ok()) return Remember(partial.status());
    growing->partial = std::move(*partial);
  }
  return absl::OkStatus();
}

absl::Status GrowingFiles::Drain(Growing* growing) {
  if (growing->buffer.empty()) return absl::OkStatus();
  const int64_t offset = growing->bytes - static_cast<int64_t>(growing->buffer.size());
  growing->is_durable = false;
  if (absl::Status status = growing->partial.WriteAt(offset, growing->buffer); !status.ok()) return Remember(status);
  growing->buffer.clear();
  return absl::OkStatus();
}

absl::Status GrowingFiles::Append(size_t file, absl::string_view bytes) {
  ABSL_RETURN_IF_ERROR(failure_);
  Growing& growing = files_[file];
  growing.buffer.append(bytes.data(), bytes.size());
  growing.bytes += static_cast<int64_t>(bytes.size());
  return growing.buffer.size() < kBufferBytes ? absl::OkStatus() : Drain(&growing);
}

absl::Status GrowingFiles::AppendPieces(size_t file, absl::Span<const absl::string_view> pieces) {
  ABSL_RETURN_IF_ERROR(failure_);
  Growing& growing = files_[file];
  ABSL_RETURN_IF_ERROR(Drain(&growing));
  growing.is_durable = false;
  if (absl::Status status = growing.partial.WritePiecesAt(growing.bytes, pieces); !status.ok()) return Remember(status);
  for (const absl::string_view piece : pieces) growing.bytes += static_cast<int64_t>(piece.size());
  return absl::OkStatus();
}

absl::Status GrowingFiles::SetHeader(size_t file, absl::string_view header) {
  ABSL_RETURN_IF_ERROR(failure_);
  if (files_[file].partial.fd() < 0) return absl::OkStatus();
  files_[file].is_durable = false;
  return Remember(files_[file].partial.WriteAt(0, header));
}

absl::Status GrowingFiles::Flush() {
  ABSL_RETURN_IF_ERROR(failure_);
  for (Growing& growing : files_) {
    if (growing.partial.fd() < 0) continue;
    ABSL_RETURN_IF_ERROR(Drain(&growing));
    if (growing.is_durable) continue;  // as in Finish(), right behind a checkpoint
    if (absl::Status status = growing.partial.Sync(); !status.ok()) return Remember(status);
    growing.is_durable = true;
  }
  return absl::OkStatus();
}

absl::Status GrowingFiles::Finish() {
  ABSL_RETURN_IF_ERROR(Flush());
  // The target itself last: nobody finds it without what goes with it.
  for (auto growing = files_.rbegin(); growing != files_.rend(); ++growing) {
    if (growing->partial.fd() < 0) continue;
    const std::string& path = growing->file.path;
    // Whatever stands there now does not live on in the new file.
    if (absl::Status kept = started_over_ && keeps_previous_ ? MoveToPrevious(path) : absl::OkStatus(); !kept.ok())
      return Remember(kept);
    if (absl::Status status = RenameDurably(PartialPath(path), path); !status.ok()) return Remember(status);
    growing->partial = File();
  }
  return absl::OkStatus();
}

}  // namespace reembed
