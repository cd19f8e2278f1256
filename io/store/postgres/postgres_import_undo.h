// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_UNDO_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_UNDO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "engine/overwriting.h"
#include "engine/table_sink.h"
#include "engine/undo_log.h"
#include "io/store/postgres/postgres_import.h"
#include "io/store/postgres/postgres_target.h"

// The way back of mode=insert: rows that the job brought go, with their ids, if nobody has changed them or refers to
// them; rows of an earlier job get their vectors back.
namespace reembed {

// The table that says which row of the target is which of the source's, see postgres_import.h.
inline constexpr absl::string_view kPostgresIdsTable = "reembed_ids";

// SQL: a fingerprint of the row `t` without its vector and without what is NULL. It is kept beside the row's id, in its
// transaction, and says later whether somebody has changed the row.
std::string PostgresRowHashSql(const PostgresTable& table, const PostgresVectorColumn& vector);

// Shows the log what the target has of the rows, which have keys: nothing, or an earlier job's vector. Of rows that
// were brought before and are gone since, nothing is shown, as nothing will be written. `ids`: SQL name of the table of
// ids.
absl::Status LogPostgresBrought(absl::Span<RowToWrite* const> rows, const std::string& ids, PostgresTarget* target,
                                UndoLog* log);

// What is about to be made: the tables of schema_file; that of the ids.
absl::Status LogPostgresSchemaMade(UndoLog* log);
absl::Status LogPostgresIdsMade(UndoLog* log);

// --force-recreate has dropped these tables: nothing brings them back, and a rollback says so.
absl::Status LogPostgresTablesDropped(absl::Span<const std::string> tables, UndoLog* log);

// What a run will do to vectors that are there: those of rows that an earlier job brought. Reads only.
absl::StatusOr<Overwriting> PostgresImportOverwriting(const Location& location, const Model& model);

// As RollBackPostgres. The table of ids goes once it is empty, if the job made it; other tables that it made stay, and
// notes say so.
absl::StatusOr<RollbackReport> RollBackPostgresImport(const Location& location, UndoReader* old_rows,
                                                      const PostgresImportOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_UNDO_H_
