#include "tools/resolve.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/lexical_embedder.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr char kOpenAiBase[] = "https://api.openai.com/v1";
constexpr char kOpenAiKeyVariable[] = "OPENAI_API_KEY";
constexpr char kOpenAiBaseVariable[] = "OPENAI_BASE_URL";  // as OpenAI's own clients
constexpr char kDefaultModel[] = "text-embedding-3-small";
constexpr int kDefaultLexicalDim = 512;
// OpenAI refuses requests above 300,000 tokens; our count is an estimate, so 80 % of that.
constexpr int64_t kMaxRequestTokens = 240000;
constexpr int kMaxBatchSize = 2048;  // inputs per request, OpenAI's limit

// Paths are part of what a job is, so that the same file is the same job from every folder.
std::string AbsolutePath(const std::string& path) {
  std::error_code failed;
  const fs::path canonical = fs::weakly_canonical(path, failed);
  return failed ? path : canonical.string();
}

bool IsFileScheme(const std::string& scheme) {
  return scheme == "sqlite" || scheme == "jsonl" || scheme == "hdf5" || scheme == "npy" || scheme == "fbin" ||
         scheme == "faiss";
}

absl::StatusOr<Location> ParsePlace(const std::string& uri, const Environment& environment) {
  absl::StatusOr<Location> location = ParseLocation(uri);
  if (!location.ok()) return location;
  if (IsFileScheme(location->scheme) && location->path != "-") {
    location->path = AbsolutePath(ExpandHome(location->path, environment));
  }
  return location;
}

absl::StatusOr<Location> PresetSource(const SystemPreset& preset, const CommandOptions& options,
                                      const Environment& environment, std::vector<std::string>* notes) {
  std::string path = options.db;
  for (const std::string& variable : preset.database_env) {
    if (path.empty()) path = environment.Get(variable);
  }
  if (path.empty()) {
    const auto exists = [&](const std::string& database) { return fs::exists(ExpandHome(database, environment)); };
    const auto found = std::find_if(preset.databases.begin(), preset.databases.end(), exists);
    if (found == preset.databases.end()) {
      return absl::NotFoundError(absl::StrCat("no database of ", preset.name, " is where it keeps it (",
                                              absl::StrJoin(preset.databases, ", "), "); say where with --db PATH"));
    }
    path = *found;
    for (auto other = found + 1; other != preset.databases.end(); ++other) {
      if (!exists(*other)) continue;
      notes->push_back(absl::StrCat(preset.name, " has another database: --db ", *other));
    }
  }
  Location location{.scheme = "sqlite", .path = AbsolutePath(ExpandHome(path, environment))};
  for (const auto& [name, value] :
       {std::pair("table", preset.table), std::pair("key", preset.key), std::pair("text", preset.text),
        std::pair("vector", preset.vector), std::pair("model_column", preset.model_column),
        std::pair("encoding", preset.encoding), std::pair("where", preset.where)}) {
    if (!value.empty()) location.parameters[name] = value;
  }
  return location;
}

// The table of the source as a target: what names the rows and the place of the vectors, not how rows are chosen.
Location InPlaceTarget(const Location& source) {
  Location target = source;
  target.parameters.erase("text");
  target.parameters.erase("where");
  return target;
}

absl::Status ResolvePlaces(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                           const Environment& environment, ResolvedJob* job) {
  if (preset.has_value() == !options.source.empty()) {
    return absl::InvalidArgumentError(
        "say what to embed: either --system NAME (see `reembed systems`) or --source URI, for example --source "
        "'sqlite:notes.db?table=notes&text=body&vector=embedding'");
  }
  absl::StatusOr<Location> source = preset.has_value() ? PresetSource(*preset, options, environment, &job->notes)
                                                       : ParsePlace(options.source, environment);
  if (!source.ok()) return source.status();
  job->source = *std::move(source);
  job->name = preset.has_value() ? preset->name : fs::path(job->source.path).stem().string();
  if (job->name.empty()) job->name = "stdin";
  if (job->source.scheme == "sqlite" && !job->source.Get("vector").empty()) {
    job->in_place = true;
    job->targets.push_back(InPlaceTarget(job->source));
  }
  for (const std::string& uri : options.targets) {
    absl::StatusOr<Location> target = ParsePlace(uri, environment);
    if (!target.ok()) return target.status();
    const auto same = [&](const Location& other) { return other.ToString() == target->ToString(); };
    if (std::any_of(job->targets.begin(), job->targets.end(), same)) {
      if (job->in_place && same(job->targets[0])) continue;
      return absl::InvalidArgumentError(absl::StrCat("--target ", uri, " is given twice"));
    }
    job->targets.push_back(*std::move(target));
  }
  if (job->targets.empty()) {
    return absl::InvalidArgumentError(
        "nothing to write to: give --target, for example --target faiss:notes.faiss, or name a vector column in "
        "--source");
  }
  return absl::OkStatus();
}

absl::Status ResolveSelection(const CommandOptions& options, ResolvedJob* job) {
  if (!options.user.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--user: ", job->name, " has no users; use --where"));
  }
  job->selection = {.rows = job->in_place && !options.all ? Selection::Rows::kWithoutVector : Selection::Rows::kAll,
                    .where = options.where,
                    .resume_from = options.resume_from};
  if ((!options.where.empty() || !options.resume_from.empty()) && job->source.scheme != "sqlite") {
    return absl::InvalidArgumentError("--where and --resume-from need an SQLite source");
  }
  return absl::OkStatus();
}

// Model and width: what was said, else what the preset says, else what is known of the model.
absl::Status ResolveModel(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                          const Environment& environment, ResolvedJob* job) {
  if (options.dimensions < 0 || options.dimensions > 65536) {
    return absl::InvalidArgumentError(absl::StrCat("--dimensions ", options.dimensions, ": expected 1 to 65536"));
  }
  Model& model = job->client.model;
  model.dim = options.dimensions > 0 ? options.dimensions : preset.has_value() ? preset->dim : 0;
  if (job->embedder == Embedder::kBuiltin) {
    if (!options.model.empty() && options.model != kLexicalModelName) {
      return absl::InvalidArgumentError(
          absl::StrCat("--model ", options.model, ": the built-in embedder has one model, ", kLexicalModelName));
    }
    model.name = kLexicalModelName;
    if (model.dim == 0) model.dim = kDefaultLexicalDim;
    if (model.dim < kMinLexicalDim || model.dim > kMaxLexicalDim) {
      return absl::InvalidArgumentError(absl::StrCat("--dimensions ", model.dim, ": the built-in embedder makes ",
                                                     kMinLexicalDim, " to ", kMaxLexicalDim));
    }
    job->client.dimensions = model.dim;
    job->client.api_base.clear();
    return absl::OkStatus();
  }
  model.name = !options.model.empty() ? options.model : preset.has_value() ? preset->model : kDefaultModel;
  const absl::StatusOr<std::vector<KnownModel>> models = LoadModels(environment);
  if (!models.ok()) return models.status();
  for (const KnownModel& known : *models) {
    if (known.name == model.name) job->known_model = known;
  }
  if (model.dim == 0 && job->known_model.has_value()) model.dim = job->known_model->dim;
  if (model.dim == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the width of ", model.name, " is not in models.toml: say it with --dimensions N"));
  }
  const bool native = job->known_model.has_value() && job->known_model->dim == model.dim;
  if (job->known_model.has_value() && !native && !job->known_model->resizable) {
    return absl::InvalidArgumentError(absl::StrCat("--dimensions ", model.dim, ": ", model.name, " gives ",
                                                   job->known_model->dim, " and cannot be asked for another width"));
  }
  // A server whose model we do not know may refuse the field; the width of its reply is checked anyway.
  if (job->known_model.has_value() && !native) job->client.dimensions = model.dim;
  return absl::OkStatus();
}

absl::Status ResolveEmbedder(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                             const Environment& environment, KeyNeed key_need, ResolvedJob* job) {
  std::string name = absl::AsciiStrToLower(options.embedder);
  if (name.empty() && preset.has_value()) name = preset->embedder;
  if (name.empty()) name = "openai";
  if (name != "openai" && name != "builtin") {
    return absl::InvalidArgumentError(
        absl::StrCat("--embedder ", name,
                     ": this version has openai and builtin; a server that speaks OpenAI's API "
                     "works with --embedder openai --api-base URL"));
  }
  job->embedder = name == "builtin" ? Embedder::kBuiltin : Embedder::kOpenAi;
  if (job->embedder == Embedder::kBuiltin) return absl::OkStatus();
  const auto variable = [](const std::string& own, const char* otherwise) { return own.empty() ? otherwise : own; };
  const std::string base_variable = variable(preset.has_value() ? preset->api_base_env : "", kOpenAiBaseVariable);
  const std::string key_variable = variable(preset.has_value() ? preset->api_key_env : "", kOpenAiKeyVariable);
  OpenAiOptions& client = job->client;
  client.api_base = !options.api_base.empty() ? options.api_base : environment.Get(base_variable);
  if (client.api_base.empty()) client.api_base = kOpenAiBase;
  while (absl::EndsWith(client.api_base, "/")) client.api_base.pop_back();
  if (!absl::StartsWith(client.api_base, "http://") && !absl::StartsWith(client.api_base, "https://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--api-base ", client.api_base, ": expected http://HOST/v1 or https://HOST/v1"));
  }
  if (key_need == KeyNeed::kNone) return absl::OkStatus();
  absl::StatusOr<std::string> key = FindApiKey(options, key_variable, environment);
  if (!key.ok()) return key.status();
  client.api_key = *std::move(key);
  if (client.api_key.empty() && !IsLoopback(client.api_base)) {
    return absl::UnauthenticatedError(
        absl::StrCat("no API key for ", client.api_base, ": set ", key_variable,
                     ", or name a file with --api-key-file; without a key, --embedder builtin tries everything out"));
  }
  return absl::OkStatus();
}

absl::Status ResolveLimits(const CommandOptions& options, const std::optional<SystemPreset>& preset, ResolvedJob* job) {
  const bool builtin = job->embedder == Embedder::kBuiltin;
  const int batch_size = options.batch_size > 0 ? options.batch_size : 256;
  if (batch_size > kMaxBatchSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("--batch-size ", batch_size, ": a request takes at most ", kMaxBatchSize, " texts"));
  }
  const int concurrency = options.concurrency > 0 ? options.concurrency : builtin ? 8 : 16;
  if (concurrency > 1024) return absl::InvalidArgumentError("--concurrency: at most 1024 requests at a time");
  PipelineOptions& pipeline = job->pipeline;
  pipeline.batch.max_texts = batch_size;
  pipeline.batch.max_rows = 2 * batch_size;
  pipeline.batch.max_tokens = kMaxRequestTokens;
  // Some batches are being decoded, kept and written while others are at the API.
  pipeline.batches_in_flight = concurrency + std::max(4, concurrency / 2);
  pipeline.max_rows = options.limit;
  const std::string normalize = options.normalize.empty() && preset.has_value() ? preset->normalize : options.normalize;
  if (normalize == "unit") pipeline.normalization = Normalization::kUnitL2;
  OpenAiOptions& client = job->client;
  client.concurrency = concurrency;
  client.hedge = options.hedge;
  client.limit = {.requests_per_minute = options.rpm, .tokens_per_minute = options.tpm};
  if (options.timeout_seconds > 0) client.timeout = absl::Seconds(options.timeout_seconds);
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
  Location rows = job->source;  // which rows, apart from how they are chosen and what becomes of them
  for (const char* name : {"where", "text", "vector", "model_column", "encoding"}) rows.parameters.erase(name);
  std::string where = job->source.Get("where");
  if (!job->selection.where.empty()) {
    where = where.empty() ? job->selection.where : absl::StrCat("(", where, ") AND (", job->selection.where, ")");
  }
  JobIdentity& identity = job->identity;
  identity.source = rows.ToString();
  identity.selection =
      absl::StrCat(job->selection.rows == Selection::Rows::kAll ? "all rows" : "rows without a vector",
                   where.empty() ? "" : absl::StrCat(" where ", where),
                   job->selection.resume_from.empty() ? "" : absl::StrCat(" from key ", job->selection.resume_from));
  identity.recipe = absl::StrCat("text of ", job->source.Get("text", "text"));
  identity.model = job->client.model.name;
  identity.dim = job->client.model.dim;
  identity.normalization = job->pipeline.normalization == Normalization::kUnitL2 ? "unit" : "as-received";
}

std::string DefaultDirectory(const ResolvedJob& job, const Environment& environment) {
  const JobIdentity& id = job.identity;
  const TextHash hash = HashText(absl::StrCat(id.source, "\n", id.selection, "\n", id.recipe, "\n", id.model, "\n",
                                              id.dim, "\n", id.normalization));
  return absl::StrFormat("%s/%s-%08x", JobsFolder(environment), job.name, static_cast<uint32_t>(hash.lo));
}

}  // namespace

CommandOptions DescribedOptions(const ResolvedJob& job) {
  CommandOptions described = job.options;
  described.system.clear();
  described.db.clear();
  described.source = job.source.ToString();
  described.targets.clear();
  for (const Location& target : job.targets) described.targets.push_back(target.ToString());
  described.embedder = job.embedder == Embedder::kBuiltin ? "builtin" : "openai";
  described.api_base = job.client.api_base;
  described.model = job.client.model.name;
  described.dimensions = job.client.model.dim;
  described.normalize = job.pipeline.normalization == Normalization::kUnitL2 ? "unit" : "as-received";
  return described;
}

bool IsLoopback(absl::string_view url) {
  absl::ConsumePrefix(&url, "http://");
  absl::ConsumePrefix(&url, "https://");
  const absl::string_view host = url.substr(0, url.find_first_of("/"));
  for (const absl::string_view name : {"localhost", "127.0.0.1", "[::1]"}) {
    if (host == name || absl::StartsWith(host, absl::StrCat(name, ":"))) return true;
  }
  return false;
}

std::string JobsFolder(const Environment& environment) {
  const std::string state = environment.Get("XDG_STATE_HOME");
  return absl::StrCat(state.empty() ? ExpandHome("~/.local/state", environment) : state, "/reembed/jobs");
}

absl::StatusOr<std::string> FindApiKey(const CommandOptions& options, const std::string& default_variable,
                                       const Environment& environment) {
  if (!options.api_key_file.empty()) {
    std::ifstream file(ExpandHome(options.api_key_file, environment));
    std::string key;
    if (!std::getline(file, key)) {
      return absl::NotFoundError(
          absl::StrCat("--api-key-file ", options.api_key_file, ": cannot be read, or is empty"));
    }
    return std::string(absl::StripAsciiWhitespace(key));
  }
  if (options.api_key_env.empty()) return environment.Get(default_variable);
  std::string key = environment.Get(options.api_key_env);
  if (key.empty()) {
    return absl::UnauthenticatedError(absl::StrCat("--api-key-env ", options.api_key_env, ": is not set"));
  }
  return key;
}

absl::StatusOr<ResolvedJob> Resolve(const CommandOptions& options, const Environment& environment, KeyNeed key_need) {
  ResolvedJob job{.options = options};
  std::optional<SystemPreset> preset;
  if (!options.system.empty()) {
    absl::StatusOr<SystemPreset> found = FindSystem(options.system, environment);
    if (!found.ok()) return found.status();
    preset = *std::move(found);
  } else if (!options.db.empty()) {
    return absl::InvalidArgumentError("--db goes with --system");
  }
  if (absl::Status places = ResolvePlaces(options, preset, environment, &job); !places.ok()) return places;
  if (absl::Status selection = ResolveSelection(options, &job); !selection.ok()) return selection;
  if (absl::Status embedder = ResolveEmbedder(options, preset, environment, key_need, &job); !embedder.ok())
    return embedder;
  if (absl::Status model = ResolveModel(options, preset, environment, &job); !model.ok()) return model;
  if (absl::Status limits = ResolveLimits(options, preset, &job); !limits.ok()) return limits;
  job.selection.dim = job.client.model.dim;
  ResolveIdentity(&job);
  job.directory = options.job.empty() ? DefaultDirectory(job, environment) : AbsolutePath(options.job);
  return job;
}

}  // namespace reembed
