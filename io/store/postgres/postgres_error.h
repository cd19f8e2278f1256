// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_ERROR_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// What PostgreSQL's errors mean, by their SQLSTATE, which is the same in every language of the server.
namespace reembed {

// The code of an absl::Status for a SQLSTATE:
// - kUnavailable: no connection (an empty code, too), restarting, a deadlock, or a lock that took too long: try again
// - kUnauthenticated: wrong or missing password, no such user
// - kPermissionDenied: the user may not; the message names the GRANT where it is known
// - kNotFound: no such database, table, column or function
// - kResourceExhausted: disk, memory or connections of the server are used up
// - kFailedPrecondition: a value, constraint or trigger refused a change, or the server is read-only
// - kInvalidArgument: wrong SQL
// - kDataLoss: the server says its data are damaged
// - kInternal: anything else
// Source: https://www.postgresql.org/docs/15/errcodes-appendix.html
absl::StatusCode PostgresCodeOf(absl::string_view sqlstate);

// What a failed statement over several rows says of them. `code`: SQLSTATE.
enum class PostgresRefusal {
  kNo,     // the server, the connection or the transaction failed: no row is to blame
  kYes,    // a value, a constraint or a trigger, which may raise any code that is not the server's own
  kMaybe,  // a row, as where row-level security forbids it, or the statement whatever its rows are
};
PostgresRefusal PostgresRefusalOf(absl::string_view code);

// Why a connection was refused.
struct PostgresConnectError {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  bool by_server = false;  // a server said so: it is there
  std::string message;     // without SQLSTATE and LOCATION
};

// Reads libpq's verbose message: `...: SEVERITY:  SQLSTATE: words`, and a line LOCATION.
PostgresConnectError ReadPostgresConnectError(std::string message);

// What a user can do about a refused connection; begins with `; `.
absl::string_view PostgresConnectAdvice(absl::StatusCode code);

// The first line of a message, without its severity: the lines behind it (DETAIL, CONTEXT) may show values of a row.
// `message`: null is an empty one. The view is into it.
absl::string_view PostgresFirstLine(const char* message);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_ERROR_H_
