// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_CUT_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_CUT_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/selection.h"

namespace reembed {

// StoreKind::cut. Integer keys by the index on them, a few at a time; others by a sample of the table's pages, which
// the server sorts as it sorts keys. Of what has no pages (a view) the server walks over the keys.
absl::StatusOr<std::vector<Key>> CutPostgres(const Location& location, const Selection& selection, int shares);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_CUT_H_
