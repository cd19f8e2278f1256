// SPDX-License-Identifier: Apache-2.0
#include "tools/place.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/database_url.h"
#include "tools/exit_code.h"
#include "tools/registry.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The password or the token that any database's URL holds; empty: none. No error shows it.
absl::StatusOr<std::string> SecretOfUrl(absl::string_view url) {
  for (const absl::string_view name : {"?authToken=", "&authToken="}) {
    const size_t begin = url.find(name);
    if (begin == absl::string_view::npos) continue;
    const absl::string_view token = url.substr(begin + name.size());
    return DecodeSecretOfUrl(token.substr(0, token.find('&')));
  }
  return PasswordOfUrl(url);
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

namespace {

std::vector<std::string> PlacesOnStreams() {
  std::vector<std::string> places = {"`-` (JSON lines)"};
  for (const StoreKind* const kind : StoreKinds()) {
    const absl::string_view name = kind->name;
    if (kind->is_stream && name != "-") places.emplace_back(name);
  }
  return places;
}

}  // namespace

absl::StatusOr<Location> ParsePlace(const std::string& uri, const SecretVariables& variables,
                                    const Environment& environment) {
  absl::StatusOr<Location> location = ParseLocation(uri, StoreKinds());
  ABSL_RETURN_IF_ERROR(location.status());
  if (absl::EndsWith(location->scheme, ":-") && FindKind(location->scheme) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(location->scheme, " : only ",
                                                   absl::StrJoin(PlacesOnStreams(), " and "),
                                                   " go through standard input and output; a file of that name is ",
                                                   absl::StripSuffix(location->scheme, "-"), "./-"));
  }
  const StoreKind& kind = KindOf(*location);
  if (kind.is_file) {
    if (absl::EndsWith(location->path, "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat(location->scheme, ":", location->path, " names a folder; add the name of a file"));
    }
    location->path = AbsolutePath(ExpandHome(location->path, environment));
    ABSL_RETURN_IF_ERROR(CheckNotEscaped(location->scheme, location->path));
  }
  MakePathsAbsolute(environment, &*location);
  ABSL_RETURN_IF_ERROR(AddSecret(variables, environment, &*location));
  return location;
}

void MakePathsAbsolute(const Environment& environment, Location* location) {
  for (const PathParameter& parameter : KindOf(*location).path_parameters) {
    const auto found = location->parameters.find(parameter.name);
    if (found == location->parameters.end()) continue;
    std::string& value = found->second;
    if (parameter.only_with_slash && !absl::StrContains(value, "/")) continue;
    value = AbsolutePath(ExpandHome(value, environment));
  }
}

absl::Status AddSecret(const SecretVariables& variables, const Environment& environment, Location* location) {
  if (!location->secret.empty()) return absl::OkStatus();
  const StoreKind& kind = KindOf(*location);
  if (kind.join_secrets != nullptr) {
    std::vector<std::string> secrets;
    for (const StoreKind* const part : kind.parts) {
      Location one{.scheme = part->name};
      ABSL_RETURN_IF_ERROR(AddSecret(variables, environment, &one));
      secrets.push_back(std::move(one.secret));
    }
    location->secret = kind.join_secrets(secrets);
    return absl::OkStatus();
  }
  const bool is_token = kind.secret == SecretKind::kToken;
  const std::string named = is_token ? variables.token : kind.secret == SecretKind::kPassword ? variables.password : "";
  if (!named.empty()) {
    const std::string value = environment.Get(named);
    const auto without = [&](absl::string_view what) {
      return absl::UnauthenticatedError(absl::StrCat(is_token ? "--db-token-env " : "--db-password-env ", named, ": ",
                                                     what, "; without the flag it is ", kind.secret_variables.front()));
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
  for (const char* const variable : kind.secret_variables) {
    location->secret = environment.Get(variable);
    if (!location->secret.empty()) break;
  }
  return absl::OkStatus();
}

absl::Status WithQuotingAdvice(absl::Status status, absl::Span<const std::string> uris) {
  if (ExitCodeOf(status) != kExitUsage) return status;
  for (const std::string& uri : uris) {
    const absl::StatusOr<Location> location = ParseLocation(uri);
    if (!location.ok() || location->parameters.size() != 1 || absl::StrContains(uri, "&")) continue;
    if (!absl::StrContains(KindOf(*location).example, "&")) continue;
    return absl::Status(
        status.code(), absl::StrCat(status.message(), "; if more was said behind ", location->parameters.begin()->first,
                                    "=, quote the whole URI: the shell ends a command at &"));
  }
  return status;
}

std::string LastNameOf(const Location& place) {
  const absl::string_view path = absl::StripSuffix(place.path, "/");
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path : path.substr(slash + 1));
}

std::string PlaceText(const Location& location) {
  Location shown = location;
  for (const auto& [name, value] : location.parameters) {
    if (absl::StartsWith(name, "set.") || name == "fields" || name == "schema_file") shown.parameters.erase(name);
  }
  return shown.ToString();
}

}  // namespace reembed
