// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_KIND_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_KIND_H_

#include "engine/store_kind.h"

namespace reembed {

extern const StoreKind kSqliteKind;  // a file
extern const StoreKind kLibsqlKind;  // a server

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_KIND_H_
