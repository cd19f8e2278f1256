// SPDX-License-Identifier: Apache-2.0
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
#include "engine/status_macros.h"
#include "tools/database_url.h"
#include "tools/place.h"
#include "tools/preset_variables.h"
#include "tools/registry.h"
#include "tools/resolve_automem.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string SqlText(absl::string_view text) { return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'"); }

std::string SqlName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

absl::StatusOr<PresetDatabase> WithSecret(absl::StatusOr<Location> location, const CommandOptions& options,
                                          const Environment& environment) {
  ABSL_RETURN_IF_ERROR(location.status());
  ABSL_RETURN_IF_ERROR(AddSecret({options.db_token_env, options.db_password_env}, environment, &*location));
  return PresetDatabase{.location = *std::move(location)};
}

// As the variables for host, port, user and name have it; they name a PostgreSQL server.
Location ServerInParts(const ServerVariables& variables, const Environment& environment) {
  const auto get = [&](const std::string& variable) { return variable.empty() ? "" : environment.Get(variable); };
  const std::string host = get(variables.host), port = get(variables.port), user = get(variables.user);
  const bool is_socket = absl::StartsWith(host, "/");
  Location location{.scheme = "postgres",
                    .path = absl::StrCat("//", is_socket ? "" : host, is_socket || port.empty() ? "" : ":",
                                         is_socket ? "" : port, "/", get(variables.name)),
                    .secret = get(variables.password)};
  if (is_socket) location.parameters["host"] = host;
  if (is_socket && !port.empty()) location.parameters["port"] = port;
  if (!user.empty()) location.parameters["user"] = user;
  return location;
}

}  // namespace

absl::StatusOr<std::optional<PresetDatabase>> PresetServer(const SystemPreset& preset, const CommandOptions& options,
                                                           const Environment& environment) {
  for (const std::string& variable : preset.database_env) {
    const std::string url = environment.Get(variable);
    if (url.empty()) continue;
    absl::StatusOr<Location> location = ParseDatabaseVariable(url, environment);
    const bool has_secret =
        location.ok() && KindOf(*location).secret == SecretKind::kPassword && !location->secret.empty();
    absl::StatusOr<PresetDatabase> found = WithSecret(std::move(location), options, environment);
    if (!found.ok()) {
      return absl::Status(found.status().code(), absl::StrCat(variable, ": ", found.status().message()));
    }
    if (has_secret) found->password_variable = variable;
    return std::optional(*std::move(found));
  }
  const ServerVariables& parts = preset.server_env;
  if (parts.host.empty() || (environment.Get(parts.host).empty() && environment.Get(parts.name).empty())) {
    return std::nullopt;
  }
  Location location = ServerInParts(parts, environment);
  const bool has_secret = !location.secret.empty();
  ABSL_ASSIGN_OR_RETURN(PresetDatabase found, WithSecret(std::move(location), options, environment));
  if (has_secret) found.password_variable = parts.password;
  return std::optional(std::move(found));
}

absl::StatusOr<PresetDatabase> FindDatabase(const SystemPreset& preset, const CommandOptions& options,
                                            const Environment& environment, std::vector<std::string>* notes) {
  if (!options.db.empty()) return WithSecret(ParseDatabase(options.db, environment), options, environment);
  ABSL_ASSIGN_OR_RETURN(std::optional<PresetDatabase> server, PresetServer(preset, options, environment));
  if (server.has_value()) return *std::move(server);
  if (const std::optional<std::string> url = FirstUrl(preset.database_urls, environment); url.has_value()) {
    return WithSecret(ParseDatabase(*url, environment), options, environment);
  }
  const auto exists = [&](const std::string& database) { return fs::exists(ExpandHome(database, environment)); };
  const auto found = std::find_if(preset.databases.begin(), preset.databases.end(), exists);
  if (found == preset.databases.end()) {
    const std::string places =
        preset.databases.empty() ? ""
                                 : absl::StrCat(" is where it keeps it (", absl::StrJoin(preset.databases, ", "), ")");
    return absl::NotFoundError(
        absl::StrCat("no database of ", preset.name, places, "; say where it is with --db PATH or URL",
                     preset.database_env.empty() ? "" : absl::StrCat(", or set ", preset.database_env.front())));
  }
  for (auto other = found + 1; other != preset.databases.end(); ++other) {
    if (exists(*other)) notes->push_back(absl::StrCat(preset.name, " has another database: --db ", *other));
  }
  return WithSecret(ParseDatabase(*found, environment), options, environment);
}

namespace {

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

// Rows that are nobody's are not those of an owner who is asked for, unless no row is anybody's.
void LeaveOutOwnerless(const CommandOptions& options, std::vector<const PresetStream*>* chosen,
                       std::vector<std::string>* notes) {
  const auto ownerless = [&](const PresetStream* stream) {
    return (!options.user.empty() && stream->user.empty()) || (!options.agent.empty() && stream->agent.empty());
  };
  if (std::all_of(chosen->begin(), chosen->end(), ownerless)) return;
  for (const PresetStream* const stream : *chosen) {
    if (ownerless(stream))
      notes->push_back(absl::StrCat("stream ", stream->name, " is left out: its rows have no owner"));
  }
  std::erase_if(*chosen, ownerless);
}

}  // namespace

absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options, const Location& database,
                                                               std::vector<std::string>* notes) {
  const auto in_postgres = [](const PresetStream& stream) { return stream.kind == "postgres"; };
  const bool both = std::any_of(preset.streams.begin(), preset.streams.end(), in_postgres);
  const bool is_postgres = KindOf(database).name == absl::string_view("postgres");
  const auto fits = [&](const PresetStream& stream) { return !both || in_postgres(stream) == is_postgres; };
  std::vector<std::string> names;
  for (const PresetStream& stream : preset.streams) {
    if (fits(stream)) names.push_back(stream.name);
  }
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
    if (fits(stream) && (options.streams.empty() ? stream.by_default : named)) chosen.push_back(&stream);
  }
  if (options.streams.empty()) LeaveOutOwnerless(options, &chosen, notes);
  ABSL_RETURN_IF_ERROR(CheckAsked(preset, chosen, options));
  return chosen;
}

absl::Status TakeVectorsFile(const Location& database, const Environment& environment, CommandOptions* options,
                             SystemPreset* preset, std::vector<std::string>* notes) {
  const auto in_file = [](const PresetStream& stream) { return stream.kind == "memu"; };
  if (std::none_of(preset->streams.begin(), preset->streams.end(), in_file)) return absl::OkStatus();
  std::string file;
  std::vector<std::string> others;
  for (const std::string& uri : options->targets) {
    const absl::StatusOr<Location> place = ParseLocation(uri);
    if (!place.ok() || place->scheme != "memu" || !place->parameters.empty()) {
      others.push_back(uri);
      continue;
    }
    if (!file.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--target ", uri, ": ", preset->name, " has one file of vectors, and another was named"));
    }
    file = AbsolutePath(ExpandHome(place->path, environment));
  }
  if (file.empty()) return absl::OkStatus();
  if (database.scheme != "sqlite") {
    return absl::InvalidArgumentError(absl::StrCat("--target memu:", file, ": ", database.ToString(),
                                                   " keeps its vectors in the rows; leave it out"));
  }
  const fs::path usual = fs::path(database.path).parent_path() / preset->vectors;
  if (!fs::exists(file) && fs::exists(usual)) {
    notes->push_back(absl::StrCat(file, " is not there and is made; the captions of resources are only in ",
                                  usual.string(), ": copy it there first, or resources get no vector"));
  }
  notes->push_back(absl::StrCat("streams that keep their vectors in rows are left out, as --target names a file"));
  std::erase_if(preset->streams, [&](const PresetStream& stream) { return !in_file(stream); });
  preset->vectors = file;
  options->targets = std::move(others);
  return absl::OkStatus();
}

std::optional<Location> VectorsFile(const SystemPreset& preset, const Location& database) {
  if (preset.vectors.empty() || database.scheme != "sqlite") return std::nullopt;
  return Location{.scheme = "memu",
                  .path = AbsolutePath((fs::path(database.path).parent_path() / preset.vectors).string())};
}

std::string PresetTables(const SystemPreset& preset, const StoreKind& kind) {
  std::vector<std::string> tables = preset.insert.drop;
  for (const PresetStream& stream : preset.streams) {
    const bool is_new = std::find(tables.begin(), tables.end(), stream.table) == tables.end();
    if (is_new && stream.kind == kind.name) tables.push_back(stream.table);
  }
  return absl::StrJoin(tables, ",");
}

absl::StatusOr<std::optional<std::vector<Location>>> PresetPlaces(const SystemPreset& preset,
                                                                  const CommandOptions& options,
                                                                  const Environment& environment,
                                                                  const Location& database) {
  if (preset.streams.front().kind != "automem") return std::nullopt;
  ABSL_ASSIGN_OR_RETURN(std::vector<Location> places, AutomemPlaces(preset, options, environment, database));
  return std::optional(std::move(places));
}

absl::StatusOr<Location> PresetSource(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment,
                                      Location location) {
  if (stream.kind == "automem") return AutomemSource(preset, stream, options, environment, location);
  if (stream.kind == "memu") {
    location.parameters["db"] = location.path;
    location.path = AbsolutePath((fs::path(location.path).parent_path() / preset.vectors).string());
    location.scheme = "memu";
  }
  const auto recipe = stream.recipes.find(options.recipe);
  const std::string& made = recipe == stream.recipes.end() ? stream.text_template : recipe->second;
  for (const auto& [name, value] :
       {std::pair("table", stream.table), std::pair("key", stream.key), std::pair("null_key", stream.null_key),
        std::pair("template", made), std::pair("text", made.empty() ? stream.text : ""),
        std::pair("vector", stream.vector), std::pair("model_column", stream.model_column),
        std::pair("dim_column", stream.dim_column),
        std::pair("updated_column", options.updated_at == "now-iso" ? stream.updated_column : ""),
        std::pair("encoding", stream.encoding), std::pair("where", stream.where),
        std::pair("collection", stream.collection), std::pair("needed", stream.needed),
        std::pair("triggers", stream.triggers)}) {
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
  if (options.no_env_file && !options.env_file.empty()) {
    return absl::InvalidArgumentError("--no-env-file goes with no --env-file");
  }
  if (options.no_env_file) return absl::OkStatus();
  if (!options.env_file.empty()) return environment->AddFile(options.env_file);
  CommandOptions asked = options;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&asked));
  SystemPreset files{.env_files = {".env"}};
  // A finished job has its source in the place of the system, and some sources are of one system only.
  const std::string name = asked.system.empty() ? asked.source.substr(0, asked.source.find(':')) : asked.system;
  if (!name.empty()) {
    // A system that is not there is reported where it is used.
    absl::StatusOr<SystemPreset> preset = FindSystem(name, *environment);
    if (preset.ok() && !preset->env_files.empty()) files = *std::move(preset);
  }
  for (const std::string& file : EnvFilesOf(files, *environment)) {
    ABSL_RETURN_IF_ERROR(environment->AddFile(file));
  }
  return absl::OkStatus();
}

}  // namespace reembed
