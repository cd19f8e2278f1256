#ifndef REEMBED_IO_STORE_SQLITE_LOOKUP_H_
#define REEMBED_IO_STORE_SQLITE_LOOKUP_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"

// Small questions to a database before a job begins. Both open it read-only and close it again.
namespace reembed {

// Errors: as OpenSqlDb.
absl::StatusOr<bool> DatabaseHasTable(const Location& database, const std::string& table);

// Errors: kNotFound when no row of the table has `value` in one of the columns (names the nearest value that there is,
// among the first thousand rows); as OpenSqlDb.
absl::Status CheckSqliteValueExists(const Location& database, const std::string& table,
                                    const std::vector<std::string>& columns, const std::string& value);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_LOOKUP_H_
