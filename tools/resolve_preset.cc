// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_preset.h"

#include <algorithm>
#include <filesystem>
#include <map>
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
#include "tools/uri_template.h"

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

// What the variables for host, port, user and name say, of the kind of database that is named so.
std::optional<Location> ServerInParts(const ServerVariables& variables, const Environment& environment) {
  const auto get = [&](const std::string& variable) { return variable.empty() ? "" : environment.Get(variable); };
  if (variables.host.empty() || (get(variables.host).empty() && get(variables.name).empty())) return std::nullopt;
  const ServerParts parts{.host = get(variables.host),
                          .port = get(variables.port),
                          .user = get(variables.user),
                          .name = get(variables.name)};
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->database_of_parts == nullptr) continue;
    Location location = kind->database_of_parts(parts);
    location.secret = get(variables.password);
    return location;
  }
  return std::nullopt;
}

bool IsFor(const PresetStream& stream, const StoreKind& kind) {
  return stream.databases.empty() || std::any_of(stream.databases.begin(), stream.databases.end(),
                                                 [&](const std::string& scheme) { return kind.has_name(scheme); });
}

// Whether the stream is in the database, or beside it.
bool NeedsDatabase(const PresetStream& stream) {
  return NamesPlace(stream.sources, "db") || NamesPlace(stream.targets, "db");
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
  std::optional<Location> location = ServerInParts(preset.server_env, environment);
  if (!location.has_value()) return std::nullopt;
  const bool has_secret = !location->secret.empty();
  ABSL_ASSIGN_OR_RETURN(PresetDatabase found, WithSecret(*std::move(location), options, environment));
  if (has_secret) found.password_variable = preset.server_env.password;
  return std::optional(std::move(found));
}

absl::StatusOr<PresetDatabase> FindDatabase(const SystemPreset& preset, const CommandOptions& options,
                                            const Environment& environment, std::vector<std::string>* notes) {
  if (std::none_of(preset.streams.begin(), preset.streams.end(), NeedsDatabase)) {
    if (options.db.empty()) return PresetDatabase();
    return absl::InvalidArgumentError(absl::StrCat("--db ", options.db, ": ", preset.name,
                                                   " has no database of its own; its rows are in ",
                                                   preset.streams.front().sources.front(), ", see ", preset.file));
  }
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

namespace {

std::string ExpectedDatabase(const SystemPreset& preset) {
  if (!preset.database_expected.empty()) return preset.database_expected;
  std::vector<std::string> examples;
  for (const PresetStream& stream : preset.streams) {
    for (const std::string& scheme : stream.databases) {
      std::string example = FindKind(scheme)->example;
      example.erase(std::min(example.find('?'), example.size()));
      if (std::find(examples.begin(), examples.end(), example) == examples.end()) examples.push_back(example);
    }
  }
  return absl::StrJoin(examples, " or ");
}

}  // namespace

absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options, const Location& database,
                                                               std::vector<std::string>* notes) {
  const StoreKind& kind = KindOf(database);
  const auto fits = [&](const PresetStream& stream) { return IsFor(stream, kind); };
  if (std::none_of(preset.streams.begin(), preset.streams.end(), fits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--db ", database.ToString(), ": expected ", ExpectedDatabase(preset)));
  }
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

namespace {

// Whether the URI can stand in place of the stream's own target. One of which only the path is wanted has no
// parameters.
bool TakesTarget(const PresetStream& stream, const std::string& uri) {
  if (stream.targets.empty()) return false;
  const absl::StatusOr<Location> place = ParseLocation(uri);
  if (!place.ok() || place->scheme != SchemeOfTemplate(stream.targets.front())) return false;
  const bool is_whole = !stream.has_target_in_source() ||
                        std::any_of(stream.sources.begin(), stream.sources.end(),
                                    [](const std::string& source) { return absl::StrContains(source, "{target}"); });
  return is_whole || place->parameters.empty();
}

// The stream's own target, or what is named in its place. Errors: kNotFound (names the variables).
absl::StatusOr<Location> TargetOf(const SystemPreset& preset, const PresetStream& stream,
                                  const SecretVariables& secrets, const Environment& environment,
                                  const TemplatePlaces& places) {
  if (stream.named_target.empty()) {
    absl::StatusOr<Location> target = ExpandPlace(stream.targets, places, {}, secrets, environment);
    if (!absl::IsNotFound(target.status())) return target;
    const StoreKind* const kind = FindKind(SchemeOfTemplate(stream.targets.front()));
    return absl::NotFoundError(absl::StrCat("where ", preset.name,
                                            " keeps its vectors is not known: ", target.status().message(),
                                            kind == nullptr ? "" : absl::StrCat(", or say --target ", kind->example)));
  }
  const std::string uri = absl::StrReplaceAll(stream.named_target, {{"{stream}", stream.name}});
  ABSL_ASSIGN_OR_RETURN(Location target, ParsePlace(uri, secrets, environment));
  ABSL_ASSIGN_OR_RETURN(const auto usual, ExpandParameters(stream.targets.front(), places, environment));
  target.parameters.insert(usual.begin(), usual.end());
  return target;
}

}  // namespace

void NameTargets(const std::vector<std::string>& targets, SystemPreset* preset) {
  for (PresetStream& stream : preset->streams) {
    const auto named =
        std::find_if(targets.begin(), targets.end(), [&](const std::string& uri) { return TakesTarget(stream, uri); });
    if (named != targets.end()) stream.named_target = *named;
  }
}

absl::Status TakeNamedTargets(const Location& database, const Environment& environment, CommandOptions* options,
                              SystemPreset* preset, std::vector<std::string>* notes) {
  NameTargets(options->targets, preset);
  const auto is_named = [](const PresetStream& stream) { return !stream.named_target.empty(); };
  const auto first = std::find_if(preset->streams.begin(), preset->streams.end(), is_named);
  if (first == preset->streams.end()) return absl::OkStatus();
  const std::string uri = first->named_target;
  const auto is_meant = [&](const PresetStream& stream) { return is_named(stream) && IsFor(stream, KindOf(database)); };
  if (std::none_of(preset->streams.begin(), preset->streams.end(), is_meant)) {
    const auto is_for = [&](const PresetStream& stream) { return IsFor(stream, KindOf(database)); };
    // That no stream is for this database is said by ChooseStreams().
    if (std::none_of(preset->streams.begin(), preset->streams.end(), is_for)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("--target ", uri, ": ", database.ToString(), " keeps its vectors in the rows; leave it out"));
  }
  std::erase(options->targets, uri);
  const bool is_file = KindOf(*ParseLocation(uri)).is_file;
  for (const std::string& other : options->targets) {
    // A second server may get a copy.
    if (!is_file || !TakesTarget(*first, other)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--target ", other, ": ", preset->name, " has one file of vectors, and another was named"));
  }
  const TemplatePlaces places{.db = &database};
  for (const PresetStream& stream : preset->streams) {
    if (!is_file || !is_meant(stream) || stream.new_target.empty()) continue;
    ABSL_ASSIGN_OR_RETURN(const Location usual, ExpandPlace(stream.targets, places, {}, {}, environment));
    ABSL_ASSIGN_OR_RETURN(const Location named, ParsePlace(uri, {}, environment));
    if (fs::exists(named.path) || !fs::exists(usual.path)) continue;
    const TemplatePlaces before{.db = &database, .target = &usual};
    notes->push_back(absl::StrCat(named.path, " is not there and is made; ",
                                  ExpandText(stream.new_target, before, environment).value_or(stream.new_target)));
  }
  if (std::erase_if(preset->streams, [&](const PresetStream& stream) { return !is_named(stream); }) > 0) {
    notes->push_back("streams that keep their vectors elsewhere are left out, as --target names a place");
  }
  return absl::OkStatus();
}

absl::StatusOr<StreamPlaces> PlacesOf(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment,
                                      const Location& database) {
  const SecretVariables secrets{options.db_token_env, options.db_password_env};
  TemplatePlaces places{.db = database.scheme.empty() ? nullptr : &database};
  StreamPlaces found;
  if (!stream.targets.empty()) {
    ABSL_ASSIGN_OR_RETURN(found.target, TargetOf(preset, stream, secrets, environment, places));
    places.target = &*found.target;
  }
  std::map<std::string, std::string> parameters = stream.parameters;
  const auto recipe = stream.recipes.find(options.recipe);
  if (recipe != stream.recipes.end()) parameters["template"] = recipe->second;
  if (options.updated_at == "now-iso" && !stream.updated_column.empty()) {
    parameters["updated_column"] = stream.updated_column;
  }
  absl::StatusOr<Location> source = ExpandPlace(stream.sources, places, parameters, secrets, environment);
  if (absl::IsNotFound(source.status())) {
    return absl::NotFoundError(
        absl::StrCat("where ", preset.name, " keeps its rows is not known: ", source.status().message()));
  }
  ABSL_RETURN_IF_ERROR(source.status());
  if (recipe != stream.recipes.end()) source->parameters.erase("text");
  found.source = *std::move(source);
  return found;
}

std::vector<std::string> PresetTables(const SystemPreset& preset, const Environment& environment,
                                      const StoreKind* kind) {
  std::vector<std::string> tables;
  if (kind != nullptr) tables = preset.insert.drop;
  for (const PresetStream& stream : preset.streams) {
    if (kind != nullptr && !IsFor(stream, *kind)) continue;
    const auto beside = stream.parameters.find("table");
    std::string table = beside == stream.parameters.end() ? "" : beside->second;
    for (const std::string& source : stream.sources) {
      if (!table.empty()) break;
      const auto parameters = ExpandParameters(source, {}, environment);
      const auto said = parameters.ok() ? parameters->find("table") : parameters->end();
      if (parameters.ok() && said != parameters->end()) table = said->second;
    }
    if (!table.empty() && std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(table);
  }
  return tables;
}

absl::StatusOr<std::vector<Location>> PresetPlaces(const SystemPreset& preset, const CommandOptions& options,
                                                   const Environment& environment, const Location& database) {
  const StoreKind& kind = KindOf(database);
  std::vector<Location> rows, vectors;
  if (!database.scheme.empty()) {
    rows.push_back(database);
    const std::string tables = absl::StrJoin(PresetTables(preset, environment, &kind), ",");
    if (kind.backup.takes_tables && !tables.empty()) rows.back().parameters["tables"] = tables;
  }
  const auto add = [&](const Location& place, std::vector<Location>* places) {
    const StoreKind& own = KindOf(place);
    const auto same = [&](const Location& other) { return other.scheme == place.scheme && other.path == place.path; };
    if (own.backup.back_up == nullptr || std::any_of(rows.begin(), rows.end(), same) ||
        std::any_of(vectors.begin(), vectors.end(), same) || (own.is_file && !fs::exists(place.path))) {
      return;
    }
    places->push_back({.scheme = place.scheme, .path = place.path, .secret = place.secret});
  };
  for (const PresetStream& stream : preset.streams) {
    if (!IsFor(stream, kind)) continue;
    ABSL_ASSIGN_OR_RETURN(const StreamPlaces places, PlacesOf(preset, stream, options, environment, database));
    add(places.source, &rows);
    if (places.target.has_value()) add(*places.target, &vectors);
  }
  rows.insert(rows.end(), vectors.begin(), vectors.end());
  return rows;
}

absl::StatusOr<std::string> OwnerCondition(const SystemPreset& preset, const PresetStream& stream,
                                           const CommandOptions& options, const StoreKind& kind) {
  const auto refuse = [&](absl::string_view flag) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", preset.name, stream.name.empty() ? "" : ", stream ",
                                                   stream.name, ": rows have no such owner; use --where"));
  };
  const auto equals = [&](const std::string& field, const std::string& value) {
    return kind.conditions.equals != nullptr ? kind.conditions.equals(field, value)
                                             : absl::StrCat(SqlName(field), " = ", SqlText(value));
  };
  std::vector<std::string> conditions;
  if (!options.user.empty()) {
    if (stream.user.empty()) return refuse("--user");
    const UserTable& users = preset.users;
    conditions.push_back(users.table.empty()
                             ? equals(stream.user, options.user)
                             : absl::StrCat(SqlName(stream.user), " IN (SELECT ", SqlName(users.id), " FROM ",
                                            SqlName(users.table), " WHERE ", SqlText(options.user), " IN (",
                                            SqlName(users.id), ", ", SqlName(users.name), "))"));
  }
  if (!options.agent.empty()) {
    if (stream.agent.empty()) return refuse("--agent");
    conditions.push_back(equals(stream.agent, options.agent));
  }
  if (kind.conditions.both != nullptr) {
    return conditions.size() == 1 ? conditions.front() : kind.conditions.both(conditions.front(), conditions.back());
  }
  return absl::StrCat("(", absl::StrJoin(conditions, " AND "), ")");
}

absl::Status AddEnvFile(const CommandOptions& options, Environment* environment) {
  if (options.no_env_file && !options.env_file.empty()) {
    return absl::InvalidArgumentError("--no-env-file goes with no --env-file");
  }
  if (options.no_env_file) return absl::OkStatus();
  if (!options.env_file.empty()) return environment->AddFile(options.env_file);
  SystemPreset files{.env_files = {".env"}};
  // A finished job has its source in the place of the system, and some sources are of one system only.
  const std::string name = options.system.empty() ? options.source.substr(0, options.source.find(':')) : options.system;
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
