// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_CUT_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_CUT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/selection.h"

namespace reembed {

// StoreKind::cut of files and of servers. Rows are looked at by their rowid, some thousands of them; a table without
// one is walked over, its keys alone. Errors: kFailedPrecondition (a view or a virtual table, which cannot seek).
absl::StatusOr<std::vector<Key>> CutSqlite(const Location& location, const Selection& selection, int shares);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_CUT_H_
