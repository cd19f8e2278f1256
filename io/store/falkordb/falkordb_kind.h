// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_KIND_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_KIND_H_

#include "engine/store_kind.h"

namespace reembed {

extern const StoreKind kFalkorKind;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_KIND_H_
