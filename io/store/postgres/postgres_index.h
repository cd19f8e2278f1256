// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_INDEX_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_INDEX_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/store/postgres/postgres_target.h"

// The indexes of pgvector over the column of a target. A graph that is built over rows that are there costs a fraction
// of one that grows with every row, so indexes come last.
namespace reembed {

// Errors: kFailedPrecondition (no such index for this type and width; an index that rebuild cannot make again; says
// what to do instead).
absl::Status CheckPostgresIndex(const PostgresTarget& target, const PostgresTable& table,
                                const PostgresVectorColumn& vector);

// index=rebuild: drops the column's indexes, and in the same transaction writes their definitions into the table
// reembed_indexes beside the target, where they are until they have been made again, after whatever crash. Without
// indexes it does nothing.
absl::Status DropPostgresIndexes(const PostgresTarget& target);

// Makes those of the table that a run has dropped, this one or another. Keeps nobody from writing. Ends with valid
// indexes: one that an interrupted build left behind is dropped first.
absl::Status BuildDroppedPostgresIndexes(const PostgresTarget& target);

// The index that index= asks for, if any, and the dropped ones, likewise.
absl::Status BuildPostgresIndexes(const PostgresTarget& target);

// Names of the indexes of pgvector over the target's column, by name; nothing where there is no table or column.
absl::StatusOr<std::vector<std::string>> PostgresVectorIndexes(const PostgresTarget& target);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_INDEX_H_
