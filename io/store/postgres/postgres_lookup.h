// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_LOOKUP_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_LOOKUP_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"
#include "io/store/vector_column_name.h"

// Small questions to a PostgreSQL database before a job begins. Each has a connection of its own that cannot write.
namespace reembed {

// What the catalog says of the table of a location.
struct PostgresTableFacts {
  bool exists = false;
  std::map<std::string, std::string> types;  // column -> its type as SQL writes it, e.g. `vector(3072)`
  // Of the location's `vector`: how many numbers its type demands; where it demands none, how many most of the stored
  // vectors have; 0: nothing says it.
  int dim = 0;
  bool dim_is_fixed = false;  // the type demands it
  // That column was made by an earlier job, under this name (see postgres_new_column.h); empty: it was not.
  std::string made_as;
};

// Errors: as PostgresConnection, ResolvePostgresTable; not that there is no such table.
absl::StatusOr<PostgresTableFacts> LookUpPostgresTable(const Location& location);

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
