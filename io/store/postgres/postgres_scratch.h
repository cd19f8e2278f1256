// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_SCRATCH_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_SCRATCH_H_

#include "engine/store_kind.h"

namespace reembed {

// A table in the schema of the target, whose column of vectors has the type and the indexes of the target's. See
// ScratchWays.
extern const ScratchWays kPostgresScratch;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SCRATCH_H_
