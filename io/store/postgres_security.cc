#include "io/store/postgres_security.h"

#include "io/store/postgres_connection.h"

namespace reembed {

absl::StatusOr<PostgresRowSecurity> LookUpPostgresRowSecurity(const Location& location) {
  const absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(location);
  if (!asked.ok()) return asked.status();
  const auto connection =
      PostgresConnection::Open(asked->address, {.read_only = true, .patience = absl::ZeroDuration()});
  if (!connection.ok()) return connection.status();
  const absl::StatusOr<PostgresTable> table = ResolvePostgresTable(connection->get(), *asked);
  if (!table.ok()) return table.status();
  return FindPostgresRowSecurity(connection->get(), *table);
}

}  // namespace reembed
