// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_FILE_H_
#define REEMBED_IO_FILE_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// A failed system call as a Status: "<path>: could not <doing>: <reason>; <next step>". A full disk or an exceeded
// quota or size limit is kResourceExhausted, a device error kDataLoss, the rest as absl::ErrnoToStatusCode has it.
absl::Status FileError(absl::string_view path, absl::string_view doing, int error_number);

// An open file, closed with the object. Reads and writes name their offset, so there is no file position and a
// repeated write replaces itself. Interrupted and short calls are carried on with.
class File {
 public:
  // Errors: kNotFound, kPermissionDenied.
  static absl::StatusOr<File> OpenToRead(const std::string& path);
  // For reading and writing; made when absent, never emptied. What has the name must be a file that has no other name:
  // a link is not followed. Errors also: kInvalidArgument (it is something else).
  static absl::StatusOr<File> OpenToWrite(const std::string& path);

  File() = default;  // none
  // Takes over `fd`.
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept;
  ~File();

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }

  absl::StatusOr<int64_t> Size() const;
  // Whether offsets mean anything: a regular file, not a pipe or a terminal.
  bool IsRegular() const;

  // Fills `to` from `offset`; fewer bytes only at the end of the file. Returns how many.
  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> to) const;

  // Errors: kResourceExhausted names the bytes that found no room.
  absl::Status WriteAt(int64_t offset, absl::string_view bytes) const;
  // The pieces one behind the other, without copying them together.
  absl::Status WritePiecesAt(int64_t offset, absl::Span<const absl::string_view> pieces) const;

  absl::Status Truncate(int64_t size) const;
  // Content and size survive a power cut. After an error nothing is known of what was written.
  absl::Status Sync() const;

 private:
  int fd_ = -1;
  std::string path_;
};

// The refusal to write to something that is no plain file of ours.
absl::Status NotOursError(absl::string_view path);

// Also of a link that leads nowhere.
absl::StatusOr<bool> PathExists(const std::string& path);

// Makes the names in the folder of `path` durable.
absl::Status SyncFolderOf(const std::string& path);

// Gives `from` the name `to`, replacing what has it, durably. Precondition: its content is synced.
absl::Status RenameDurably(const std::string& from, const std::string& to);

// PATH.previous, PATH.previous.2 and so on.
std::string PreviousPath(absl::string_view path, int number);

// Gives what has the name `path`, if anything, the first of these names that is free: none is taken from another file.
absl::Status MoveToPrevious(const std::string& path);

// The name of a copy that is to become `path`, until it is whole.
std::string UnfinishedCopyPath(absl::string_view path);

// Copies the first `bytes` bytes of `from` to `to`, which is replaced in one step and durably.
absl::Status CopyDurably(const std::string& from, const std::string& to, int64_t bytes);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_FILE_H_
