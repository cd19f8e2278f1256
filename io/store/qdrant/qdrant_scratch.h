// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SCRATCH_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SCRATCH_H_

#include "engine/store_kind.h"

namespace reembed {

// A collection of the same server, with the settings of the target if that is there. See ScratchWays.
extern const ScratchWays kQdrantScratch;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SCRATCH_H_
