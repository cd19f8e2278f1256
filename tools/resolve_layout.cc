// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_layout.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "tools/registry.h"

namespace reembed {
namespace {

// Whether a column of type `type` is as a layout wants it: `vector` also means `vector(3072)`.
bool IsOfType(const std::string& type, const std::string& wanted) {
  return type == wanted || absl::StartsWith(type, absl::StrCat(wanted, "("));
}

// Columns that a layout wants and the table does not have so.
std::vector<std::string> Missing(const PresetLayout& layout, const TableFacts& facts) {
  std::vector<std::string> missing;
  for (const auto& [column, type] : layout.columns) {
    const auto found = facts.types.find(column);
    if (found != facts.types.end() && IsOfType(found->second, type)) continue;
    missing.push_back(absl::StrCat(column, " ", type));
  }
  return missing;
}

std::string LayoutNote(const SystemPreset& preset, const std::string& table, const TableFacts& facts) {
  const PresetLayout* nearest = nullptr;
  std::vector<std::string> nearest_missing;
  for (const PresetLayout& layout : preset.layouts) {
    if (layout.table != table) continue;
    std::vector<std::string> missing = Missing(layout, facts);
    if (missing.empty()) return absl::StrCat("the table ", table, " is laid out as in ", layout.name);
    if (nearest != nullptr && missing.size() >= nearest_missing.size()) continue;
    nearest = &layout;
    nearest_missing = std::move(missing);
  }
  if (nearest == nullptr) return "";
  return absl::StrCat("the table ", table, " has none of the layouts that are known; the nearest, that of ",
                      nearest->name, ", has ", absl::StrJoin(nearest_missing, ", "));
}

}  // namespace

absl::Status FitPresetToTable(const SystemPreset& preset, const PresetStream& stream, const CommandOptions& options,
                              const ResolvedJob* before, ResolvedJob* job) {
  const StoreKind& kind = *job->source.kind;
  if (kind.catalog.look_up == nullptr) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const TableFacts facts, kind.catalog.look_up(job->source.location));
  if (!facts.exists) return absl::OkStatus();
  const std::string note = LayoutNote(preset, job->source.location.Get("table"), facts);
  if (!note.empty()) job->notes.push_back(note);
  if (!stream.needed_column.empty() && facts.types.count(stream.needed_column) == 0) {
    job->source.location.parameters["needed"] = "true";
  }
  CommandOptions& fitted = job->options;
  if (fitted.dimensions == 0) fitted.dimensions = facts.dim;
  if (fitted.dimensions == 0 && before != nullptr) fitted.dimensions = before->client.model.dim;
  const auto model = preset.model_of_dim.find(fitted.dimensions);
  const bool of_preset = options.model.empty() && options.embedder.empty();
  if (of_preset && model != preset.model_of_dim.end()) fitted.model = model->second;
  // The new column keeps its job when it has the old one's name already.
  std::string new_column = facts.dim == fitted.dimensions ? facts.made_as : "";
  if (facts.dim_is_fixed && facts.dim != fitted.dimensions) {
    new_column = absl::StrCat(job->source.location.Get("vector"), "_", fitted.dimensions);
    job->notes.push_back(absl::StrCat("the vectors of ", facts.dim, " numbers stay in use until all those of ",
                                      fitted.dimensions, " are there, and are kept in the column ",
                                      job->source.location.Get("vector"), "_old"));
  }
  if (!new_column.empty()) {
    job->source.location.parameters["new_column"] = new_column;
    job->source.location.parameters["index"] = "hnsw";
  }
  return absl::OkStatus();
}

void AddInsertParameters(const PresetInsert& insert, const Location& source, Location* target) {
  const auto set = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) target->parameters.emplace(name, value);
  };
  set("mode", "insert");
  set("table", insert.table);
  set("vector", insert.vector);
  set("text", insert.text);
  set("index", insert.index);
  set("schema_file", insert.schema_file);
  set("fields", absl::StrJoin(insert.fields, ","));
  // Not the whole path: a file that was moved is the same source.
  set("origin", absl::StrCat(std::filesystem::path(source.path).filename().string(), "/", source.Get("table")));
  for (const auto& [column, sql] : insert.sets) set(absl::StrCat("set.", column), sql);
}

}  // namespace reembed
