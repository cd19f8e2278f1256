// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_SECURITY_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_SECURITY_H_

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {

// Whether row-level security filters what the user of the location sees of its table. Through a connection of its own
// that cannot write. Errors: as PostgresConnection, ResolvePostgresTable.
absl::StatusOr<PostgresRowSecurity> LookUpPostgresRowSecurity(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SECURITY_H_
