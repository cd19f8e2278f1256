// SPDX-License-Identifier: Apache-2.0
#include "tools/presets.h"

#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "tools/preset_streams.h"
#include "tools/toml_values.h"
#include "tools/uri_template.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The sections of a preset and the names that each may have; data/systems/README.md explains them. Instead of [source]
// and [target], which versions before 0.3 wanted for a single stream, there is [[stream]] with the names of both.
const std::vector<std::pair<const char*, std::vector<std::string>>>& PresetSections() {
  static const auto* const sections = new std::vector<std::pair<const char*, std::vector<std::string>>>{
      {"db",
       {"paths", "env", "vectors", "host_env", "port_env", "user_env", "password_env", "name_env", "urls", "expected"}},
      {"env", {"files", "search_up", "read_all"}},
      {"source", {"kind", "table", "key", "null_key", "text", "template", "recipes", "where", "user", "agent"}},
      {"target", {"vector", "model_column", "dim_column", "updated_column", "encoding", "urls"}},
      {"users", {"table", "id", "name"}},
      {"insert", {"table", "vector", "text", "index", "schema_file", "fields", "set", "drop"}},
      {"model",
       {"embedder", "name", "dimensions", "by_dimensions", "normalize", "base_url_env", "key_env", "dimensions_env",
        "provider_env", "provider"}},
  };
  return *sections;
}

absl::StatusOr<std::vector<PresetLayout>> ParseLayouts(const toml::table& preset, const std::string& file) {
  std::vector<PresetLayout> layouts;
  const toml::array* const tables = preset["layout"].as_array();
  if (tables == nullptr) return layouts;
  for (const toml::node& node : *tables) {
    const toml::table* const table = node.as_table();
    if (table == nullptr) return absl::InvalidArgumentError(absl::StrCat(file, ": [[layout]]: expected a table"));
    ABSL_RETURN_IF_ERROR(CheckTomlNames(*table, {"name", "table", "columns"}, file));
    layouts.push_back({.name = TomlText(*table, "name"),
                       .table = TomlText(*table, "table"),
                       .columns = TomlNamedTexts(*table, "columns")});
  }
  return layouts;
}

absl::StatusOr<std::map<int, std::string>> ParseModelsByWidth(const toml::table& model, const std::string& file) {
  std::map<int, std::string> model_of_dim;
  for (const auto& [dim, name] : TomlNamedTexts(model, "by_dimensions")) {
    int width = 0;
    if (!absl::SimpleAtoi(dim, &width) || width <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": by_dimensions: expected a width, got `", dim, "`"));
    }
    model_of_dim[width] = name;
  }
  return model_of_dim;
}

PresetInsert ParseInsert(const toml::table& insert, const std::string& file) {
  PresetInsert result{.table = TomlText(insert, "table"),
                      .vector = TomlText(insert, "vector"),
                      .text = TomlText(insert, "text"),
                      .index = TomlText(insert, "index"),
                      .schema_file = TomlText(insert, "schema_file"),
                      .fields = TomlTexts(insert, "fields"),
                      .sets = TomlNamedTexts(insert, "set"),
                      .drop = TomlTexts(insert, "drop")};
  // Beside the preset, wherever that is.
  if (!result.schema_file.empty()) {
    result.schema_file = fs::absolute(fs::path(file).parent_path() / result.schema_file).lexically_normal().string();
  }
  return result;
}

absl::StatusOr<std::vector<PresetProvider>> ParseProviders(const toml::table& preset, const std::string& file) {
  std::vector<PresetProvider> providers;
  const toml::array* const tables = preset["provider"].as_array();
  if (tables == nullptr) return providers;
  for (const toml::node& node : *tables) {
    const toml::table* const table = node.as_table();
    if (table == nullptr) return absl::InvalidArgumentError(absl::StrCat(file, ": [[provider]]: expected a table"));
    ABSL_RETURN_IF_ERROR(CheckTomlNames(*table,
                                        {"name", "embedder", "model", "model_env", "max_dimensions", "wider_model",
                                         "base_url_env", "key_env", "refused", "dimensions", "base_url", "input_type"},
                                        file));
    providers.push_back({.name = TomlText(*table, "name"),
                         .embedder = TomlText(*table, "embedder"),
                         .model = TomlText(*table, "model"),
                         .model_env = TomlText(*table, "model_env"),
                         .dim = static_cast<int>((*table)["dimensions"].value<int64_t>().value_or(0)),
                         .api_base = TomlText(*table, "base_url"),
                         .input_type = TomlText(*table, "input_type"),
                         .max_dim = static_cast<int>((*table)["max_dimensions"].value<int64_t>().value_or(0)),
                         .wider_model = TomlText(*table, "wider_model"),
                         .api_base_env = TomlText(*table, "base_url_env"),
                         .api_key_env = TomlText(*table, "key_env"),
                         .refused = TomlText(*table, "refused")});
  }
  return providers;
}

}  // namespace

bool PresetStream::has_target_in_source() const { return NamesPlace(sources, "target"); }

std::vector<std::string> DataFolders(const Environment& environment) {
  std::vector<std::string> folders;
  if (const std::string own = environment.Get("REEMBED_DATA"); !own.empty()) folders.push_back(own);
  const std::string config = environment.Get("XDG_CONFIG_HOME");
  const std::string home = environment.Home();
  if (!config.empty() || !home.empty()) {
    folders.push_back(absl::StrCat(config.empty() ? home + "/.config" : config, "/reembed"));
  }
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) folders.push_back((program.parent_path().parent_path() / "share/reembed").string());
#ifdef REEMBED_BUILD_DATA
  folders.push_back(REEMBED_BUILD_DATA);
#endif
  return folders;
}

absl::StatusOr<SystemPreset> ParseSystemPreset(absl::string_view toml, const std::string& file) {
  ABSL_ASSIGN_OR_RETURN(const toml::table table, ParseToml(toml, file));
  std::vector<std::string> known = {"name", "title", "summary", "notes", "stream", "layout", "provider"};
  for (const auto& [section, names] : PresetSections()) known.push_back(section);
  // In a job file with streams the options of the job stand beside the sections; ReadJobFile checks their names.
  const bool job_file = !table.contains("name");
  ABSL_RETURN_IF_ERROR(job_file ? absl::OkStatus() : CheckTomlNames(table, known, file));
  std::map<std::string, toml::table> sections;
  for (const auto& [section, names] : PresetSections()) {
    const toml::table* const found = table[section].as_table();
    if (found == nullptr) continue;
    // Not of the copy, which does not know its lines.
    ABSL_RETURN_IF_ERROR(CheckTomlNames(*found, names, file));
    sections[section] = *found;
  }
  std::vector<std::string> notes = TomlTexts(table, "notes");
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetStream> streams, ParseStreams(table, file, &notes));
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetLayout> layouts, ParseLayouts(table, file));
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetProvider> providers, ParseProviders(table, file));
  const toml::table& model = sections["model"];
  const toml::table& users = sections["users"];
  const toml::table& db = sections["db"];
  ABSL_ASSIGN_OR_RETURN(auto model_of_dim, ParseModelsByWidth(model, file));
  return SystemPreset{
      .name = job_file ? fs::path(file).stem().string() : TomlText(table, "name"),
      .title = TomlText(table, "title"),
      .summary = TomlText(table, "summary"),
      .databases = TomlTexts(db, "paths"),
      .database_env = TomlTexts(db, "env"),
      .server_env = {.host = TomlText(db, "host_env"),
                     .port = TomlText(db, "port_env"),
                     .user = TomlText(db, "user_env"),
                     .password = TomlText(db, "password_env"),
                     .name = TomlText(db, "name_env")},
      .database_urls = TomlTexts(db, "urls"),
      .database_expected = TomlText(db, "expected"),
      .env_files = TomlTexts(sections["env"], "files"),
      .env_search_up = sections["env"]["search_up"].value<bool>().value_or(false),
      .env_read_all = sections["env"]["read_all"].value<bool>().value_or(false),
      .notes = std::move(notes),
      .streams = std::move(streams),
      .users = {.table = TomlText(users, "table"), .id = TomlText(users, "id"), .name = TomlText(users, "name")},
      .layouts = std::move(layouts),
      .insert = ParseInsert(sections["insert"], file),
      .embedder = TomlText(model, "embedder"),
      .model = TomlText(model, "name"),
      .dim = static_cast<int>(model["dimensions"].value<int64_t>().value_or(0)),
      .model_of_dim = std::move(model_of_dim),
      .dim_env = TomlTexts(model, "dimensions_env"),
      .provider_env = TomlText(model, "provider_env"),
      .provider = TomlText(model, "provider"),
      .providers = std::move(providers),
      .normalize = TomlText(model, "normalize"),
      .api_base_env = TomlText(model, "base_url_env"),
      .api_key_env = TomlText(model, "key_env"),
      .file = file,
      .toml = std::string(toml)};
}

absl::StatusOr<std::vector<SystemPreset>> ListSystems(const Environment& environment) {
  std::map<std::string, SystemPreset> found;
  for (const std::string& folder : DataFolders(environment)) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(fs::path(folder) / "systems", ignored)) {
      if (entry.path().extension() != ".toml") continue;
      ABSL_ASSIGN_OR_RETURN(const std::string text, ReadTomlFile(entry.path().string()));
      ABSL_ASSIGN_OR_RETURN(SystemPreset preset, ParseSystemPreset(text, entry.path().string()));
      std::string name = preset.name;
      found.emplace(std::move(name), std::move(preset));
    }
  }
  std::vector<SystemPreset> systems;
  systems.reserve(found.size());
  for (auto& [name, preset] : found) systems.push_back(std::move(preset));
  return systems;
}

absl::StatusOr<SystemPreset> FindSystem(const std::string& name, const Environment& environment) {
  if (name.size() > 5 && name.substr(name.size() - 5) == ".toml") {
    ABSL_ASSIGN_OR_RETURN(const std::string text, ReadTomlFile(name));
    return ParseSystemPreset(text, name);
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<SystemPreset> systems, ListSystems(environment));
  std::vector<std::string> names;
  for (const SystemPreset& system : systems) {
    if (system.name == name) return system;
    names.push_back(system.name);
  }
  const std::string near = NearestName(name, names);
  return absl::NotFoundError(absl::StrCat("no system `", name, "`",
                                          near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?"),
                                          " (known: ", absl::StrJoin(names, ", "), ")"));
}

absl::StatusOr<std::vector<KnownModel>> LoadModels(const Environment& environment) {
  for (const std::string& folder : DataFolders(environment)) {
    const fs::path file = fs::path(folder) / "models.toml";
    const absl::StatusOr<std::string> text = ReadTomlFile(file.string());
    if (!text.ok()) continue;
    ABSL_ASSIGN_OR_RETURN(const toml::table table, ParseToml(*text, file.string()));
    std::vector<KnownModel> models;
    const toml::array* const entries = table["model"].as_array();
    if (entries == nullptr) return absl::InvalidArgumentError(absl::StrCat(file.string(), ": has no [[model]]"));
    for (const auto& entry : *entries) {
      const toml::table* const model = entry.as_table();
      if (model == nullptr) continue;
      ABSL_RETURN_IF_ERROR(CheckTomlNames(
          *model,
          {"name", "also", "dim", "resizable", "max_dim", "max_tokens", "tokenizer", "max_request_tokens",
           "unit_length", "document_prefix", "query_prefix", "usd_per_million_tokens"},
          file.string()));
      KnownModel known{.name = TomlText(*model, "name"),
                       .dim = static_cast<int>((*model)["dim"].value<int64_t>().value_or(0)),
                       .resizable = (*model)["resizable"].value<bool>().value_or(false),
                       .max_tokens = (*model)["max_tokens"].value<int64_t>().value_or(0),
                       .tokenizer = TomlText(*model, "tokenizer"),
                       .max_request_tokens = (*model)["max_request_tokens"].value<int64_t>().value_or(0),
                       .document_prefix = TomlText(*model, "document_prefix"),
                       .query_prefix = TomlText(*model, "query_prefix"),
                       .aliases = TomlTexts(*model, "also")};
      known.max_dim = static_cast<int>((*model)["max_dim"].value<int64_t>().value_or(known.dim));
      const std::string unit = TomlText(*model, "unit_length");
      known.unit_length = unit == "always"       ? KnownModel::UnitLength::kAlways
                          : unit == "full-width" ? KnownModel::UnitLength::kFullWidth
                          : unit == "never"      ? KnownModel::UnitLength::kNever
                                                 : KnownModel::UnitLength::kUnknown;
      known.usd_per_million_tokens = (*model)["usd_per_million_tokens"].value<double>();
      models.push_back(std::move(known));
    }
    return models;
  }
  return absl::NotFoundError("models.toml was not found: set REEMBED_DATA to the folder that holds it");
}

absl::string_view WithoutTag(absl::string_view model) {
  return model.substr(0, absl::EndsWith(model, ":latest") ? model.rfind(':') : model.size());
}

bool IsNameOf(const KnownModel& known, absl::string_view name) {
  const absl::string_view wanted = WithoutTag(name);
  return known.name == wanted || std::find(known.aliases.begin(), known.aliases.end(), wanted) != known.aliases.end();
}

}  // namespace reembed
