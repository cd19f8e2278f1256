// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PLACE_H_
#define REEMBED_TOOLS_PLACE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "tools/environment.h"

namespace reembed {

// The one form of a path, whether something is there yet or not: absolute, without links, dots, slashes at its end.
std::string AbsolutePath(const std::string& path);

// Names of variables, as --db-token-env and --db-password-env have them; empty: the usual ones.
struct SecretVariables {
  std::string token;     // of a libSQL server: TURSO_AUTH_TOKEN, LIBSQL_AUTH_TOKEN, DATABASE_AUTH_TOKEN
  std::string password;  // of PostgreSQL, or a URL that holds it: PGPASSWORD; of FalkorDB: FALKORDB_PASSWORD
};                       // Qdrant's is always QDRANT_API_KEY

// What a user wrote as --source or --target: files (also in parameters) with absolute paths, servers with their secret.
// Errors: as ParseLocation, AddSecret; kInvalidArgument (a file whose name ends with a slash).
absl::StatusOr<Location> ParsePlace(const std::string& uri, const SecretVariables& variables,
                                    const Environment& environment);

// The parameters that name files of this machine, with absolute paths.
void MakePathsAbsolute(const Environment& environment, Location* location);

// Gives a server that has no secret yet the one in its variable. Errors: kUnauthenticated (a variable that was named is
// not set).
absl::Status AddSecret(const SecretVariables& variables, const Environment& environment, Location* location);

// `status`, with the advice to quote if it is of a wrong argument and one of the URIs looks cut off: an unquoted & ends
// a shell's command, so that of all parameters the first is left.
absl::Status WithQuotingAdvice(absl::Status status, absl::Span<const std::string> uris);

// What it is called where it lies: a file, a collection, a graph, a database.
std::string LastNameOf(const Location& place);

// As Location::ToString(), for people: without the SQL that says how rows are brought into a table.
std::string PlaceText(const Location& location);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PLACE_H_
