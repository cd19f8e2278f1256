// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_SINK_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_SINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/table_sink.h"
#include "engine/vector_sink.h"

namespace reembed {

struct SqliteSinkOptions {
  absl::Duration busy_timeout = absl::Seconds(30);  // how long to wait for a lock before kUnavailable
};

// Writes vectors into one column of an SQLite table, found by the row's key, and model, width and time into others if
// the location names them. Nothing else of a row changes, except what the table's own triggers do.
//
// mode=update: the rows must be there. A row that is gone is refused with kNotFound; a row that a constraint or a
//   trigger refuses, with SQLite's words. Missing columns are added by Open(); see SqliteChanges.
// mode=upsert: rows that are not there are added; table and file are made when missing, with the columns `key`,
//   `embedding` and `model` unless the location names others.
//
// Each Write() is one transaction over everything it is given, so no lock is held between two calls and rows are
// durable when it returns. The journal mode stays as it is.
// Errors: as SqliteDb, SqliteTable; kInvalidArgument (the location has no `vector`); kFailedPrecondition (a column that
// cannot take a vector; the file or its folder is write-protected); Write: kUnavailable (locked), kResourceExhausted
// (disk full): then nothing of the call is stored.
absl::StatusOr<std::unique_ptr<VectorSink>> MakeSqliteSink(const Location& location, const Model& model,
                                                           const SqliteSinkOptions& options = {});

// What writes the rows of such a sink into a table that is no vec0 table, for a sink that fills one beside its own.
// Errors: likewise.
absl::StatusOr<std::unique_ptr<RowWriter>> MakeSqliteRowWriter(const Location& location, const Model& model,
                                                               const SqliteSinkOptions& options);

// Puts back what the sink has shown to the log, in transactions of some hundred rows; takes away columns, and a table,
// that it has made, if nothing is in them any more. The table's own triggers run, as they do for the sink.
// Errors: as MakeSqliteSink, RollBackRows() and `old_rows`; kNotFound (no such file). Of a table that is gone the rows
// count as gone.
absl::StatusOr<RollbackReport> RollBackSqlite(const Location& location, UndoReader* old_rows);

// What Prepare() and Publish() will change of a table that is there, for `plan` and people: columns that are added,
// another width of a vec0 table. `dim`: of the job's vectors. Reads only. Errors: as MakeSqliteSink.
absl::StatusOr<std::vector<std::string>> SqliteChanges(const Location& location, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_SINK_H_
