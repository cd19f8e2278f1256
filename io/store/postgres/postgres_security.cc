// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_security.h"

#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"

namespace reembed {

absl::StatusOr<PostgresRowSecurity> LookUpPostgresRowSecurity(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(location));
  ABSL_ASSIGN_OR_RETURN(const auto connection,
                        PostgresConnection::Open(asked.address, {.read_only = true, .patience = absl::ZeroDuration()}));
  ABSL_ASSIGN_OR_RETURN(const PostgresTable table, ResolvePostgresTable(connection.get(), asked));
  return FindPostgresRowSecurity(connection.get(), table);
}

}  // namespace reembed
