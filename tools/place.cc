#include "tools/place.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "io/store/automem_rows.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

bool IsFileScheme(const std::string& scheme) {
  return scheme == "sqlite" || scheme == "jsonl" || scheme == "hdf5" || scheme == "npy" || scheme == "fbin" ||
         scheme == "faiss" || scheme == "memu";
}

}  // namespace

std::string AbsolutePath(const std::string& path) {
  std::error_code failed;
  const fs::path canonical = fs::weakly_canonical(path, failed);
  return failed ? path : canonical.string();
}

absl::StatusOr<Location> ParsePlace(const std::string& uri, const std::string& token_env,
                                    const Environment& environment) {
  absl::StatusOr<Location> location = ParseLocation(uri);
  if (!location.ok()) return location;
  if (IsFileScheme(location->scheme) && location->path != "-") {
    location->path = AbsolutePath(ExpandHome(location->path, environment));
  }
  if (absl::Status token = AddToken(token_env, environment, &*location); !token.ok()) return token;
  return location;
}

absl::Status AddToken(const std::string& token_env, const Environment& environment, Location* location) {
  if (!location->secret.empty()) return absl::OkStatus();
  const std::string graph_password = environment.Get("FALKORDB_PASSWORD");
  const std::string qdrant_key = environment.Get("QDRANT_API_KEY");
  if (location->scheme == "falkordb") location->secret = graph_password;
  if (location->scheme == "qdrant") location->secret = qdrant_key;
  if (location->scheme == "automem") location->secret = AutomemSecret(graph_password, qdrant_key);
  if (location->scheme != "libsql") return absl::OkStatus();
  if (!token_env.empty()) {
    location->secret = environment.Get(token_env);
    if (!location->secret.empty()) return absl::OkStatus();
    return absl::UnauthenticatedError(absl::StrCat("--db-token-env ", token_env, ": is not set"));
  }
  for (const char* const variable : {"TURSO_AUTH_TOKEN", "LIBSQL_AUTH_TOKEN", "DATABASE_AUTH_TOKEN"}) {
    location->secret = environment.Get(variable);
    if (!location->secret.empty()) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<Location> ParseDatabase(absl::string_view database, const Environment& environment) {
  if (absl::ConsumePrefix(&database, "file:")) {
    if (absl::StartsWith(database, "///")) database.remove_prefix(2);
    database = database.substr(0, database.find('?'));
  } else {
    for (const absl::string_view scheme : {"http://", "https://", "ws://", "wss://"}) {
      if (absl::StartsWith(database, scheme)) return ParseLocation(absl::StrCat("libsql:", database));
    }
    if (absl::StrContains(database, "://") || absl::StartsWith(database, "libsql:")) return ParseLocation(database);
  }
  return Location{.scheme = "sqlite", .path = AbsolutePath(ExpandHome(std::string(database), environment))};
}

}  // namespace reembed
