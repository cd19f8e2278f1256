// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_DATABASE_URL_H_
#define REEMBED_TOOLS_DATABASE_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "tools/environment.h"

// How the programs of memory systems are told of their database.
namespace reembed {

// The database that a memory system's own programs are told of: what a kind reads as one of its own
// (StoreKind::read_database: file:PATH is an SQLite file, https://HOST a libSQL server, which still lacks its token), a
// path, or a URI as ParseLocation has it.
absl::StatusOr<Location> ParseDatabase(absl::string_view database, const Environment& environment);

// The same for the value of a variable, where programs expect the password in the URL: it becomes the location's
// secret. What the URL says to SQLAlchemy (postgresql+asyncpg://) or Prisma (?pgbouncer=true) alone is left out.
absl::StatusOr<Location> ParseDatabaseVariable(absl::string_view database, const Environment& environment);

// The password of scheme://user:password@host; empty: there is none. Errors: as DecodeSecretOfUrl.
absl::StatusOr<std::string> PasswordOfUrl(absl::string_view url);

// Percent escapes decoded. Errors: kInvalidArgument, which does not show it.
absl::StatusOr<std::string> DecodeSecretOfUrl(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_TOOLS_DATABASE_URL_H_
