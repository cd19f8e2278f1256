// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_LOOKUP_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_LOOKUP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/table_catalog.h"

// Small questions to a database before a job begins. Each opens it read-only and closes it again.
namespace reembed {

// Errors: as OpenSqlDb.
absl::StatusOr<bool> DatabaseHasTable(const Location& database, const std::string& table);

// Columns of its tables that are called as vectors are, those of reembed's own tables left out. Errors: as OpenSqlDb.
absl::StatusOr<std::vector<VectorColumnName>> SqliteVectorColumns(const Location& database);

// Errors: kNotFound when no row of the table has `value` in one of the columns (names the nearest value that there is,
// among the first thousand rows); as OpenSqlDb.
absl::Status CheckSqliteValueExists(const Location& database, const std::string& table,
                                    const std::vector<std::string>& columns, const std::string& value);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_LOOKUP_H_
