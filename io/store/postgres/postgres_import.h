// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

// Brings the rows of a table in SQLite, or behind a libSQL server, into a PostgreSQL table, each together with its
// vector: no reader ever sees one without the other. postgres://...&mode=insert, and besides what PostgresLocation says
//   origin       name of the source, under which the target remembers which of its rows it has (required). Another file
//                needs another one
//   fields       columns of the source that are read, `a,b,c:json`; those that its table lacks are NULL. With :json a
//                text that is JSON is taken for what it says, and any other one stays a text
//   set.COLUMN   SQL for a column of the target, over the jsonb object `r` of the fields: r->>'title'
//   text         column of the target that holds the row's text: a row that is there already gets another vector only
//                while that is as the source has it
//   schema_file  statements that make the target when its table is not there; {dim} stands for the width
//
// The new row's key is the column's default, or for texts a new UUID. The table reembed_ids (source, old_id, target,
// new_id, row_hash) is written in the same transaction as the rows, so a row comes once, whatever is repeated or
// killed, and a rollback knows what nobody has changed since.
namespace reembed {

struct PostgresImportOptions {
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away, before kUnavailable
};

// Write: a row that the target refuses, for its words; that is gone from the source or, after it was brought, from the
// target; or whose text was changed there, is refused, and the rest is stored.
// Errors: as PostgresConnection, PostgresTable, PostgresVectorColumn, SqlDb; kInvalidArgument (a source of another
// kind, a parameter is missing or wrong); kFailedPrecondition (the table is there, but lacks columns that are set:
// names them; the extension is missing); kPermissionDenied (says the GRANT).
absl::StatusOr<std::unique_ptr<VectorSink>> MakePostgresImportSink(const Location& location, const Model& model,
                                                                   const Location& source,
                                                                   const PostgresImportOptions& options = {});

// What the sink will change besides adding rows. Reads only.
absl::StatusOr<std::vector<std::string>> PostgresImportChanges(const Location& location, const Model& model);

// The rows that came from asked.origin as a table of their own, whose key is the key that they have there.
// Errors: kNotFound (nothing was brought yet).
absl::StatusOr<PostgresTable> PostgresImportedRows(PostgresConnection* connection, const PostgresLocation& asked);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_H_
