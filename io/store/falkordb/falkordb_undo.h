// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_UNDO_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_UNDO_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "engine/table_sink.h"
#include "engine/undo_log.h"
#include "io/store/falkordb/falkordb_graph.h"
#include "io/store/falkordb/falkordb_nodes.h"

// The way back of nodes in FalkorDB: the properties that a sink fills, as they were, to the bit.
namespace reembed {

// Shows the log what the nodes of the rows hold. Those that are not there are not written. A null log takes nothing.
// Errors: as RespClient, those of the log; kFailedPrecondition (a property is of a type that cannot be put back).
absl::Status LogFalkorNodes(const FalkorNodes& nodes, absl::Span<RowToWrite* const> rows, UndoLog* log);

// The index that is about to be made.
absl::Status LogFalkorKeyIndexMade(UndoLog* log);
absl::Status LogFalkorVectorIndexMade(UndoLog* log);

// Puts back what the log holds; properties that were not there go. Indexes that the job made stay, and notes say so.
// Waits for the disk as the sink does. May be called again after any crash.
// Errors: as OpenFalkorNodes, but where the graph or the label is gone the rows count as gone; those of the log, and of
// RollBackRows().
absl::StatusOr<RollbackReport> RollBackFalkor(const Location& location, UndoReader* old_rows,
                                              const FalkorOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_UNDO_H_
