#ifndef REEMBED_TOOLS_PLACE_H_
#define REEMBED_TOOLS_PLACE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "tools/environment.h"

namespace reembed {

// The path as the job remembers it.
std::string AbsolutePath(const std::string& path);

// What a user wrote as --source or --target: files with absolute paths, servers with their token.
// Errors: as ParseLocation, AddToken.
absl::StatusOr<Location> ParsePlace(const std::string& uri, const std::string& token_env,
                                    const Environment& environment);

// Gives a place that has no secret yet its own: FALKORDB_PASSWORD, QDRANT_API_KEY, for AutoMem both; a libSQL server
// the token in the variable `token_env`, or, if that is empty, in the first of TURSO_AUTH_TOKEN, LIBSQL_AUTH_TOKEN,
// DATABASE_AUTH_TOKEN that is set. Errors: kUnauthenticated (token_env is not set).
absl::Status AddToken(const std::string& token_env, const Environment& environment, Location* location);

// The database that a memory system's own programs are told of: PATH or file:PATH is an SQLite file; libsql://,
// http(s):// and ws(s):// name a libSQL server, which still lacks its token; other URLs are as ParseLocation has them.
absl::StatusOr<Location> ParseDatabase(absl::string_view database, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PLACE_H_
