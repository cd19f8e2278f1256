// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_KIND_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_KIND_H_

#include "engine/store_kind.h"

namespace reembed {

extern const StoreKind kPostgresKind;

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_KIND_H_
