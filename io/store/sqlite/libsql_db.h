// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_LIBSQL_DB_H_
#define REEMBED_IO_STORE_SQLITE_LIBSQL_DB_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "io/store/sqlite/hrana.h"
#include "io/store/sqlite/sql_db.h"

namespace reembed {

// The server that a location names:
//   libsql://HOST[:PORT]?...         over https; with tls=0 and a port over http
//   libsql:http://HOST[:PORT]?...    or https://; ws:// and wss:// mean http:// and https://
// Its token is location.secret. Errors: kInvalidArgument (anything else; a file).
absl::StatusOr<HranaServer> ParseLibsqlServer(const Location& location);

// A database behind a libSQL server, for reading and for changes of the schema. One question and its whole answer at a
// time, each by itself: there is no transaction between two calls of Step(). Nothing is sent yet.
// `patience`: see HranaConnection. Errors: as HranaConnection, ParseLibsqlServer.
absl::StatusOr<std::unique_ptr<SqlDb>> OpenLibsqlDb(const Location& location, absl::Duration patience);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_LIBSQL_DB_H_
