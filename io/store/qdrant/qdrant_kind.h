// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_KIND_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_KIND_H_

#include "engine/store_kind.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

extern const StoreKind kQdrantKind;

// How to get into the server of a location that has its secret.
QdrantOptions QdrantLogin(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_KIND_H_
