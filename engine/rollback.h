// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_ROLLBACK_H_
#define REEMBED_ENGINE_ROLLBACK_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/row_table.h"
#include "engine/undo_log.h"

// The way back of a target that a job has filled in place: the same for all stores (DECISIONS.md has the reasons).
namespace reembed {

// Puts back what the log holds, some hundred rows at a time, and takes away what the job has made.
// - A row that holds what it held is unchanged; one that is not there any more is gone.
// - A row whose vector is not the one that the job wrote is left: somebody has changed it since.
// - Where nobody knows what the job wrote, a row gets its old cells back, but no row is removed.
// - A row that the job added goes, unless somebody uses it.
// - A row that the store refuses is left, with the store's words, and all others are put back.
// - Rows that come and go meanwhile are looked at again, five times.
// Names a million rows that stay, beyond RollbackReport::kMaxShown: they may be those of another job.
// `name`: of the target, for messages. `report`: what was done before. May be called again after any crash.
// Errors: those of the table and the log; kUnavailable (rows keep coming and going: run again).
absl::StatusOr<RollbackReport> RollBackRows(absl::string_view name, RowTable* table, UndoReader* log,
                                            RollbackReport report = {});

// Where there is nothing to put back into: how all rows of the log count.
// The table is not there, as a note then says: rows that it had are gone, and of those that the job added nothing is
// left to do.
absl::Status CountRowsGone(UndoReader* log, absl::string_view note, RollbackReport* report);
// What the job filled went with an earlier rollback.
absl::Status CountRowsUnchanged(UndoReader* log, RollbackReport* report);
// They cannot be asked what they hold, for this reason, such as a column that is gone.
absl::Status LeaveRows(UndoReader* log, absl::string_view why, RollbackReport* report);

}  // namespace reembed

#endif  // REEMBED_ENGINE_ROLLBACK_H_
