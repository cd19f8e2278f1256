// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_LIBSQL_SINK_H_
#define REEMBED_IO_STORE_SQLITE_LIBSQL_SINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

struct LibsqlSinkOptions {
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away, before kUnavailable
};

// Writes vectors into one column of a table behind a libSQL server (sqld, Turso), found by the row's key, and model,
// width and time into others if the location names them; see SqliteLocation and ParseLibsqlServer for what a location
// may say. Nothing else of a row changes, except what the table's own triggers do, which the server runs.
//
// mode=update, mode=upsert: as MakeSqliteSink. A missing column of blobs is added as F32_BLOB(width), which libSQL can
//   index. One that is there must have that width, or no declared one.
//
// Each Write() sends transactions of some MB, each whole in one request, as servers end one that is open for 5 seconds.
// One whose answer is lost with the connection is sent again, which changes nothing: rows are set by key.
// Errors: as HranaConnection, SqliteTable; kInvalidArgument (the location has no `vector`); kFailedPrecondition (a
// column that cannot take a vector). Write: kUnavailable, kResourceExhausted: part of the call may be stored.
absl::StatusOr<std::unique_ptr<VectorSink>> MakeLibsqlSink(const Location& location, const Model& model,
                                                           const LibsqlSinkOptions& options = {});

// As RollBackSqlite, in transactions of some hundred rows, each whole in one request. A row that somebody changes in
// the moment between its being looked at and its being put back loses that change.
absl::StatusOr<RollbackReport> RollBackLibsql(const Location& location, UndoReader* old_rows);

// What Open() will change besides vectors, and what will make it slow, one line each; for people. Reads only.
// Errors: as MakeLibsqlSink.
absl::StatusOr<std::vector<std::string>> LibsqlChanges(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_LIBSQL_SINK_H_
