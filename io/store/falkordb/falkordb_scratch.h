// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_SCRATCH_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_SCRATCH_H_

#include "engine/store_kind.h"

namespace reembed {

// A graph of the same server. See ScratchWays.
extern const ScratchWays kFalkorScratch;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_SCRATCH_H_
