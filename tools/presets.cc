// SPDX-License-Identifier: Apache-2.0
#include "tools/presets.h"

#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "tools/registry.h"
#include "tools/uri_template.h"

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

// A typing mistake in a preset must not silently fall back to a default, or become another number: all are counts.
absl::Status CheckNames(const toml::table& table, const std::vector<std::string>& known, const std::string& file) {
  for (const auto& [name, value] : table) {
    const std::string text(name.str());
    if (std::find(known.begin(), known.end(), text) != known.end()) {
      const int64_t count = value.value<int64_t>().value_or(0);
      if (count >= 0 && count <= std::numeric_limits<int>::max()) continue;
      return absl::InvalidArgumentError(absl::StrCat(file, ": line ", value.source().begin.line, ": `", text,
                                                     "`: expected a number from 0 to ", std::numeric_limits<int>::max(),
                                                     ", got ", count));
    }
    const std::string near = NearestName(text, known);
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", value.source().begin.line, ": unknown name `", text, "`",
                     near.empty() ? absl::StrCat("; known are: ", absl::StrJoin(known, ", "))
                                  : absl::StrCat("; did you mean `", near, "`?")));
  }
  return absl::OkStatus();
}

// Parameters of a source that may stand beside it, as texts that need no escapes.
constexpr const char* kSourceParameters[] = {"table",        "key",        "null_key", "text",       "template",
                                             "where",        "vector",     "encoding", "collection", "needed",
                                             "model_column", "dim_column", "triggers"};

const std::vector<std::string>& StreamNames() {
  static const auto* const names = [] {
    auto* const all = new std::vector<std::string>{
        "name",    "default",        "optional", "source", "target",        "database", "new_target", "parameters",
        "recipes", "updated_column", "user",     "agent",  "needed_column", "kind",     "urls"};
    all->insert(all->end(), std::begin(kSourceParameters), std::end(kSourceParameters));
    return all;
  }();
  return *names;
}

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

std::vector<std::string> Texts(const toml::table& table, std::string_view name) {
  std::vector<std::string> texts;
  const toml::array* const list = table[name].as_array();
  if (list == nullptr) return texts;
  for (const auto& item : *list) texts.push_back(item.value<std::string>().value_or(""));
  return texts;
}

// One text, or a list of them.
std::vector<std::string> TextOrTexts(const toml::table& table, std::string_view name) {
  const std::string one = Text(table, name);
  return one.empty() ? Texts(table, name) : std::vector<std::string>{one};
}

std::map<std::string, std::string> NamedTexts(const toml::table& table, std::string_view name) {
  std::map<std::string, std::string> texts;
  const toml::table* const named = table[name].as_table();
  if (named == nullptr) return texts;
  for (const auto& [key, value] : *named) texts[std::string(key.str())] = value.value<std::string>().value_or("");
  return texts;
}

absl::StatusOr<std::vector<PresetLayout>> ParseLayouts(const toml::table& preset, const std::string& file) {
  std::vector<PresetLayout> layouts;
  const toml::array* const tables = preset["layout"].as_array();
  if (tables == nullptr) return layouts;
  for (const toml::node& node : *tables) {
    const toml::table* const table = node.as_table();
    if (table == nullptr) return absl::InvalidArgumentError(absl::StrCat(file, ": [[layout]]: expected a table"));
    ABSL_RETURN_IF_ERROR(CheckNames(*table, {"name", "table", "columns"}, file));
    layouts.push_back(
        {.name = Text(*table, "name"), .table = Text(*table, "table"), .columns = NamedTexts(*table, "columns")});
  }
  return layouts;
}

PresetInsert ParseInsert(const toml::table& insert, const std::string& file) {
  PresetInsert result{.table = Text(insert, "table"),
                      .vector = Text(insert, "vector"),
                      .text = Text(insert, "text"),
                      .index = Text(insert, "index"),
                      .schema_file = Text(insert, "schema_file"),
                      .fields = Texts(insert, "fields"),
                      .sets = NamedTexts(insert, "set"),
                      .drop = Texts(insert, "drop")};
  // Beside the preset, wherever that is.
  if (!result.schema_file.empty()) {
    result.schema_file = fs::absolute(fs::path(file).parent_path() / result.schema_file).lexically_normal().string();
  }
  return result;
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

namespace {

// What a stream of the form before 0.3 says besides.
struct FormerStream {
  std::string kind;               // of its database, or a system that is more than one; empty: none is named
  std::vector<std::string> urls;  // where such a system keeps its vectors
};

// Makes a stream with a `kind` the template that this meant. `vectors`: [db] has it.
absl::Status TranslateFormer(const FormerStream& former, const std::string& vectors, const std::string& where,
                             PresetStream* stream) {
  const StoreKind* const kind = FindKind(former.kind);
  const bool in_several_places =
      kind != nullptr && (kind->rows_parameter != nullptr || kind->vectors_parameter != nullptr);
  if (kind == nullptr || !(kind->is_database || in_several_places)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": kind: there is none called `", former.kind,
                     "`; say where the rows are with `source`, for example source = \"{db}?table=notes\""));
  }
  if (kind->rows_parameter != nullptr) {
    if (stream->parameters.count("collection") == 0) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": `collection` is missing"));
    }
    stream->sources = {absl::StrCat(kind->name, ":{target.path}?", kind->rows_parameter, "={db.path}")};
    stream->targets = {absl::StrCat(kind->name, ":{db.folder}/", vectors)};
  } else if (kind->vectors_parameter != nullptr) {
    stream->sources = {absl::StrCat(kind->name, ":{db.path}?", kind->vectors_parameter, "={target}")};
    stream->databases = {kind->parts.front()->name};
    for (std::string url : former.urls) {
      // A first variable is the URL of a server, which its own client gives this port.
      if (absl::StartsWith(url, "{")) url.insert(std::min(url.find_first_of("|}"), url.size()), ":6333");
      stream->targets.push_back(absl::StrCat(kind->parts.back()->name, ":", url, "?on_width=side"));
    }
    // A graph has labels.
    if (auto table = stream->parameters.extract("table"); !table.empty()) {
      table.key() = "label";
      stream->parameters.insert(std::move(table));
    }
  }
  return absl::OkStatus();
}

// Streams of one preset with the same name are for different databases: those of a kind that is named but for the files
// where a system starts are for its servers, and all others are not.
void PartDatabases(const std::vector<FormerStream>& former, std::vector<PresetStream>* streams) {
  const auto is_server = [](const FormerStream& each) {
    const StoreKind* const kind = FindKind(each.kind);
    return kind != nullptr && kind->is_database && kind->imports.drop_tables != nullptr;
  };
  if (std::none_of(former.begin(), former.end(), is_server)) return;
  std::vector<std::string> others;
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->is_database && !is_server({.kind = kind->name})) others.push_back(kind->name);
  }
  for (size_t i = 0; i < streams->size(); ++i) {
    if (!(*streams)[i].databases.empty()) continue;
    (*streams)[i].databases = is_server(former[i]) ? std::vector<std::string>{former[i].kind} : others;
  }
}

absl::StatusOr<PresetStream> ParseStream(const toml::table& table, const std::string& vectors, const std::string& where,
                                         FormerStream* former) {
  PresetStream stream{.name = Text(table, "name"),
                      .by_default = table["default"].value<bool>().value_or(true),
                      .optional = table["optional"].value<bool>().value_or(false),
                      .databases = TextOrTexts(table, "database"),
                      .sources = TextOrTexts(table, "source"),
                      .targets = TextOrTexts(table, "target"),
                      .new_target = Text(table, "new_target"),
                      .parameters = NamedTexts(table, "parameters"),
                      .recipes = NamedTexts(table, "recipes"),
                      .updated_column = Text(table, "updated_column"),
                      .user = Text(table, "user"),
                      .agent = Text(table, "agent"),
                      .needed_column = Text(table, "needed_column")};
  for (const char* const name : kSourceParameters) {
    if (std::string value = Text(table, name); !value.empty()) stream.parameters[name] = std::move(value);
  }
  *former = {.kind = Text(table, "kind"), .urls = Texts(table, "urls")};
  for (const std::string& scheme : stream.databases) {
    if (FindKind(scheme) != nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat(where, ": database: there is no kind called `", scheme, "`"));
  }
  const bool has_text = stream.parameters.count("text") > 0, has_template = stream.parameters.count("template") > 0;
  if (!stream.sources.empty()) {
    if (!former->kind.empty()) return absl::InvalidArgumentError(absl::StrCat(where, ": `kind` goes with no `source`"));
    if (has_text && has_template) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": expected either `text` or `template`"));
    }
    return stream;
  }
  if (stream.parameters.count("table") == 0) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": `source` or `table` is missing"));
  }
  if (has_text == has_template) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": expected either `text` or `template`"));
  }
  stream.sources = {"{db}"};
  if (!former->kind.empty()) {
    ABSL_RETURN_IF_ERROR(TranslateFormer(*former, vectors, where, &stream));
  }
  return stream;
}

// [source] and [target] as one nameless stream.
absl::StatusOr<PresetStream> ParseOnlyStream(const toml::table& preset, const std::string& vectors,
                                             const std::string& file, FormerStream* former) {
  toml::table merged;
  for (const char* const section : {"source", "target"}) {
    const toml::table* const part = preset[section].as_table();
    if (part == nullptr) continue;
    for (const auto& [name, value] : *part) merged.insert_or_assign(name, value);
  }
  return ParseStream(merged, vectors, absl::StrCat(file, ": [source]"), former);
}

// Whether both are for a database of one kind.
bool ShareADatabase(const PresetStream& a, const PresetStream& b) {
  return a.databases.empty() || b.databases.empty() ||
         std::find_first_of(a.databases.begin(), a.databases.end(), b.databases.begin(), b.databases.end()) !=
             a.databases.end();
}

// `lines`: of the streams, in their order. Only a single one may have no name.
absl::Status CheckStreamNames(const std::vector<PresetStream>& streams, const std::vector<std::string>& lines) {
  for (size_t i = 0; i < streams.size(); ++i) {
    const PresetStream& stream = streams[i];
    if (streams.size() == 1 && stream.name.empty()) continue;
    const auto same = [&](const PresetStream& other) {
      return other.name == stream.name && ShareADatabase(other, stream);
    };
    const bool fit_for_folder = !stream.name.empty() && stream.name.find_first_of("/.") == std::string::npos;
    if (fit_for_folder && std::none_of(streams.begin(), streams.begin() + i, same)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(lines[i], ": name: expected one of its own, without / and ., got `", stream.name, "`"));
  }
  return absl::OkStatus();
}

// A note for people goes to `notes` where the streams have the form before 0.3.
absl::StatusOr<std::vector<PresetStream>> ParseStreams(const toml::table& preset, const std::string& file,
                                                       std::vector<std::string>* notes) {
  const std::string vectors = preset["db"]["vectors"].value<std::string>().value_or("");
  std::vector<PresetStream> streams;
  std::vector<FormerStream> former;
  std::vector<std::string> lines;
  const toml::array* const tables = preset["stream"].as_array();
  if (tables == nullptr) {
    former.emplace_back();
    ABSL_ASSIGN_OR_RETURN(PresetStream only, ParseOnlyStream(preset, vectors, file, &former.back()));
    streams.push_back(std::move(only));
    lines.push_back(absl::StrCat(file, ": [source]"));
  } else {
    for (const toml::node& node : *tables) {
      const toml::table* const table = node.as_table();
      lines.push_back(absl::StrCat(file, ": line ", node.source().begin.line, ": [[stream]]"));
      if (table == nullptr) return absl::InvalidArgumentError(absl::StrCat(lines.back(), ": expected a table"));
      ABSL_RETURN_IF_ERROR(CheckNames(*table, StreamNames(), file));
      former.emplace_back();
      ABSL_ASSIGN_OR_RETURN(PresetStream stream, ParseStream(*table, vectors, lines.back(), &former.back()));
      streams.push_back(std::move(stream));
    }
    if (streams.empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": has no [[stream]]"));
  }
  PartDatabases(former, &streams);
  ABSL_RETURN_IF_ERROR(CheckStreamNames(streams, lines));
  const bool has_former =
      std::any_of(former.begin(), former.end(), [](const FormerStream& each) { return !each.kind.empty(); });
  if (has_former) {
    notes->push_back(absl::StrCat(file,
                                  ": its streams say `kind`, as before version 0.3, which is still read; a `source` ",
                                  "like \"{db}?table=notes\" says the same of any store (data/systems/README.md)"));
  }
  return streams;
}

absl::StatusOr<std::vector<PresetProvider>> ParseProviders(const toml::table& preset, const std::string& file) {
  std::vector<PresetProvider> providers;
  const toml::array* const tables = preset["provider"].as_array();
  if (tables == nullptr) return providers;
  for (const toml::node& node : *tables) {
    const toml::table* const table = node.as_table();
    if (table == nullptr) return absl::InvalidArgumentError(absl::StrCat(file, ": [[provider]]: expected a table"));
    ABSL_RETURN_IF_ERROR(CheckNames(*table,
                                    {"name", "embedder", "model", "model_env", "max_dimensions", "wider_model",
                                     "base_url_env", "key_env", "refused", "dimensions", "base_url", "input_type"},
                                    file));
    providers.push_back({.name = Text(*table, "name"),
                         .embedder = Text(*table, "embedder"),
                         .model = Text(*table, "model"),
                         .model_env = Text(*table, "model_env"),
                         .dim = static_cast<int>((*table)["dimensions"].value<int64_t>().value_or(0)),
                         .api_base = Text(*table, "base_url"),
                         .input_type = Text(*table, "input_type"),
                         .max_dim = static_cast<int>((*table)["max_dimensions"].value<int64_t>().value_or(0)),
                         .wider_model = Text(*table, "wider_model"),
                         .api_base_env = Text(*table, "base_url_env"),
                         .api_key_env = Text(*table, "key_env"),
                         .refused = Text(*table, "refused")});
  }
  return providers;
}

}  // namespace

absl::StatusOr<SystemPreset> ParseSystemPreset(absl::string_view toml, const std::string& file) {
  ABSL_ASSIGN_OR_RETURN(const toml::table table, ParseToml(toml, file));
  std::vector<std::string> known = {"name", "title", "summary", "notes", "stream", "layout", "provider"};
  for (const auto& [section, names] : PresetSections()) known.push_back(section);
  // In a job file with streams the options of the job stand beside the sections; ReadJobFile checks their names.
  const bool job_file = !table.contains("name");
  ABSL_RETURN_IF_ERROR(job_file ? absl::OkStatus() : CheckNames(table, known, file));
  std::map<std::string, toml::table> sections;
  for (const auto& [section, names] : PresetSections()) {
    const toml::table* const found = table[section].as_table();
    if (found == nullptr) continue;
    // Not of the copy, which does not know its lines.
    ABSL_RETURN_IF_ERROR(CheckNames(*found, names, file));
    sections[section] = *found;
  }
  std::vector<std::string> notes = Texts(table, "notes");
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetStream> streams, ParseStreams(table, file, &notes));
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetLayout> layouts, ParseLayouts(table, file));
  ABSL_ASSIGN_OR_RETURN(std::vector<PresetProvider> providers, ParseProviders(table, file));
  const toml::table& model = sections["model"];
  const toml::table& users = sections["users"];
  const toml::table& db = sections["db"];
  std::map<int, std::string> model_of_dim;
  for (const auto& [dim, name] : NamedTexts(model, "by_dimensions")) {
    int width = 0;
    if (!absl::SimpleAtoi(dim, &width) || width <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": by_dimensions: expected a width, got `", dim, "`"));
    }
    model_of_dim[width] = name;
  }
  return SystemPreset{.name = job_file ? fs::path(file).stem().string() : Text(table, "name"),
                      .title = Text(table, "title"),
                      .summary = Text(table, "summary"),
                      .databases = Texts(db, "paths"),
                      .database_env = Texts(db, "env"),
                      .server_env = {.host = Text(db, "host_env"),
                                     .port = Text(db, "port_env"),
                                     .user = Text(db, "user_env"),
                                     .password = Text(db, "password_env"),
                                     .name = Text(db, "name_env")},
                      .database_urls = Texts(db, "urls"),
                      .database_expected = Text(db, "expected"),
                      .env_files = Texts(sections["env"], "files"),
                      .env_search_up = sections["env"]["search_up"].value<bool>().value_or(false),
                      .env_read_all = sections["env"]["read_all"].value<bool>().value_or(false),
                      .notes = std::move(notes),
                      .streams = std::move(streams),
                      .users = {.table = Text(users, "table"), .id = Text(users, "id"), .name = Text(users, "name")},
                      .layouts = std::move(layouts),
                      .insert = ParseInsert(sections["insert"], file),
                      .embedder = Text(model, "embedder"),
                      .model = Text(model, "name"),
                      .dim = static_cast<int>(model["dimensions"].value<int64_t>().value_or(0)),
                      .model_of_dim = std::move(model_of_dim),
                      .dim_env = Texts(model, "dimensions_env"),
                      .provider_env = Text(model, "provider_env"),
                      .provider = Text(model, "provider"),
                      .providers = std::move(providers),
                      .normalize = Text(model, "normalize"),
                      .api_base_env = Text(model, "base_url_env"),
                      .api_key_env = Text(model, "key_env"),
                      .file = file,
                      .toml = std::string(toml)};
}

absl::StatusOr<std::vector<SystemPreset>> ListSystems(const Environment& environment) {
  std::map<std::string, SystemPreset> found;
  for (const std::string& folder : DataFolders(environment)) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(fs::path(folder) / "systems", ignored)) {
      if (entry.path().extension() != ".toml") continue;
      ABSL_ASSIGN_OR_RETURN(const std::string text, ReadFile(entry.path()));
      ABSL_ASSIGN_OR_RETURN(SystemPreset preset, ParseSystemPreset(text, entry.path().string()));
      std::string name = preset.name;
      found.emplace(std::move(name), std::move(preset));
    }
  }
  std::vector<SystemPreset> systems;
  for (auto& [name, preset] : found) systems.push_back(std::move(preset));
  return systems;
}

absl::StatusOr<SystemPreset> FindSystem(const std::string& name, const Environment& environment) {
  if (name.size() > 5 && name.substr(name.size() - 5) == ".toml") {
    ABSL_ASSIGN_OR_RETURN(const std::string text, ReadFile(name));
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
    const absl::StatusOr<std::string> text = ReadFile(file);
    if (!text.ok()) continue;
    ABSL_ASSIGN_OR_RETURN(const toml::table table, ParseToml(*text, file.string()));
    std::vector<KnownModel> models;
    const toml::array* const entries = table["model"].as_array();
    if (entries == nullptr) return absl::InvalidArgumentError(absl::StrCat(file.string(), ": has no [[model]]"));
    for (const auto& entry : *entries) {
      const toml::table* const model = entry.as_table();
      if (model == nullptr) continue;
      ABSL_RETURN_IF_ERROR(
          CheckNames(*model,
                     {"name", "also", "dim", "resizable", "max_dim", "max_tokens", "tokenizer", "max_request_tokens",
                      "unit_length", "document_prefix", "query_prefix", "usd_per_million_tokens"},
                     file.string()));
      KnownModel known{.name = Text(*model, "name"),
                       .dim = static_cast<int>((*model)["dim"].value<int64_t>().value_or(0)),
                       .resizable = (*model)["resizable"].value<bool>().value_or(false),
                       .max_tokens = (*model)["max_tokens"].value<int64_t>().value_or(0),
                       .tokenizer = Text(*model, "tokenizer"),
                       .max_request_tokens = (*model)["max_request_tokens"].value<int64_t>().value_or(0),
                       .document_prefix = Text(*model, "document_prefix"),
                       .query_prefix = Text(*model, "query_prefix"),
                       .aliases = Texts(*model, "also")};
      known.max_dim = static_cast<int>((*model)["max_dim"].value<int64_t>().value_or(known.dim));
      const std::string unit = Text(*model, "unit_length");
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
