// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_OWN_FILE_H_
#define REEMBED_IO_FILE_OWN_FILE_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"

// What is one user's alone, whatever was there before: the folder of a job and the files in it. They hold texts,
// vectors and what was paid for, and whoever could plant a link among them would have another file overwritten.
//
// Errors of all: kPermissionDenied (of another user, writable by others, a link or no plain file; says what to do), and
// those of FileError().
namespace reembed {

// Makes the folder, and those above it that are not there, for this user alone (0700). One that is there must be this
// user's and not writable by others, unless they may not touch what is in it (sticky); an empty one is tightened to
// 0700, another one stays readable to whom it is.
absl::Status MakeOwnFolder(const std::string& dir);

// For reading and writing, with the right 0600 also if it had wider ones. Never through a link.
enum class Absent { kMake, kFail };
absl::StatusOr<File> OpenOwnFile(const std::string& path, Absent absent);

// The same for a file that another library opens afterwards, without opening one that is there: to close a file ends
// the locks that this process has on it. kFail: one that is absent stays so, which is no error.
absl::Status ClaimOwnFile(const std::string& path, Absent absent);

// Gives `path` this content in one step, durably, by way of PATH.partial; what has that name is removed first.
absl::Status ReplaceOwnFile(const std::string& path, absl::string_view content);
// The same with what `write` writes. Errors also: those of `write`.
absl::Status ReplaceOwnFile(const std::string& path, absl::FunctionRef<absl::Status(const File&)> write);
// The same with `content`, but not durably: after a power cut there may be the old file, none, or an empty one. For
// what nobody misses, as each of the two syncs of the others can take long.
absl::Status ReplaceOwnFileForNow(const std::string& path, absl::string_view content);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_OWN_FILE_H_
