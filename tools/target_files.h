// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TARGET_FILES_H_
#define REEMBED_TOOLS_TARGET_FILES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "io/job/place_lock.h"
#include "tools/registry.h"

// Targets that are files, complete or absent: which files they are, and who may write them.
namespace reembed {

// The files of a target that is made as a whole, the one with its name first; none: it is filled in place, or a stream.
std::vector<std::string> FilesOf(const Store& target);

// The names under which they grow.
std::vector<std::string> GrowingNamesOf(const Store& target);

// What changes whenever somebody writes to the file or puts another in its place. Empty: it is not there.
std::string FileMark(const std::string& path);

// kInvalidArgument if two of the targets would write one file, however it is named.
absl::Status CheckTargetsApart(absl::Span<const Store> targets);

// What may be at the names under which `target` grows: plain files that the job at `directory` has left there, or one
// of a version that noted nothing; if `is_new` nothing. Changes nothing. Errors: kInvalidArgument (names the file, and
// whose it is).
absl::Status CheckGrowingFiles(const Store& target, const std::string& directory, bool is_new);

// The right to write the places of files, in the order of the targets; null for a target that is no file.
// `directory`: of the job. Errors: as PlaceLock::Acquire(); kInvalidArgument, kNotFound (no file can be made there).
using TargetLocks = std::vector<std::unique_ptr<PlaceLock>>;
absl::StatusOr<TargetLocks> LockTargets(absl::Span<const Store> targets, const std::string& directory);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TARGET_FILES_H_
