// SPDX-License-Identifier: Apache-2.0
#include "tools/preset_streams.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "tools/registry.h"
#include "tools/toml_values.h"

namespace reembed {
namespace {

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
  PresetStream stream{.name = TomlText(table, "name"),
                      .by_default = table["default"].value<bool>().value_or(true),
                      .optional = table["optional"].value<bool>().value_or(false),
                      .databases = TomlTextOrTexts(table, "database"),
                      .sources = TomlTextOrTexts(table, "source"),
                      .targets = TomlTextOrTexts(table, "target"),
                      .new_target = TomlText(table, "new_target"),
                      .parameters = TomlNamedTexts(table, "parameters"),
                      .recipes = TomlNamedTexts(table, "recipes"),
                      .updated_column = TomlText(table, "updated_column"),
                      .user = TomlText(table, "user"),
                      .agent = TomlText(table, "agent"),
                      .needed_column = TomlText(table, "needed_column")};
  for (const char* const name : kSourceParameters) {
    if (std::string value = TomlText(table, name); !value.empty()) stream.parameters[name] = std::move(value);
  }
  *former = {.kind = TomlText(table, "kind"), .urls = TomlTexts(table, "urls")};
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
    const auto before = absl::MakeConstSpan(streams).first(i);
    if (fit_for_folder && std::none_of(before.begin(), before.end(), same)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(lines[i], ": name: expected one of its own, without / and ., got `", stream.name, "`"));
  }
  return absl::OkStatus();
}

}  // namespace

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
      ABSL_RETURN_IF_ERROR(CheckTomlNames(*table, StreamNames(), file));
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

}  // namespace reembed
