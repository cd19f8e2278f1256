// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_places.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"
#include "tools/place.h"
#include "tools/preset_variables.h"
#include "tools/registry.h"
#include "tools/resolve_layout.h"
#include "tools/target_files.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// Where the vectors of the source's own rows are; nullopt: nowhere. A table as a target is what names the rows and the
// place of the vectors, not how rows are chosen.
absl::StatusOr<std::optional<Location>> InPlaceTarget(const Store& store, const CommandOptions& options,
                                                      const Environment& environment) {
  const StoreKind& kind = *store.kind;
  const Location& source = store.location;
  if (kind.vectors_parameter != nullptr) {
    ABSL_ASSIGN_OR_RETURN(Location vectors, ParsePlace(source.Get(kind.vectors_parameter),
                                                       {options.db_token_env, options.db_password_env}, environment));
    return vectors;
  }
  if (!kind.always_in_place && !(kind.is_table() && !source.Get("vector").empty())) return std::nullopt;
  Location target = source;
  target.parameters.erase("text");
  target.parameters.erase("template");
  target.parameters.erase("where");
  return target;
}

// Asks for the form of --output-type and --output-dim where an address does not say its own.
absl::Status AddOutputForm(const CommandOptions& options, Store* target) {
  if (options.output_type.empty() && options.output_dim == 0) return absl::OkStatus();
  if (!target->kind->takes_output_forms) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.output_type.empty() ? "--output-dim: " : "--output-type: ", target->location.ToString(),
                     " stores only unchanged vectors; targets that can change them: ",
                     absl::StrJoin(NamesOfKinds([](const StoreKind& kind) { return kind.takes_output_forms; }), ", ")));
  }
  if (!options.output_type.empty()) target->location.parameters.emplace("type", options.output_type);
  if (options.output_dim > 0) target->location.parameters.emplace("dim", absl::StrCat(options.output_dim));
  return absl::OkStatus();
}

// Whether rows of another place can become rows of a table in one of this kind.
bool TakesRows(const StoreKind& kind) { return kind.imports.drop_tables != nullptr; }

// The places that --target names. A preset may say what becomes of rows that it brings into another database.
absl::StatusOr<std::vector<Location>> ResolveTargets(const CommandOptions& options,
                                                     const std::optional<SystemPreset>& preset,
                                                     const Environment& environment, ResolvedJob* job) {
  std::vector<Location> targets;
  for (const std::string& uri : options.targets) {
    ABSL_ASSIGN_OR_RETURN(
        Location target,
        ParsePlace(absl::StrReplaceAll(uri, {{"{stream}", job->stream}, {"%7Bstream%7D", job->stream}}),
                   {options.db_token_env, job->options.db_password_env}, environment));
    targets.push_back(std::move(target));
  }
  if (!preset.has_value() || preset->insert.table.empty() || TakesRows(*job->source.kind)) return targets;
  if (targets.empty()) {
    ABSL_ASSIGN_OR_RETURN(std::optional<PresetDatabase> server, PresetServer(*preset, options, environment));
    if (server.has_value() && TakesRows(KindOf(server->location))) {
      if (!server->password_variable.empty()) job->options.db_password_env = server->password_variable;
      targets.push_back(server->location);
    }
  }
  for (Location& target : targets) {
    if (!TakesRows(KindOf(target))) continue;
    AddInsertParameters(preset->insert, job->source.location, &target);
    job->recreated_tables = preset->insert.drop;
  }
  return targets;
}

// Vectors must not take the place of the texts that they are made of.
absl::Status CheckIsNotTheText(const Location& source, const Location& target) {
  const std::string vector = target.Get("vector");
  const bool has_columns = !target.Get("table").empty() || !target.Get("label").empty();
  if (!has_columns || vector.empty() || source.scheme != target.scheme || source.path != target.path ||
      !absl::EqualsIgnoreCase(source.Get("table"), target.Get("table")) || source.Get("label") != target.Get("label")) {
    return absl::OkStatus();
  }
  std::vector<std::string> texts = {source.Get("text")};
  const absl::StatusOr<TextTemplate> parsed = TextTemplate::Parse(source.Get("template"));
  if (parsed.ok()) texts.insert(texts.end(), parsed->fields().begin(), parsed->fields().end());
  for (const std::string& text : texts) {
    if (!absl::EqualsIgnoreCase(text, vector)) continue;
    return absl::InvalidArgumentError(absl::StrCat(target.ToString(), ": vector=", vector,
                                                   " is where the texts are, and would replace them; name another"));
  }
  return absl::OkStatus();
}

// The targets besides the source's own column.
absl::Status AddTargets(std::vector<Location> targets, const CommandOptions& options, ResolvedJob* job) {
  const StoreKind& kind = *job->source.kind;
  for (Location& target : targets) {
    const auto same = [&](const Store& other) {
      return other.location.ToString() == target.ToString() ||
             (kind.holds_vectors != nullptr && kind.holds_vectors(job->source.location, target));
    };
    if (std::any_of(job->targets.begin(), job->targets.end(), same)) {
      if (job->in_place && same(job->targets[0])) continue;
      return absl::InvalidArgumentError(absl::StrCat("--target ", target.ToString(), " is given twice"));
    }
    job->targets.push_back(StoreOf(std::move(target)));
  }
  for (Store& target : job->targets) {
    ABSL_RETURN_IF_ERROR(AddOutputForm(options, &target));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolvePlaces(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                           const PresetStream* stream, const PresetDatabase& database, const Environment& environment,
                           const ResolvedJob* before, ResolvedJob* job) {
  if (preset.has_value() == !options.source.empty()) {
    return absl::InvalidArgumentError(
        "say what to embed: either --system NAME (see `reembed systems`) or --source URI, for example --source "
        "'sqlite:notes.db?table=notes&text=body&vector=embedding'");
  }
  std::optional<Location> of_stream;  // the target that the preset names
  if (preset.has_value()) {
    ABSL_ASSIGN_OR_RETURN(StreamPlaces places, PlacesOf(*preset, *stream, options, environment, database.location));
    job->source = StoreOf(std::move(places.source));
    if (!stream->has_target_in_source()) of_stream = std::move(places.target);
    if (!database.password_variable.empty()) job->options.db_password_env = database.password_variable;
    ABSL_RETURN_IF_ERROR(FitPresetToTable(*preset, *stream, options, before, job));
  } else {
    ABSL_ASSIGN_OR_RETURN(Location source,
                          ParsePlace(options.source, {options.db_token_env, options.db_password_env}, environment));
    job->source = StoreOf(std::move(source));
  }
  job->name = preset.has_value() ? preset->name : fs::path(job->source.location.path).stem().string();
  if (job->name.empty()) job->name = "stdin";
  if (!job->source.is_known()) return OpenSource(job->source, {}).status();
  const StoreKind& kind = *job->source.kind;
  ABSL_ASSIGN_OR_RETURN(std::optional<Location> own, InPlaceTarget(job->source, job->options, environment));
  job->in_place = own.has_value();
  if (job->in_place && kind.vectors_parameter == nullptr && kind.takes_output_forms) {
    // Which rows want a vector is a question to the place that holds them.
    ABSL_RETURN_IF_ERROR(AddOutputForm(options, &job->source));
  }
  if (job->in_place) job->targets.push_back(StoreOf(*std::move(own)));
  ABSL_ASSIGN_OR_RETURN(std::vector<Location> targets, ResolveTargets(options, preset, environment, job));
  if (of_stream.has_value()) targets.insert(targets.begin(), *std::move(of_stream));
  ABSL_RETURN_IF_ERROR(AddTargets(std::move(targets), options, job));
  ABSL_RETURN_IF_ERROR(CheckTargetsApart(job->targets));
  for (const Store& target : job->targets) {
    // What comes out of it is no lines.
    const bool takes_output_whole = target.kind->is_stream && target.kind->open_source == nullptr;
    if (options.json && takes_output_whole) {
      return absl::InvalidArgumentError(
          "--json: standard output is an array already, by --target; name a file there, or leave --json out");
    }
    ABSL_RETURN_IF_ERROR(CheckIsNotTheText(job->source.location, target.location));
  }
  if (job->targets.empty()) {
    return absl::InvalidArgumentError(
        "nothing to write to: give --target, for example --target faiss:notes.faiss, or name a vector column in "
        "--source");
  }
  return absl::OkStatus();
}

}  // namespace reembed
