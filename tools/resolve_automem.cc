// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_automem.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/system/automem_rows.h"
#include "tools/place.h"
#include "tools/preset_variables.h"
#include "tools/registry.h"

namespace reembed {
namespace {

// As the system's own client, which takes Qdrant's port where a URL names none. [qdrant_client, QdrantRemote]
std::string WithQdrantPort(const std::string& url) {
  const size_t host = url.find("://") == std::string::npos ? 0 : url.find("://") + 3;
  const size_t end = std::min(url.find('/', host), url.size());
  const bool has_port = url.find(':', host) < end;
  return has_port ? url : absl::StrCat(url.substr(0, end), ":6333", url.substr(end));
}

}  // namespace

absl::StatusOr<Location> AutomemSource(const SystemPreset& preset, const PresetStream& stream,
                                       const CommandOptions& options, const Environment& environment,
                                       const Location& database) {
  if (database.scheme != "falkordb") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--db ", database.ToString(), ": expected a graph, for example falkordb://localhost:6379/memories"));
  }
  const auto named = std::find_if(options.targets.begin(), options.targets.end(),
                                  [](const std::string& target) { return absl::StartsWith(target, "qdrant:"); });
  std::string uri = named == options.targets.end() ? "" : *named;
  if (uri.empty()) {
    const std::optional<std::string> url = FirstUrl(stream.target_urls, environment);
    if (!url.has_value()) {
      return absl::NotFoundError(absl::StrCat("where ", preset.name,
                                              " keeps its vectors is not known: set QDRANT_URL or QDRANT_HOST, or say "
                                              "--target qdrant:http://HOST:6333/memories"));
    }
    uri = absl::StrCat("qdrant:", WithQdrantPort(*url));
  }
  ABSL_ASSIGN_OR_RETURN(Location points, ParseLocation(uri, StoreKinds()));
  // An alias in place of the collection would not do: the system looks for the name in the list of collections.
  points.parameters.emplace("on_width", "side");
  Location location{.scheme = "automem", .path = database.path, .parameters = database.parameters};
  for (const auto& [name, value] :
       {std::pair("label", stream.table), std::pair("key", stream.key), std::pair("text", stream.text),
        std::pair("where", stream.where), std::pair("points", points.ToString())}) {
    if (!value.empty()) location.parameters[name] = value;
  }
  ABSL_RETURN_IF_ERROR(AddSecret({.password = options.db_password_env}, environment, &location));
  return location;
}

absl::StatusOr<std::vector<Location>> AutomemPlaces(const SystemPreset& preset, const CommandOptions& options,
                                                    const Environment& environment, const Location& database) {
  ABSL_ASSIGN_OR_RETURN(const Location both,
                        AutomemSource(preset, preset.streams.front(), options, environment, database));
  ABSL_ASSIGN_OR_RETURN(const AutomemLocation parsed, ParseAutomemLocation(both));
  const Location points = {.scheme = parsed.points.scheme, .path = parsed.points.path};
  std::vector<Location> places = {database, points};
  ABSL_RETURN_IF_ERROR(AddSecret({}, environment, &places.back()));
  return places;
}

}  // namespace reembed
