// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_LOCK_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_LOCK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/target_lock.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {

// The lock of the property that a target names: a lease, which is two keys of the server while somebody has it. Null:
// the user may not run scripts there. Errors: as TakeLease(), RespClient, ParseFalkorLocation().
absl::StatusOr<std::unique_ptr<TargetLock>> LockFalkorProperty(const Location& target, const LockAsker& asker,
                                                               const FalkorOptions& options);

// Whether nobody has such a lock in the graph, for whoever replaces it; always null. A run that begins later is not
// held up. Errors: kAborted (names the job); as RespClient, ParseFalkorGraph().
absl::StatusOr<std::unique_ptr<TargetLock>> LockFalkorGraph(const Location& place, const FalkorOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_LOCK_H_
