// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_UNDO_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_UNDO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "engine/overwriting.h"
#include "engine/table_sink.h"
#include "engine/undo_log.h"
#include "io/store/postgres/postgres_sink.h"
#include "io/store/postgres/postgres_target.h"

// The way back of a PostgreSQL table. The log has the cells that a sink fills, each in the binary form of its type,
// which comes back byte for byte. With new_column= the old vectors are in a column that nobody overwrites, and the way
// back is to change the names again.
namespace reembed {

// The columns that a sink fills, the vector's first. The names are not quoted.
struct PostgresFilled {
  struct Column {
    std::string name;
    bool exists = false;
    std::string type;  // SQL, without a length
    int32_t oid = 0;   // of it
  };
  std::vector<Column> columns;
  size_t kept_from = 0;  // 1: the column of the vectors is new, and its cells need no keeping
};

// Errors: as PostgresConnection. Precondition: the table is there.
absl::StatusOr<PostgresFilled> FindPostgresFilled(const PostgresTarget& target);

// Shows the log what the rows, which have keys, hold; of those that are not there only with mode=upsert that they are
// not. Somebody who changes a row between this and its being written loses the change, as without a log. A null log
// takes nothing.
absl::Status LogPostgresRows(const PostgresFilled& filled, absl::Span<RowToWrite* const> rows, PostgresTarget* target,
                             UndoLog* log);

// What Prepare() is about to make, and whether Publish() will change names.
absl::Status LogPostgresChanges(const PostgresTarget& target, UndoLog* log);
absl::Status LogPostgresTableMade(UndoLog* log);

// What a run will do to the vectors of the table. Reads only. Errors: as MakePostgresSink.
absl::StatusOr<Overwriting> PostgresOverwriting(const Location& location, const Model& model);

// Puts back what the log holds, as RollBackRows() does, in transactions of some hundred rows. Rows that the job added
// go if they hold what it wrote and nothing but defaults besides; columns that it added in place, and a table that it
// made, go once nothing is in them. The column of new_column= stays under that name. Notes say what went and what
// stays. Triggers fire, or are skipped, as in the run. May be called again after any crash. Errors: as
// MakePostgresSink, those of the log, and of RollBackRows(). A table or a column that is gone is none: the rows count
// as gone, or are left.
absl::StatusOr<RollbackReport> RollBackPostgres(const Location& location, UndoReader* old_rows,
                                                const PostgresSinkOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_UNDO_H_
