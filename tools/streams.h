// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_STREAMS_H_
#define REEMBED_TOOLS_STREAMS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/exit_code.h"
#include "tools/resolve.h"

// A job of several streams: one folder for each in the directory of the whole.
namespace reembed {

// Takes out the optional jobs whose table is not in the database, and notes which of its tables have vectors that the
// system's preset does not know of: they are passed over, and nobody shall take that for complete.
// Errors: kNotFound (none is left: names those tables, too); of the database.
absl::Status DropAbsentStreams(std::vector<ResolvedJob>* jobs);

// Whether --user is somebody: in the table of users, or else in the rows of one of the streams.
// Errors: kNotFound (names the nearest).
absl::Status CheckUser(const std::vector<ResolvedJob>& jobs);

// The folders of a job: its own, or those of its streams, by name. Errors: kNotFound (there is no ledger in any).
absl::StatusOr<std::vector<std::string>> JobFolders(const std::string& directory);

// What the shell is told when two streams end so: whatever keeps rows from their vectors wins over rejected rows.
ExitCode WorseOf(ExitCode a, ExitCode b);

}  // namespace reembed

#endif  // REEMBED_TOOLS_STREAMS_H_
