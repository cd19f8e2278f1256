// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_NEW_COLUMN_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_NEW_COLUMN_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/store/postgres/postgres_table.h"

// With new_column=N vectors are built beside the old ones, and at the end the two columns change names. A comment on
// the new column tells later runs how far that is, also when the process died in between.
namespace reembed {

// The comment that marks the column made for `asked`.
std::string PostgresNewColumnMark(const PostgresLocation& asked);

// The new_column= for which this comment was made; empty: it is another comment.
std::string PostgresNewColumnOfMark(absl::string_view comment);

// Whether the names have been swapped already: `vector` is the new column.
bool IsPostgresSwapped(const PostgresTable& table, const PostgresLocation& asked);

// The column that holds, or will hold, the job's vectors: new_column until the names are swapped, else vector.
// Errors: kFailedPrecondition (a column of that name is somebody else's, or VECTOR_old is in the way).
absl::StatusOr<std::string> PostgresColumnToFill(const PostgresTable& table, const PostgresLocation& asked);

// The statements that swap the names, in one transaction that waits at most some seconds for other sessions.
std::string PostgresSwapSql(const PostgresTable& table, const PostgresLocation& asked);

// The way back, once they are swapped. `has_old`: there was a column before. Errors: kFailedPrecondition (it is gone).
absl::StatusOr<std::string> PostgresSwapBackSql(const PostgresTable& table, const PostgresLocation& asked,
                                                bool has_old);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_NEW_COLUMN_H_
