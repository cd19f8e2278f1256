// SPDX-License-Identifier: Apache-2.0
#include "tools/place.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "io/system/automem_rows.h"
#include "tools/exit_code.h"
#include "tools/registry.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

bool IsFileScheme(const std::string& scheme) {
  return scheme == "sqlite" || scheme == "jsonl" || scheme == "hdf5" || scheme == "npy" || scheme == "fbin" ||
         scheme == "faiss" || scheme == "memu";
}

// Parameters that are files, too.
bool IsFileParameter(const std::string& scheme, const std::string& name, const std::string& value) {
  // An extension without a slash is looked for where libraries are.
  if (scheme == "sqlite") return name == "extension" && absl::StrContains(value, "/");
  if (scheme == "memu") return name == "db";
  return absl::StartsWith(scheme, "postgres") && name == "schema_file";
}

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

// Never shown, so neither is the text that would say where.
absl::StatusOr<std::string> DecodeSecret(absl::string_view text) {
  absl::StatusOr<std::string> decoded = PercentDecode(text);
  if (decoded.ok()) return decoded;
  return absl::InvalidArgumentError("the password in the database's URL has a % of its own; write %25");
}

// The password or the token that any database's URL holds; empty: none. No error shows it.
absl::StatusOr<std::string> SecretOfUrl(absl::string_view url) {
  for (const absl::string_view name : {"?authToken=", "&authToken="}) {
    const size_t begin = url.find(name);
    if (begin == absl::string_view::npos) continue;
    const absl::string_view token = url.substr(begin + name.size());
    return DecodeSecret(token.substr(0, token.find('&')));
  }
  const PasswordPart part = FindPassword(url);
  if (part.at == std::string::npos) return std::string();
  return DecodeSecret(url.substr(part.separator + 1, part.at - part.separator - 1));
}

// A path is taken as it is. Who writes %20 in one means a file whose name has a blank, if there is one.
absl::Status CheckNotEscaped(const std::string& scheme, const std::string& path) {
  const absl::StatusOr<std::string> decoded = PercentDecode(path);
  if (!decoded.ok() || *decoded == path) return absl::OkStatus();
  std::error_code ignored;
  if (fs::exists(path, ignored) || !fs::exists(*decoded, ignored)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(scheme, ":", path, ": is not there, but `", *decoded,
                                          "` is: in front of ? a name is taken as it is, without %20"));
}

// As many links behind each other as the system follows.
constexpr int kMaxLinks = 40;

}  // namespace

std::string AbsolutePath(const std::string& path) {
  std::error_code failed;
  // Made absolute first: of a path of which nothing is there, weakly_canonical() leaves what it is given.
  fs::path whole = fs::absolute(path, failed);
  for (int links = 0; links <= kMaxLinks && !failed; ++links) {
    whole = fs::weakly_canonical(whole, failed);
    if (failed) break;
    if (!whole.has_filename() && whole.has_relative_path()) whole = whole.parent_path();
    std::error_code no_link;
    const fs::path next = fs::read_symlink(whole, no_link);  // only a link that leads nowhere is left
    if (no_link) return whole.string();
    whole = whole.parent_path() / next;
  }
  return fs::path(path).lexically_normal().string();
}

absl::StatusOr<Location> ParsePlace(const std::string& uri, const SecretVariables& variables,
                                    const Environment& environment) {
  absl::StatusOr<Location> location = ParseLocation(uri);
  ABSL_RETURN_IF_ERROR(location.status());
  if (IsFileScheme(location->scheme) && location->path == "-") {
    return absl::InvalidArgumentError(absl::StrCat(
        location->scheme, ":- : only JSON lines go through standard input and output (`-`); a file of that name is ",
        location->scheme, ":./-"));
  }
  if (IsFileScheme(location->scheme)) {
    if (absl::EndsWith(location->path, "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat(location->scheme, ":", location->path, " names a folder; add the name of a file"));
    }
    location->path = AbsolutePath(ExpandHome(location->path, environment));
    ABSL_RETURN_IF_ERROR(CheckNotEscaped(location->scheme, location->path));
  }
  for (auto& [name, value] : location->parameters) {
    if (IsFileParameter(location->scheme, name, value)) value = AbsolutePath(ExpandHome(value, environment));
  }
  ABSL_RETURN_IF_ERROR(AddSecret(variables, environment, &*location));
  return location;
}

absl::Status AddSecret(const SecretVariables& variables, const Environment& environment, Location* location) {
  if (!location->secret.empty()) return absl::OkStatus();
  if (location->scheme == "qdrant") location->secret = environment.Get("QDRANT_API_KEY");
  if (location->scheme == "automem") {
    Location graph{.scheme = "falkordb"}, points{.scheme = "qdrant"};
    absl::Status status = AddSecret(variables, environment, &graph);
    if (status.ok()) status = AddSecret(variables, environment, &points);
    location->secret = AutomemSecret(graph.secret, points.secret);
    return status;
  }
  const bool libsql = location->scheme == "libsql";
  if (!libsql && !IsPostgres(*location) && location->scheme != "falkordb") return absl::OkStatus();
  const std::string& named = libsql ? variables.token : variables.password;
  if (!named.empty()) {
    const std::string value = environment.Get(named);
    const auto without = [&](absl::string_view what) {
      return absl::UnauthenticatedError(absl::StrCat(libsql ? "--db-token-env " : "--db-password-env ", named, ": ",
                                                     what, "; without the flag it is ",
                                                     SecretVariablesOf(location->scheme).front()));
    };
    if (value.empty()) return without("is not set");
    if (!absl::StrContains(value, "://")) {
      location->secret = value;
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> secret = SecretOfUrl(value);
    if (!secret.ok()) return without(secret.status().message());
    location->secret = *std::move(secret);
    return absl::OkStatus();
  }
  for (const char* const variable : SecretVariablesOf(location->scheme)) {
    location->secret = environment.Get(variable);
    if (!location->secret.empty()) break;
  }
  return absl::OkStatus();
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
    if (absl::StartsWith(database, scheme)) return ParseLocation(absl::StrCat("libsql:", database));
  }
  if (absl::StrContains(database, "://") || absl::StartsWith(database, "libsql:")) return ParseLocation(database);
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
        password, DecodeSecret(absl::string_view(url).substr(part.separator + 1, part.at - part.separator - 1)));
    url.erase(part.separator, part.at - part.separator);
  }
  if (driver < colon) url.erase(driver, colon - driver);
  absl::StatusOr<Location> location = ParseLocation(url);
  ABSL_RETURN_IF_ERROR(location.status());
  for (const char* const other :
       {"connection_limit", "pool_timeout", "pgbouncer", "statement_cache_size", "socket_timeout", "ssl"}) {
    location->parameters.erase(other);
  }
  location->secret = std::move(password);
  return location;
}

absl::Status WithQuotingAdvice(absl::Status status, absl::Span<const std::string> uris) {
  if (ExitCodeOf(status) != kExitUsage) return status;
  for (const std::string& uri : uris) {
    const absl::StatusOr<Location> location = ParseLocation(uri);
    if (!location.ok() || location->parameters.size() != 1 || absl::StrContains(uri, "&")) continue;
    const Scheme* const scheme = FindScheme(location->scheme);
    if (scheme == nullptr || !absl::StrContains(scheme->example, "&")) continue;
    return absl::Status(
        status.code(), absl::StrCat(status.message(), "; if more was said behind ", location->parameters.begin()->first,
                                    "=, quote the whole URI: the shell ends a command at &"));
  }
  return status;
}

std::string PlaceText(const Location& location) {
  Location shown = location;
  for (const auto& [name, value] : location.parameters) {
    if (absl::StartsWith(name, "set.") || name == "fields" || name == "schema_file") shown.parameters.erase(name);
  }
  return shown.ToString();
}

bool IsPostgres(const Location& location) { return location.scheme == "postgres" || location.scheme == "postgresql"; }

}  // namespace reembed
