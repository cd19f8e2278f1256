// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_CUT_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_CUT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

// StoreKind::cut: ids of points, found by scrolls of a few points from ids on that need not be there.
absl::StatusOr<std::vector<Key>> CutQdrant(const Location& location, int shares, const QdrantOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_CUT_H_
