// SPDX-License-Identifier: Apache-2.0
#include "tools/database_url.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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

namespace {

// Whether the text begins with the scheme of one of our databases.
bool IsUriOfDatabase(absl::string_view text) {
  const StoreKind* const kind = FindKind(text.substr(0, text.find(':')));
  return text.find(':') != absl::string_view::npos && kind != nullptr && kind->is_database;
}

absl::StatusOr<Location> ReadDatabase(absl::string_view text, bool in_variable, const Environment& environment) {
  const auto file = [&](Location location) {
    location.path = AbsolutePath(ExpandHome(location.path, environment));
    return location;
  };
  const StoreKind* files = nullptr;  // the databases that are one file
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->is_database && kind->is_file && files == nullptr) files = kind;
    if (kind->read_database == nullptr) continue;
    ABSL_ASSIGN_OR_RETURN(std::optional<Location> found, kind->read_database(text, in_variable));
    if (found.has_value()) return kind->is_file ? file(*std::move(found)) : *std::move(found);
  }
  if (absl::StrContains(text, "://") || IsUriOfDatabase(text)) return ParseLocation(text, StoreKinds());
  return file({.scheme = files->name, .path = std::string(text)});
}

}  // namespace

absl::StatusOr<Location> ParseDatabase(absl::string_view database, const Environment& environment) {
  return ReadDatabase(database, /*in_variable=*/false, environment);
}

absl::StatusOr<Location> ParseDatabaseVariable(absl::string_view database, const Environment& environment) {
  const PasswordPart part = FindPassword(database);
  if (part.at == std::string::npos) return ReadDatabase(database, /*in_variable=*/true, environment);
  ABSL_ASSIGN_OR_RETURN(std::string password,
                        DecodeSecretOfUrl(database.substr(part.separator + 1, part.at - part.separator - 1)));
  const std::string without = absl::StrCat(database.substr(0, part.separator), database.substr(part.at));
  absl::StatusOr<Location> location = ReadDatabase(without, /*in_variable=*/true, environment);
  // A place that wants no password is not what the variable means, and is refused with the words for it.
  if (location.ok() && KindOf(*location).secret != SecretKind::kPassword) {
    return ReadDatabase(database, /*in_variable=*/true, environment);
  }
  if (location.ok()) location->secret = std::move(password);
  return location;
}

}  // namespace reembed
