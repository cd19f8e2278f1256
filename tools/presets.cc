#include "tools/presets.h"

#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path.string(), ": cannot be read"));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::StatusOr<toml::table> ParseToml(absl::string_view text, const std::string& file) {
  try {
    return toml::parse(std::string_view(text.data(), text.size()), file);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", error.source().begin.line, ": ", std::string(error.description())));
  }
}

std::string Text(const toml::table& table, std::string_view name) {
  return table[name].value<std::string>().value_or("");
}

// A typing mistake in a preset must not silently fall back to a default.
absl::Status CheckNames(const toml::table& table, const std::vector<std::string>& known, const std::string& file) {
  for (const auto& [name, value] : table) {
    const std::string text(name.str());
    if (std::find(known.begin(), known.end(), text) != known.end()) continue;
    const std::string near = NearestName(text, known);
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", value.source().begin.line, ": unknown name `", text, "`",
                     near.empty() ? absl::StrCat("; known are: ", absl::StrJoin(known, ", "))
                                  : absl::StrCat("; did you mean `", near, "`?")));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> DataFolders(const Environment& environment) {
  std::vector<std::string> folders;
  if (const std::string own = environment.Get("REEMBED_DATA"); !own.empty()) folders.push_back(own);
  const std::string config = environment.Get("XDG_CONFIG_HOME");
  folders.push_back(absl::StrCat(config.empty() ? ExpandHome("~/.config", environment) : config, "/reembed"));
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) folders.push_back((program.parent_path().parent_path() / "share/reembed").string());
#ifdef REEMBED_BUILD_DATA
  folders.push_back(REEMBED_BUILD_DATA);
#endif
  return folders;
}

absl::StatusOr<SystemPreset> ParseSystemPreset(absl::string_view toml, const std::string& file) {
  const absl::StatusOr<toml::table> table = ParseToml(toml, file);
  if (!table.ok()) return table.status();
  const std::vector<std::string> known = {"name",  "title", "summary",    "databases",    "table",
                                          "key",   "text",  "vector",     "model_column", "encoding",
                                          "where", "model", "dimensions", "api_base_env", "api_key_env"};
  if (absl::Status names = CheckNames(*table, known, file); !names.ok()) return names;
  SystemPreset preset{.name = Text(*table, "name"),
                      .title = Text(*table, "title"),
                      .summary = Text(*table, "summary"),
                      .table = Text(*table, "table"),
                      .key = Text(*table, "key"),
                      .text = Text(*table, "text"),
                      .vector = Text(*table, "vector"),
                      .model_column = Text(*table, "model_column"),
                      .encoding = Text(*table, "encoding"),
                      .where = Text(*table, "where"),
                      .model = Text(*table, "model"),
                      .dim = static_cast<int>((*table)["dimensions"].value<int64_t>().value_or(0)),
                      .api_base_env = Text(*table, "api_base_env"),
                      .api_key_env = Text(*table, "api_key_env"),
                      .file = file,
                      .toml = std::string(toml)};
  if (const toml::array* databases = (*table)["databases"].as_array(); databases != nullptr) {
    for (const auto& database : *databases) preset.databases.push_back(database.value<std::string>().value_or(""));
  }
  for (const auto& [name, value] : {std::pair("name", preset.name), std::pair("table", preset.table),
                                    std::pair("text", preset.text), std::pair("vector", preset.vector)}) {
    if (value.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": `", name, "` is missing"));
  }
  return preset;
}

absl::StatusOr<std::vector<SystemPreset>> ListSystems(const Environment& environment) {
  std::map<std::string, SystemPreset> found;
  for (const std::string& folder : DataFolders(environment)) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(fs::path(folder) / "systems", ignored)) {
      if (entry.path().extension() != ".toml") continue;
      const absl::StatusOr<std::string> text = ReadFile(entry.path());
      if (!text.ok()) return text.status();
      absl::StatusOr<SystemPreset> preset = ParseSystemPreset(*text, entry.path().string());
      if (!preset.ok()) return preset.status();
      std::string name = preset->name;
      found.emplace(std::move(name), *std::move(preset));
    }
  }
  std::vector<SystemPreset> systems;
  for (auto& [name, preset] : found) systems.push_back(std::move(preset));
  return systems;
}

absl::StatusOr<SystemPreset> FindSystem(const std::string& name, const Environment& environment) {
  const absl::StatusOr<std::vector<SystemPreset>> systems = ListSystems(environment);
  if (!systems.ok()) return systems.status();
  std::vector<std::string> names;
  for (const SystemPreset& system : *systems) {
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
    const absl::StatusOr<std::string> text = ReadFile(file);
    if (!text.ok()) continue;
    const absl::StatusOr<toml::table> table = ParseToml(*text, file.string());
    if (!table.ok()) return table.status();
    std::vector<KnownModel> models;
    const toml::array* const entries = (*table)["model"].as_array();
    if (entries == nullptr) return absl::InvalidArgumentError(absl::StrCat(file.string(), ": has no [[model]]"));
    for (const auto& entry : *entries) {
      const toml::table* const model = entry.as_table();
      if (model == nullptr) continue;
      const absl::Status names =
          CheckNames(*model, {"name", "dim", "resizable", "max_tokens", "usd_per_million_tokens"}, file.string());
      if (!names.ok()) return names;
      KnownModel known{.name = Text(*model, "name"),
                       .dim = static_cast<int>((*model)["dim"].value<int64_t>().value_or(0)),
                       .resizable = (*model)["resizable"].value<bool>().value_or(false),
                       .max_tokens = (*model)["max_tokens"].value<int64_t>().value_or(0)};
      known.usd_per_million_tokens = (*model)["usd_per_million_tokens"].value<double>();
      models.push_back(std::move(known));
    }
    return models;
  }
  return absl::NotFoundError("models.toml was not found: set REEMBED_DATA to the folder that holds it");
}

}  // namespace reembed
