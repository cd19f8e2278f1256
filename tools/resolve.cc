// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/pace/request_packer.h"
#include "engine/status_macros.h"
#include "io/job/owed_table.h"
#include "io/net/url.h"
#include "tools/api_key.h"
#include "tools/endpoints.h"
#include "tools/job_folder.h"
#include "tools/place.h"
#include "tools/preset_variables.h"
#include "tools/registry.h"
#include "tools/resolve_embedder.h"
#include "tools/resolve_places.h"
#include "tools/resolve_preset.h"
#include "tools/resolve_shard.h"
#include "tools/sharing.h"
#include "tools/spending.h"
#include "tools/token_counting.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxBatchSize = 2048;  // where an API names no limit

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

// Whether the source can keep the receipt of the job, and the job takes it for one of its rows.
absl::Status CheckRecord(const ResolvedJob& job) {
  if (!job.options.record) return absl::OkStatus();
  if (job.source.kind->save_record == nullptr) {
    std::vector<std::string> able;
    for (const StoreKind* const kind : StoreKinds()) {
      if (kind->save_record != nullptr) able.push_back(kind->title);
    }
    return absl::InvalidArgumentError(absl::StrCat("--record: ", job.name, " cannot store a receipt as a memory, only ",
                                                   absl::StrJoin(able, ", "),
                                                   " has one; leave it out, `reembed status` prints the receipt"));
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
  if (options.no_undo) job.notes.push_back("--no-undo: vectors that this run overwrites cannot be restored");
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
    names.reserve(jobs.size());
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
