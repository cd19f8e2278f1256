// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "engine/pace/request_packer.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"
#include "io/job/owed_table.h"
#include "io/net/url.h"
#include "tools/endpoints.h"
#include "tools/place.h"
#include "tools/preset_variables.h"
#include "tools/registry.h"
#include "tools/resolve_embedder.h"
#include "tools/resolve_layout.h"
#include "tools/resolve_preset.h"
#include "tools/resolve_shard.h"
#include "tools/sharing.h"
#include "tools/spending.h"
#include "tools/target_files.h"
#include "tools/token_counting.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxBatchSize = 2048;  // where an API names no limit

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
                     " takes vectors as they are; such targets take others: ",
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

// "sqlite:, libsql:", of the kinds that are meant.
template <typename Predicate>
std::string SchemesOf(Predicate is_meant) {
  return absl::StrJoin(NamesOfKinds(is_meant), ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, name, name == "-" ? "" : ":");
  });
}

absl::Status ResolveSelection(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                              const PresetStream* stream, ResolvedJob* job) {
  std::string where = options.where;
  if (!options.user.empty() || !options.agent.empty()) {
    if (!preset.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("--user, --agent: ", job->name, " has neither; use --where"));
    }
    const StoreKind& kind = *job->source.kind;
    ABSL_ASSIGN_OR_RETURN(const std::string owner, OwnerCondition(*preset, *stream, options, kind));
    where = where.empty()                     ? owner
            : kind.conditions.both != nullptr ? kind.conditions.both(where, owner)
                                              : absl::StrCat("(", where, ") AND ", owner);
    if (!options.user.empty()) {
      const UserTable own{.table = job->source.location.Get("table"), .id = stream->user, .name = stream->user};
      job->users = preset->users.table.empty() ? own : preset->users;
    }
  }
  job->selection = {.rows = job->in_place && !options.all ? Selection::Rows::kWithoutVector : Selection::Rows::kAll,
                    .where = where,
                    .resume_from = options.resume_from,
                    .strict = options.strict};
  const StoreKind& kind = *job->source.kind;
  if (options.strict && !kind.has_strict) {
    return absl::InvalidArgumentError(absl::StrCat("--strict is for JSON lines as source (",
                                                   SchemesOf([](const StoreKind& each) { return each.has_strict; }),
                                                   ")"));
  }
  if ((!where.empty() || !options.resume_from.empty()) && !kind.is_table()) {
    return absl::InvalidArgumentError(absl::StrCat("--where and --resume-from need a table as source (",
                                                   SchemesOf([](const StoreKind& each) { return each.is_table(); }),
                                                   ")"));
  }
  return absl::OkStatus();
}

absl::Status ResolveLimits(const CommandOptions& options, const std::optional<SystemPreset>& preset, ResolvedJob* job) {
  const bool builtin = job->embedder == Embedder::kBuiltin;
  const DialectLimits& limits = FindDialect(job->client.dialect)->limits;
  int batch_size = options.batch_size > 0 ? options.batch_size : limits.default_inputs;
  if (batch_size > (limits.inputs > 0 ? limits.inputs : kMaxBatchSize)) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", batch_size, ": a request takes at most ",
                                                   limits.inputs > 0 ? limits.inputs : kMaxBatchSize, " texts"));
  }
  // Where texts are counted, a full request must not be more than the quota of half a minute.
  if (limits.counts_texts && options.rpm > 0) batch_size = std::clamp(static_cast<int>(options.rpm / 2), 1, batch_size);
  const int concurrency = options.concurrency > 0 ? options.concurrency : builtin ? 8 : limits.default_concurrency;
  if (concurrency > 1024) return absl::InvalidArgumentError("--concurrency: at most 1024 requests at a time");
  PipelineOptions& pipeline = job->pipeline;
  pipeline.batch.max_texts = batch_size;
  pipeline.batch.max_rows = 2 * batch_size;
  const bool model_knows = job->known_model.has_value() && job->known_model->max_request_tokens > 0;
  const int64_t request_tokens = model_knows ? job->known_model->max_request_tokens : limits.request_tokens;
  pipeline.batch.max_tokens = request_tokens;
  pipeline.sort_texts = FindDialect(job->client.dialect)->self_hosted;
  if (limits.body_bytes > 0) {
    pipeline.batch.max_text_bytes = std::min(pipeline.batch.max_text_bytes, limits.body_bytes / 2);  // JSON escapes
  }
  pipeline.batches_in_flight = BatchesInFlight(concurrency, pipeline.batch, job->client.model.dim);
  pipeline.max_rows = options.limit;
  if (options.max_text > static_cast<int>(kMaxTextBytes)) {
    return absl::InvalidArgumentError(absl::StrCat("--max-text ", options.max_text, ": at most ", kMaxTextBytes));
  }
  if (options.max_text > 0) pipeline.max_text_bytes = static_cast<size_t>(options.max_text);
  const std::string normalize = options.normalize.empty() && preset.has_value() ? preset->normalize : options.normalize;
  if (normalize == "unit") pipeline.normalization = Normalization::kUnitL2;
  ApiOptions& client = job->client;
  client.concurrency = concurrency;
  client.hedge = options.hedge;
  client.limit = {.requests_per_minute = limits.counts_texts ? options.rpm / batch_size : options.rpm,
                  .tokens_per_minute = options.tpm};
  client.counts_as = limits.counts_texts ? batch_size : 1;
  pipeline.quota_tokens = QuotaTokensPerRequest(client.limit);
  client.caps = std::make_shared<LearnedCaps>();
  pipeline.learned = {client.caps};
  client.timeout = options.timeout_seconds > 0 ? absl::Seconds(options.timeout_seconds) : limits.default_timeout;
  if (options.max_wait_seconds > 0) client.retry.max_wait = absl::Seconds(options.max_wait_seconds);
  if (options.keep_vectors == "never") {
    if (!builtin && !IsLoopback(client.api_base)) {
      return absl::InvalidArgumentError(
          "--keep-vectors never: only for an embedder that costs nothing (builtin, or one on this machine)");
    }
    job->keep_vectors = KeepVectors::kNever;
  }
  return absl::OkStatus();
}

void ResolveIdentity(ResolvedJob* job) {
  Location rows = job->source.location;  // which rows, apart from how they are chosen and what becomes of them
  for (const char* name :
       {"where", "text", "template", "vector", "model_column", "model_property", "dim_column", "updated_column",
        "encoding", "type", "mode", "new_column", "triggers", "index", "metric", "tls", "needed", "null_key"})
    rows.parameters.erase(name);
  std::string where = job->source.location.Get("where");
  if (!job->selection.where.empty()) {
    where = where.empty() ? job->selection.where : absl::StrCat("(", where, ") AND (", job->selection.where, ")");
  }
  JobIdentity& identity = job->identity;
  identity.source = rows.ToString();
  identity.selection =
      absl::StrCat(job->selection.rows == Selection::Rows::kAll ? kEveryRow : kRowsWithoutVector,
                   where.empty() ? "" : absl::StrCat(" where ", where),
                   job->selection.resume_from.empty() ? "" : absl::StrCat(" from key ", job->selection.resume_from));
  const std::string made = job->source.location.Get("template");
  identity.recipe = absl::StrCat(
      made.empty() ? absl::StrCat("text of ", job->source.location.Get("text", "text")) : "template " + made,
      EmbeddingRecipe(job->client), TextLimitRecipe(*job));
  identity.model = job->client.model.name;
  identity.dim = job->client.model.dim;
  identity.normalization = job->pipeline.normalization == Normalization::kUnitL2 ? "unit" : "as-received";
}

std::string DefaultDirectory(const std::string& name, absl::string_view identity, const Environment& environment) {
  return absl::StrFormat("%s/%s-%08x", JobsFolder(environment), name, static_cast<uint32_t>(HashText(identity).lo));
}

// The source as versions wrote it down that left paths in parameters as they were given.
std::string FormerSource(const CommandOptions& options, const ResolvedJob& job) {
  absl::StatusOr<Location> before = ParseLocation(job.identity.source);
  const absl::StatusOr<Location> given = ParseLocation(options.source);
  if (!before.ok() || !given.ok()) return job.identity.source;
  for (auto& [name, value] : before->parameters) {
    const auto found = given->parameters.find(name);
    if (found != given->parameters.end()) value = found->second;
  }
  return before->ToString();
}

// The directory by default of what is asked for, as programs named it that took --all for a job of its own.
std::string NamedDirectory(const CommandOptions& options, const ResolvedJob& first, bool all,
                           const Environment& environment) {
  const JobIdentity& id = first.identity;
  const absl::string_view rows_of = all || !first.in_place ? kEveryRow : kRowsWithoutVector;
  const auto directory = [&](const std::string& source) {
    const std::string rows = first.stream.empty()
                                 ? absl::StrCat(source, "\n", rows_of, ConditionOf(id.selection), "\n", id.recipe)
                                 : absl::StrCat(first.source.location.path, "\n", options.user, "\n", options.agent,
                                                "\n", options.where, "\n", options.recipe, "\n", all);
    return DefaultDirectory(first.name, absl::StrCat(rows, "\n", id.model, "\n", id.dim, "\n", id.normalization),
                            environment);
  };
  const std::string former = directory(FormerSource(options, first));
  return fs::exists(former) ? former : directory(id.source);
}

// The directory of the whole job. With streams it depends on what they share, so that another choice of them goes on
// in the same one. Whether a run is for all rows does not matter, but a job that earlier programs began goes on where
// it is.
std::string DirectoryOf(const CommandOptions& options, const ResolvedJob& first, const Environment& environment) {
  if (!options.job.empty()) return AbsolutePath(ExpandHome(options.job, environment));
  if (JobsFolder(environment).empty()) return "";
  for (const bool all : {options.all, !options.all}) {
    std::string directory = NamedDirectory(options, first, all, environment);
    if (fs::exists(directory)) return directory;
  }
  return NamedDirectory(options, first, false, environment);
}

// Whether the source can keep the receipt of the job, and the job takes it for one of its rows.
absl::Status CheckRecord(const ResolvedJob& job) {
  if (!job.options.record) return absl::OkStatus();
  if (job.source.kind->save_record == nullptr) {
    std::vector<std::string> able;
    for (const StoreKind* const kind : StoreKinds()) {
      if (kind->save_record != nullptr) able.push_back(kind->title);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("--record: ", job.name, " has no way to keep a receipt as a memory, only ",
                     absl::StrJoin(able, ", "), " has one; leave it out, `reembed status` prints the receipt"));
  }
  const bool is_whole = job.options.limit == 0 && job.selection.where.empty() &&
                        job.source.location.Get("where").empty() && job.selection.resume_from.empty();
  if (is_whole) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "--record: not with --limit, --where or --resume-from, as the receipt becomes a row of the job and these would "
      "leave it out; leave one out");
}

// The files that the job's own description names: it is read from any folder.
absl::Status MakeFilesAbsolute(const Environment& environment, CommandOptions* options) {
  // Not through links: behind one is a key that somebody renews, or the pipe of a shell.
  const auto absolute = [&](const std::string& file) {
    return fs::absolute(ExpandHome(file, environment)).lexically_normal().string();
  };
  for (std::string* const file : {&options->tokenizer, &options->api_key_file, &options->ca_file}) {
    if (!file->empty() && *file != kStandardInput) *file = absolute(*file);
  }
  for (std::string& endpoint : options->endpoints) {
    ABSL_ASSIGN_OR_RETURN(const EndpointSpec spec, ParseEndpoint(endpoint));
    if (spec.key_file.empty()) continue;
    endpoint = absl::StrReplaceAll(endpoint, {{"key-file=" + spec.key_file, "key-file=" + absolute(spec.key_file)}});
  }
  return absl::OkStatus();
}

// One stream of the preset, behind `before`, or the one source that was given.
absl::StatusOr<ResolvedJob> ResolveOne(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                                       const PresetStream* stream, const PresetDatabase& database,
                                       const Environment& environment, const ResolvedJob* before, KeyNeed key_need) {
  ResolvedJob job{.options = options};
  if (stream != nullptr) {
    job.stream = stream->name;
    job.optional = stream->optional;
  }
  ABSL_RETURN_IF_ERROR(ResolvePlaces(options, preset, stream, database, environment, before, &job));
  ABSL_RETURN_IF_ERROR(ResolveSelection(options, preset, stream, &job));
  ABSL_ASSIGN_OR_RETURN(const CommandOptions first, OptionsOfFirst(job.options));
  ABSL_RETURN_IF_ERROR(ResolveEmbedder(first, preset, environment, key_need, &job));
  ABSL_RETURN_IF_ERROR(ResolveLimits(options, preset, &job));
  ABSL_RETURN_IF_ERROR(ResolveTextLimit(options, &job));
  ABSL_RETURN_IF_ERROR(ResolveEndpoints(preset, environment, key_need, &job));
  ABSL_RETURN_IF_ERROR(ResolveSharing(environment, &job));
  ABSL_RETURN_IF_ERROR(CheckMaxSpend(job));
  ABSL_RETURN_IF_ERROR(MakeFilesAbsolute(environment, &job.options));
  ABSL_RETURN_IF_ERROR(CheckRecord(job));
  if (options.no_undo) job.notes.push_back("--no-undo: what this run overwrites cannot be brought back");
  job.selection.dim = job.client.model.dim;
  ResolveIdentity(&job);
  return job;
}

// Whether rows of several streams may go to one place, as each becomes a row of its own there.
bool BringsRows(const ResolvedJob& job) {
  return std::all_of(job.targets.begin(), job.targets.end(),
                     [](const Store& target) { return target.location.Get("mode") == "insert"; });
}

// Each stream has a file of its own, or they would overwrite each other.
absl::Status CheckTargetsApart(const std::vector<ResolvedJob>& jobs) {
  for (const std::string& uri : jobs.front().options.targets) {
    if (jobs.size() == 1 || uri == "-" || absl::StrContains(uri, "{stream}")) continue;
    if (BringsRows(jobs.front())) continue;
    std::vector<std::string> names;
    for (const ResolvedJob& job : jobs) names.push_back(job.stream);
    return absl::InvalidArgumentError(absl::StrCat("--target ", uri, ": ", absl::StrJoin(names, " and "),
                                                   " would all write to it; put {stream} into its name"));
  }
  return absl::OkStatus();
}

}  // namespace

CommandOptions DescribedOptions(const ResolvedJob& job) {
  CommandOptions described = job.options;
  described.system.clear();
  described.db.clear();
  described.source = job.source.location.ToString();
  described.streams.clear();
  described.user.clear();
  described.agent.clear();
  described.recipe.clear();
  described.updated_at.clear();
  described.where = job.selection.where;
  described.targets.clear();
  if (job.share.has_value()) described.shard = job.share->shard.Text();
  for (const Store& target : job.share.has_value() ? job.share->whole_targets : job.targets) {
    described.targets.push_back(target.location.ToString());
  }
  described.embedder = job.embedder == Embedder::kBuiltin ? kBuiltinEmbedder : job.client.dialect;
  if (job.endpoints.empty()) described.api_base = job.client.api_base;
  for (std::string& endpoint : described.endpoints) endpoint = WithoutLogin(endpoint);
  described.model = job.client.model.name;
  described.dimensions = job.client.model.dim;
  described.normalize = job.pipeline.normalization == Normalization::kUnitL2 ? "unit" : "as-received";
  return described;
}

bool IsLoopback(absl::string_view url) { return IsLoopbackUrl(url); }

std::string JobsFolder(const Environment& environment) {
  const std::string state = environment.Get("XDG_STATE_HOME");
  const std::string home = environment.Home();
  if (state.empty() && home.empty()) return "";
  return AbsolutePath(absl::StrCat(state.empty() ? home + "/.local/state" : state, "/reembed/jobs"));
}

absl::Status CheckJobsFolder(const Environment& environment) {
  if (!JobsFolder(environment).empty()) return absl::OkStatus();
  const std::string home = environment.Get("HOME");
  return absl::NotFoundError(absl::StrCat(
      "there is no folder for jobs: HOME ", home.empty() ? "is not set" : absl::StrCat("(", home, ") is no folder"),
      ", and this user's account has none either; say where the job goes with --job DIR, or set "
      "XDG_STATE_HOME"));
}

absl::StatusOr<std::vector<ResolvedJob>> ResolveStreams(const CommandOptions& given, const Environment& environment,
                                                        KeyNeed key_need) {
  CommandOptions options = given;
  std::optional<SystemPreset> preset;
  std::vector<const PresetStream*> streams = {nullptr};
  PresetDatabase database;
  std::vector<std::string> notes, known_tables;
  if (!options.system.empty()) {
    ABSL_ASSIGN_OR_RETURN(preset, FindSystem(options.system, environment));
    ABSL_RETURN_IF_ERROR(ChooseProvider(options, environment, key_need, &*preset));
    notes = preset->notes;
    ABSL_ASSIGN_OR_RETURN(database, FindDatabase(*preset, options, environment, &notes));
    known_tables = PresetTables(*preset, environment);
    ABSL_RETURN_IF_ERROR(TakeNamedTargets(database.location, environment, &options, &*preset, &notes));
    ABSL_ASSIGN_OR_RETURN(streams, ChooseStreams(*preset, options, database.location, &notes));
  } else if (!options.db.empty() || !options.streams.empty() || !options.recipe.empty() ||
             !options.updated_at.empty()) {
    return absl::InvalidArgumentError("--db, --stream, --recipe and --updated-at go with --system");
  }
  std::vector<ResolvedJob> jobs;
  for (const PresetStream* const stream : streams) {
    const ResolvedJob* const before = jobs.empty() ? nullptr : &jobs.back();
    ABSL_ASSIGN_OR_RETURN(ResolvedJob job,
                          ResolveOne(options, preset, stream, database, environment, before, key_need));
    job.notes.insert(job.notes.begin(), notes.begin(), notes.end());
    job.known_tables = known_tables;
    jobs.push_back(std::move(job));
  }
  ABSL_RETURN_IF_ERROR(CheckTargetsApart(jobs));
  const std::string directory = DirectoryOf(options, jobs.front(), environment);
  for (ResolvedJob& job : jobs) {
    job.directory = job.stream.empty() || directory.empty() ? directory : absl::StrCat(directory, "/", job.stream);
    job.jobs_folder = JobsFolder(environment);
  }
  if (!options.shard.empty()) {
    ABSL_RETURN_IF_ERROR(ResolveShard(options.shard, directory, environment, &jobs));
  } else if (options.shards == 0) {
    ABSL_RETURN_IF_ERROR(CheckIsOfNoShards(directory));
  }
  return jobs;
}

absl::StatusOr<ResolvedJob> Resolve(const CommandOptions& options, const Environment& environment, KeyNeed key_need) {
  ABSL_ASSIGN_OR_RETURN(std::vector<ResolvedJob> jobs, ResolveStreams(options, environment, key_need));
  if (jobs.size() == 1) return std::move(jobs.front());
  return absl::InvalidArgumentError("expected one stream; choose it with --stream");
}

}  // namespace reembed
