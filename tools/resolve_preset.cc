#include "tools/resolve_preset.h"

#include <algorithm>
#include <filesystem>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "tools/place.h"
#include "tools/preset_variables.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string SqlText(absl::string_view text) { return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'"); }

std::string SqlName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

// The database of the system: a path, or a URL as its own programs take it.
absl::StatusOr<std::string> FindDatabase(const SystemPreset& preset, const CommandOptions& options,
                                         const Environment& environment, std::vector<std::string>* notes) {
  if (!options.db.empty()) return options.db;
  for (const std::string& variable : preset.database_env) {
    if (std::string path = environment.Get(variable); !path.empty()) return path;
  }
  if (std::optional<std::string> url = FirstUrl(preset.database_urls, environment); url.has_value()) return *url;
  const auto exists = [&](const std::string& database) { return fs::exists(ExpandHome(database, environment)); };
  const auto found = std::find_if(preset.databases.begin(), preset.databases.end(), exists);
  if (found == preset.databases.end()) {
    return absl::NotFoundError(
        absl::StrCat("no database of ", preset.name, " is where it keeps it (", absl::StrJoin(preset.databases, ", "),
                     "); say where with --db PATH",
                     preset.database_env.empty() ? "" : absl::StrCat(", or set ", preset.database_env.front())));
  }
  for (auto other = found + 1; other != preset.databases.end(); ++other) {
    if (exists(*other)) notes->push_back(absl::StrCat(preset.name, " has another database: --db ", *other));
  }
  return *found;
}

// As the system's own client, which takes Qdrant's port where a URL names none. [qdrant_client, QdrantRemote]
std::string WithQdrantPort(const std::string& url) {
  const size_t host = url.find("://") == std::string::npos ? 0 : url.find("://") + 3;
  const size_t end = std::min(url.find('/', host), url.size());
  const bool has_port = url.find(':', host) < end;
  return has_port ? url : absl::StrCat(url.substr(0, end), ":6333", url.substr(end));
}

// The graph that `database` names, with the points that --target or else the system's own variables name.
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
  absl::StatusOr<Location> points = ParseLocation(uri);
  if (!points.ok()) return points.status();
  // An alias in place of the collection would not do: the system looks for the name in the list of collections.
  points->parameters.emplace("on_width", "side");
  Location location{.scheme = "automem", .path = database.path, .parameters = database.parameters};
  for (const auto& [name, value] :
       {std::pair("label", stream.table), std::pair("key", stream.key), std::pair("text", stream.text),
        std::pair("where", stream.where), std::pair("points", points->ToString())}) {
    if (!value.empty()) location.parameters[name] = value;
  }
  if (absl::Status secret = AddToken("", environment, &location); !secret.ok()) return secret;
  return location;
}

// What the chosen streams can be asked for besides.
absl::Status CheckAsked(const SystemPreset& preset, const std::vector<const PresetStream*>& streams,
                        const CommandOptions& options) {
  std::vector<std::string> recipes;
  bool has_time = false;
  for (const PresetStream* const stream : streams) {
    has_time = has_time || !stream->updated_column.empty();
    for (const auto& [name, text] : stream->recipes) recipes.push_back(name);
  }
  if (!options.recipe.empty() && std::find(recipes.begin(), recipes.end(), options.recipe) == recipes.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--recipe ", options.recipe, ": ", preset.name, " has ",
        recipes.empty() ? "one way to make a text" : absl::StrCat("these: ", absl::StrJoin(recipes, ", "))));
  }
  if (options.updated_at == "now-iso" && !has_time) {
    return absl::InvalidArgumentError(
        absl::StrCat("--updated-at: ", preset.name, " names no column for it (updated_column)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options) {
  std::vector<std::string> names;
  for (const PresetStream& stream : preset.streams) names.push_back(stream.name);
  for (const std::string& asked : options.streams) {
    if (asked == "all" || std::find(names.begin(), names.end(), asked) != names.end()) continue;
    const std::string near = NearestName(asked, names);
    return absl::InvalidArgumentError(
        absl::StrCat("--stream ", asked, ": ", preset.name,
                     near.empty() ? absl::StrCat(" has: ", absl::StrJoin(names, ", "))
                                  : absl::StrCat(" has no such stream; did you mean `", near, "`?")));
  }
  std::vector<const PresetStream*> chosen;
  for (const PresetStream& stream : preset.streams) {
    const bool named = std::any_of(options.streams.begin(), options.streams.end(),
                                   [&](const std::string& asked) { return asked == "all" || asked == stream.name; });
    if (options.streams.empty() ? stream.by_default : named) chosen.push_back(&stream);
  }
  if (absl::Status asked = CheckAsked(preset, chosen, options); !asked.ok()) return asked;
  return chosen;
}

absl::StatusOr<Location> PresetSource(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment,
                                      std::vector<std::string>* notes) {
  const absl::StatusOr<std::string> database = FindDatabase(preset, options, environment, notes);
  if (!database.ok()) return database.status();
  absl::StatusOr<Location> found = ParseDatabase(*database, environment);
  if (!found.ok()) return found;
  notes->insert(notes->end(), preset.notes.begin(), preset.notes.end());
  if (stream.kind == "automem") return AutomemSource(preset, stream, options, environment, *found);
  Location location = *std::move(found);
  if (absl::Status token = AddToken(options.db_token_env, environment, &location); !token.ok()) return token;
  if (stream.kind == "memu") {
    location.parameters["db"] = location.path;
    location.path = AbsolutePath((fs::path(location.path).parent_path() / preset.vectors).string());
    location.scheme = "memu";
  }
  const auto recipe = stream.recipes.find(options.recipe);
  const std::string& made = recipe == stream.recipes.end() ? stream.text_template : recipe->second;
  for (const auto& [name, value] :
       {std::pair("table", stream.table), std::pair("key", stream.key), std::pair("template", made),
        std::pair("text", made.empty() ? stream.text : ""), std::pair("vector", stream.vector),
        std::pair("model_column", stream.model_column), std::pair("dim_column", stream.dim_column),
        std::pair("updated_column", options.updated_at == "now-iso" ? stream.updated_column : ""),
        std::pair("encoding", stream.encoding), std::pair("where", stream.where),
        std::pair("collection", stream.collection)}) {
    if (!value.empty()) location.parameters[name] = value;
  }
  return location;
}

absl::StatusOr<std::string> OwnerCondition(const SystemPreset& preset, const PresetStream& stream,
                                           const CommandOptions& options) {
  const auto refuse = [&](absl::string_view flag) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", preset.name, stream.name.empty() ? "" : ", stream ",
                                                   stream.name, ": rows have no such owner; use --where"));
  };
  std::vector<std::string> conditions;
  if (!options.user.empty()) {
    if (stream.user.empty()) return refuse("--user");
    const UserTable& users = preset.users;
    conditions.push_back(users.table.empty()
                             ? absl::StrCat(SqlName(stream.user), " = ", SqlText(options.user))
                             : absl::StrCat(SqlName(stream.user), " IN (SELECT ", SqlName(users.id), " FROM ",
                                            SqlName(users.table), " WHERE ", SqlText(options.user), " IN (",
                                            SqlName(users.id), ", ", SqlName(users.name), "))"));
  }
  if (!options.agent.empty()) {
    if (stream.agent.empty()) return refuse("--agent");
    conditions.push_back(absl::StrCat(SqlName(stream.agent), " = ", SqlText(options.agent)));
  }
  return absl::StrCat("(", absl::StrJoin(conditions, " AND "), ")");
}

absl::Status AddEnvFile(const CommandOptions& options, Environment* environment) {
  if (!options.env_file.empty()) return environment->AddFile(options.env_file);
  CommandOptions asked = options;
  if (absl::Status read = ReadJobFile(&asked); !read.ok()) return read;
  SystemPreset files{.env_files = {".env"}};
  // A finished job has its source in the place of the system, and some sources are of one system only.
  const std::string name = asked.system.empty() ? asked.source.substr(0, asked.source.find(':')) : asked.system;
  if (!name.empty()) {
    // A system that is not there is reported where it is used.
    absl::StatusOr<SystemPreset> preset = FindSystem(name, *environment);
    if (preset.ok() && !preset->env_files.empty()) files = *std::move(preset);
  }
  for (const std::string& file : EnvFilesOf(files, *environment)) {
    if (absl::Status added = environment->AddFile(file); !added.ok()) return added;
  }
  return absl::OkStatus();
}

}  // namespace reembed
