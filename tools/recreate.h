// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RECREATE_H_
#define REEMBED_TOOLS_RECREATE_H_

#include <vector>

#include "absl/status/status.h"
#include "engine/undo_log.h"
#include "tools/resolve.h"

namespace reembed {

// What --force-recreate asks for: the tables that the jobs' system has in their PostgreSQL target are dropped, with
// consent, after the embedder has answered. The jobs then make them anew, and put in what they have bought already.
// Nothing happens without that flag. Errors: kInvalidArgument (no such target; no consent); as ProbeEmbedder,
// DropPostgresTables.
absl::Status RecreateTables(const CommandOptions& options, std::vector<ResolvedJob>* jobs);

// Tells the log of one of the job's targets, if there is one, what RecreateTables() has dropped there, so that a
// rollback says what it cannot bring back.
absl::Status LogRecreated(const ResolvedJob& job, const Store& target, UndoLog* log);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RECREATE_H_
