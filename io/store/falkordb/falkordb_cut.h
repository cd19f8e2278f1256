// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_CUT_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_CUT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "io/store/falkordb/falkordb_source.h"

namespace reembed {

// StoreKind::cut. The server has all nodes in memory: it sorts their keys, and answers those that are wanted.
absl::StatusOr<std::vector<Key>> CutFalkor(const Location& location, int shares, const FalkorOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_CUT_H_
