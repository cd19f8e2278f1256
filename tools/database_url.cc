// SPDX-License-Identifier: Apache-2.0
#include "tools/database_url.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/place.h"
#include "tools/registry.h"

namespace reembed {
namespace {

// Where the password of scheme://user:password@host stands, with the colon before it; npos: there is none.
struct PasswordPart {
  size_t separator = std::string::npos;
  size_t at = std::string::npos;
};
PasswordPart FindPassword(absl::string_view url) {
  const size_t colon = url.find("://");
  if (colon == absl::string_view::npos) return {};
  const size_t begin = colon + 3;
  const size_t end = std::min(url.find_first_of("/?", begin), url.size());
  const size_t at = url.rfind('@', end);
  if (at == absl::string_view::npos || at <= begin || at >= end) return {};
  const size_t separator = url.find(':', begin);
  if (separator >= at) return {};
  return {separator, at};
}

}  // namespace

// Never shown, so neither is the text that would say where.
absl::StatusOr<std::string> DecodeSecretOfUrl(absl::string_view text) {
  absl::StatusOr<std::string> decoded = PercentDecode(text);
  if (decoded.ok()) return decoded;
  return absl::InvalidArgumentError("the password in the database's URL has a % of its own; write %25");
}

absl::StatusOr<std::string> PasswordOfUrl(absl::string_view url) {
  const PasswordPart part = FindPassword(url);
  if (part.at == std::string::npos) return std::string();
  return DecodeSecretOfUrl(url.substr(part.separator + 1, part.at - part.separator - 1));
}

absl::StatusOr<Location> ParseDatabase(absl::string_view database, const Environment& environment) {
  if (absl::ConsumePrefix(&database, "file:")) {
    if (absl::StartsWith(database, "///")) database.remove_prefix(2);
    database = database.substr(0, database.find('?'));
    // What other programs take for a URL is one.
    ABSL_ASSIGN_OR_RETURN(const std::string decoded, PercentDecode(database));
    return Location{.scheme = "sqlite", .path = AbsolutePath(ExpandHome(decoded, environment))};
  }
  for (const absl::string_view scheme : {"http://", "https://", "ws://", "wss://"}) {
    if (absl::StartsWith(database, scheme)) return ParseLocation(absl::StrCat("libsql:", database), StoreKinds());
  }
  if (absl::StrContains(database, "://") || absl::StartsWith(database, "libsql:"))
    return ParseLocation(database, StoreKinds());
  return Location{.scheme = "sqlite", .path = AbsolutePath(ExpandHome(std::string(database), environment))};
}

absl::StatusOr<Location> ParseDatabaseVariable(absl::string_view database, const Environment& environment) {
  // As SQLAlchemy has it: three slashes before a relative path, four before an absolute one.
  for (const absl::string_view scheme : {"sqlite:///", "sqlite+aiosqlite:///", "sqlite+pysqlite:///"}) {
    if (absl::ConsumePrefix(&database, scheme))
      return ParseDatabase(database.substr(0, database.find('?')), environment);
  }
  if (!absl::StartsWith(database, "postgres")) return ParseDatabase(database, environment);
  std::string url(database);
  const size_t colon = url.find("://");
  if (colon == std::string::npos) return ParseDatabase(database, environment);
  const size_t driver = url.find('+');
  std::string password;
  if (const PasswordPart part = FindPassword(url); part.at != std::string::npos) {
    ABSL_ASSIGN_OR_RETURN(
        password, DecodeSecretOfUrl(absl::string_view(url).substr(part.separator + 1, part.at - part.separator - 1)));
    url.erase(part.separator, part.at - part.separator);
  }
  if (driver < colon) url.erase(driver, colon - driver);
  absl::StatusOr<Location> location = ParseLocation(url, StoreKinds());
  ABSL_RETURN_IF_ERROR(location.status());
  for (const char* const other :
       {"connection_limit", "pool_timeout", "pgbouncer", "statement_cache_size", "socket_timeout", "ssl"}) {
    location->parameters.erase(other);
  }
  location->secret = std::move(password);
  return location;
}

}  // namespace reembed
