// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_SCRATCH_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_SCRATCH_H_

#include "engine/store_kind.h"

namespace reembed {

// Of a file: another one in the same folder, with its page size and journal, as a table in the file itself would leave
// it larger. Of a server: a table beside the target's. See ScratchWays.
extern const ScratchWays kSqliteScratch;
extern const ScratchWays kLibsqlScratch;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_SCRATCH_H_
