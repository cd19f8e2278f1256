// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_LOOKUP_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_LOOKUP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/table_catalog.h"

// Small questions to a PostgreSQL database before a job begins. Each has a connection of its own that cannot write.
namespace reembed {

// What the catalog says of the table. Errors: as PostgresConnection, ResolvePostgresTable; not that there is no such
// table.
absl::StatusOr<TableFacts> LookUpPostgresTable(const Location& location);

// Columns of pgvector's types, or called as vectors are, in tables of the location's schema, or of those on the search
// path; those of reembed's own tables left out. The location's table need not be there. Errors: as PostgresConnection.
absl::StatusOr<std::vector<VectorColumnName>> PostgresVectorColumns(const Location& location);

// Errors: kNotFound when no row of the table has `value` in one of the columns (names the nearest value that there is,
// among the first thousand); as LookUpPostgresTable.
absl::Status CheckPostgresValueExists(const Location& location, const std::vector<std::string>& columns,
                                      const std::string& value);

// Drops those of the tables that are there, and what depends on them. Errors: as PostgresConnection;
// kFailedPrecondition (the extension pgvector is not installed, so that they could not be made again).
absl::Status DropPostgresTables(const Location& location, const std::vector<std::string>& tables);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_LOOKUP_H_
