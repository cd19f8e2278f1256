// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_embedder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/contained.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "engine/text/lexical_embedder.h"
#include "io/embed/api_address.h"
#include "io/embed/body_fields.h"
#include "io/net/url.h"
#include "tools/api_key.h"
#include "tools/format.h"
#include "tools/preset_variables.h"
#include "tools/secret_form.h"
#include "tools/uri_template.h"

namespace reembed {
namespace {

constexpr char kOpenAi[] = "openai";
constexpr char kDefaultModel[] = "text-embedding-3-small";
constexpr int kDefaultLexicalDim = 512;

absl::Status ResolveBuiltin(const CommandOptions& options, ResolvedJob* job) {
  Model& model = job->client.model;
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

// The variables that may name something: the preset's, if it means this very API, else the vendor's.
std::vector<std::string> Variables(const std::string& of_preset, const std::array<const char*, 2>& of_vendor) {
  if (!of_preset.empty()) return VariableNames(of_preset);
  std::vector<std::string> names;
  for (const char* const name : of_vendor) {
    if (name != nullptr) names.push_back(name);
  }
  return names;
}

// The login of an address, taken out of it. A job remembers the address without: then the login may be in a variable
// that holds the same address with one.
absl::Status TakeLoginOf(const Dialect& dialect, const std::vector<std::string>& variables,
                         const Environment& environment, std::string* base, std::string* login) {
  absl::StatusOr<UrlAndLogin> taken = TakeLogin(*base);
  if (!taken.ok()) return absl::Status(taken.status().code(), absl::StrCat("--api-base: ", taken.status().message()));
  *base = std::move(taken->url);
  *login = std::move(taken->login);
  std::vector<std::string> others = variables;
  others.push_back("REEMBED_API_BASE");
  for (const std::string& name : others) {
    if (!login->empty()) break;
    absl::StatusOr<UrlAndLogin> other = TakeLogin(environment.Get(name));
    if (other.ok() && TidyAddress(dialect, other->url) == TidyAddress(dialect, *base)) *login = std::move(other->login);
  }
  return absl::OkStatus();
}

absl::Status ResolveBase(const CommandOptions& options, const Dialect& dialect,
                         const std::vector<std::string>& variables, const Environment& environment,
                         ApiOptions* client) {
  std::string& base = client->api_base;
  const bool by_variable = options.api_base.empty();
  base = by_variable ? FirstSet(variables, environment) : options.api_base;
  ABSL_RETURN_IF_ERROR(TakeLoginOf(dialect, variables, environment, &base, &client->login));
  // OLLAMA_HOST is a host, and perhaps a port.
  if (!base.empty() && dialect.self_hosted && (by_variable || !absl::StrContains(base, "://"))) {
    base = AddressOfHost(base, dialect.api_base);
  }
  if (base.empty()) base = dialect.api_base;
  if (base.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--embedder ", dialect.name, ": say where it is with --api-base URL",
                                                   variables.empty() ? "" : " or ", absl::StrJoin(variables, " or ")));
  }
  base = TidyAddress(dialect, base);
  // The address is written down in job.toml.
  if (const absl::string_view secret = SecretParameter(base); !secret.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--api-base ", UrlForMessages(base), ": its query has a secret in `", secret,
                     "`, and addresses are stored in jobs; leave it out and give it by --api-key-env or --header-env"));
  }
  if (!absl::StartsWith(base, "http://") && !absl::StartsWith(base, "https://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--api-base ", base, ": expected http://HOST/v1 or https://HOST/v1"));
  }
  if (const Dialect* const other = ForeignDialect(dialect, base); other != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("--api-base ", UrlForMessages(base), ": that is an address of ",
                                                   other->title, ", not of ", dialect.name, ": say --embedder ",
                                                   other->name));
  }
  return absl::OkStatus();
}

absl::Status ResolveKey(const CommandOptions& options, const Dialect& dialect,
                        const std::vector<std::string>& variables, const Environment& environment, ApiOptions* client) {
  ABSL_ASSIGN_OR_RETURN(client->api_key, FindApiKey(options, variables, environment));
  const bool has_secret = !client->api_key.empty() || !client->login.empty();
  if (has_secret || dialect.self_hosted || IsLoopback(client->api_base)) return absl::OkStatus();
  return absl::UnauthenticatedError(
      absl::StrCat("no API key for ", UrlForMessages(client->api_base), ": set ", absl::StrJoin(variables, " or "),
                   ", or name a file with --api-key-file; without a key, --embedder builtin tries everything out"));
}

// A finished job knows its API, but not its system: where the key was in a variable of the system's own, that is noted.
void RememberKeyVariable(const CommandOptions& options, const Dialect& dialect,
                         const std::vector<std::string>& variables, const Environment& environment, ResolvedJob* job) {
  if (!options.api_key_env.empty() || !options.api_key_file.empty() || !options.api_key_cmd.empty() ||
      !job->options.endpoints.empty()) {
    return;
  }
  for (const std::string& name : variables) {
    if (environment.Get(name).empty()) continue;
    const bool of_vendor = std::any_of(dialect.key_variables.begin(), dialect.key_variables.end(),
                                       [&](const char* known) { return known != nullptr && name == known; });
    if (!of_vendor) job->options.api_key_env = name;
    return;
  }
}

absl::Status ResolveHeaders(const CommandOptions& options, const Environment& environment, KeyNeed key_need,
                            ApiOptions* client) {
  const auto split = [](const std::string& header) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(header, absl::MaxSplits(':', 1));
    return std::pair(std::string(absl::StripAsciiWhitespace(parts.first)),
                     std::string(absl::StripAsciiWhitespace(parts.second)));
  };
  for (const std::string& header : options.headers) {
    const auto [name, value] = split(header);
    if (IsCredentialHeader(name) || LooksLikeSecret(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--header ", name, ": looks like a secret: put it into an environment variable and say ",
                       "--header-env '", name, ": VARIABLE'"));
    }
    if (name.empty() || value.empty()) return absl::InvalidArgumentError("--header: expected `name: value`");
    client->headers.push_back(absl::StrCat(name, ": ", value));
  }
  for (const std::string& header : options.header_envs) {
    const auto [name, variable] = split(header);
    if (name.empty() || variable.empty()) return absl::InvalidArgumentError("--header-env: expected `name: VARIABLE`");
    if (key_need == KeyNeed::kNone) continue;
    const std::string value = environment.Get(variable);
    if (value.empty()) {
      return absl::UnauthenticatedError(absl::StrCat("--header-env ", name, ": ", variable, " is not set"));
    }
    client->headers.push_back(absl::StrCat(name, ": ", value));
    client->header_secrets.push_back(value);
  }
  return absl::OkStatus();
}

absl::Status ResolveBodyFields(const CommandOptions& options, ApiOptions* client) {
  for (const std::string& text : options.body_fields) {
    absl::StatusOr<BodyField> parsed = ParseBodyField(text);
    if (!parsed.ok()) return Prefixed("--body-field: ", parsed.status());
    BodyField field = *std::move(parsed);
    std::string space;
    if (LooksLikeSecret(JsonString(field.json, &space).value_or(""))) {
      return absl::InvalidArgumentError(
          absl::StrCat("--body-field ", field.name, ": looks like a secret, and these fields are stored in jobs"));
    }
    client->body_fields.push_back(std::move(field));
  }
  return Prefixed("--body-field ", CheckBodyFields(*client));
}

absl::StatusOr<std::optional<KnownModel>> FindModel(const std::string& name, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(std::vector<KnownModel> models, LoadModels(environment));
  for (KnownModel& known : models) {
    if (IsNameOf(known, name)) return std::move(known);
  }
  return std::nullopt;
}

// "; did you mean `...`?" where a known model has such a name; else empty.
std::string NearModel(const std::string& name, const Environment& environment) {
  const absl::StatusOr<std::vector<KnownModel>> models = LoadModels(environment);
  std::vector<std::string> names;
  if (models.ok()) {
    for (const KnownModel& known : *models) names.push_back(known.name);
  }
  const std::string near = NearestName(name, names);
  return near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?");
}

// Model and width: what was said, else what the preset says, else what is known of the model.
absl::Status ResolveModel(const CommandOptions& options, const std::string& of_preset, const Dialect& dialect,
                          const Environment& environment, ResolvedJob* job) {
  Model& model = job->client.model;
  model.name = !options.model.empty() ? options.model : of_preset;
  if (model.name.empty() && dialect.name == absl::string_view(kOpenAi)) model.name = kDefaultModel;
  if (model.name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--embedder ", dialect.name, ": say which of its models with --model NAME"));
  }
  ABSL_ASSIGN_OR_RETURN(job->known_model, FindModel(model.name, environment));
  if (model.dim == 0 && job->known_model.has_value()) model.dim = job->known_model->dim;
  if (model.dim == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the width of ", model.name,
                                                   " is not in models.toml: say it with --dimensions N",
                                                   NearModel(model.name, environment)));
  }
  if (!job->known_model.has_value()) return absl::OkStatus();
  if (job->known_model->dim == model.dim) return absl::OkStatus();
  if (!job->known_model->resizable || !dialect.resizes) {
    return absl::InvalidArgumentError(absl::StrCat("--dimensions ", model.dim, ": ", model.name, " gives ",
                                                   job->known_model->dim, " and cannot be asked for another width",
                                                   job->known_model->resizable ? " of " : "",
                                                   job->known_model->resizable ? dialect.name : ""));
  }
  if (model.dim > job->known_model->max_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("--dimensions ", model.dim, ": ", model.name, " gives at most ", job->known_model->max_dim));
  }
  // A server whose model we do not know may refuse the field; the width of its reply is checked anyway.
  job->client.dimensions = model.dim;
  return absl::OkStatus();
}

InputUse UseOf(const std::string& input_type) {
  return input_type == "query" ? InputUse::kQuery : input_type == "none" ? InputUse::kNone : InputUse::kDocument;
}

// What the API is told of each text, and what becomes of those that are too long for it.
void ResolveTexts(const CommandOptions& options, const Dialect& dialect, ResolvedJob* job) {
  ApiOptions& client = job->client;
  client.use = UseOf(options.input_type);
  client.truncate = options.truncate;
  if (job->known_model.has_value() && client.use != InputUse::kNone) {
    client.text_prefix =
        client.use == InputUse::kQuery ? job->known_model->query_prefix : job->known_model->document_prefix;
  }
  // Elsewhere only what was said: a server behind OpenAI's API may want to hear it, and most take no notice.
  client.tell_use = dialect.name == absl::string_view(kOpenAi) && client.api_base != dialect.api_base &&
                    !options.input_type.empty() && !options.input_type_is_default && client.use != InputUse::kNone &&
                    client.text_prefix.empty();
  if (client.tell_use) {
    job->notes.push_back(
        absl::StrCat("the server is told `input_type`: ", client.use == InputUse::kQuery ? "query" : "passage",
                     "; without --input-type it is told nothing"));
  } else if (!client.text_prefix.empty()) {
    job->notes.push_back(absl::StrCat("as ", client.model.name, " wants it, `", client.text_prefix,
                                      "` is put before each text in requests; --input-type none leaves it out"));
  } else if (dialect.knows_use && client.use != InputUse::kNone) {
    job->notes.push_back(absl::StrCat(dialect.name, " is told that texts are ",
                                      client.use == InputUse::kQuery ? "queries" : "documents to be searched",
                                      "; --input-type none says nothing"));
  }
  if (dialect.long_input != LongInput::kCutSilently || client.truncate) return;
  client.refused_tokens = job->known_model.has_value() ? job->known_model->max_tokens : 0;
  job->notes.push_back(
      client.refused_tokens > 0
          ? absl::StrCat(dialect.name, " truncates, or may truncate, texts above ",
                         Counted(client.refused_tokens, "token", "tokens"), " silently: texts that seem longer are ",
                         options.long_text.empty() || options.long_text == "reject"
                             ? "rejected; --truncate lets it cut them"
                             : "truncated here, well below that limit")
          : absl::StrCat(dialect.name, " may silently truncate texts above its model's limit, and the limit of ",
                         client.model.name, " is not in models.toml"));
}

void NoteLength(const std::string& normalize, ResolvedJob* job) {
  if (!job->known_model.has_value() || normalize == "unit") return;
  const auto unit = job->known_model->unit_length;
  const bool cut = job->client.model.dim != job->known_model->dim;
  if (unit == KnownModel::UnitLength::kNever || (unit == KnownModel::UnitLength::kFullWidth && cut)) {
    job->notes.push_back(absl::StrCat("vectors of ", job->client.model.name, " with ", job->client.model.dim,
                                      " dimensions do not have length 1; --normalize unit scales them"));
  }
}

void NoteLogin(const Dialect& dialect, ResolvedJob* job) {
  if (job->client.login.empty()) return;
  const bool key_goes =
      absl::StartsWithIgnoreCase(dialect.key_header, "authorization:") && !job->client.api_key.empty();
  job->notes.push_back(absl::StrCat(job->client.api_base, ": user and password of the address are ",
                                    key_goes ? "not sent, as the API key goes into the same header" : "sent",
                                    " and never stored; for a later command set REEMBED_API_BASE, or give them again"));
}

}  // namespace

std::vector<std::string> EmbedderNames() {
  std::vector<std::string> names;
  for (const Dialect& dialect : Dialects()) names.push_back(dialect.name);
  names.push_back(kBuiltinEmbedder);
  return names;
}

std::string EmbeddingRecipe(const ApiOptions& client) {
  // Those of jobs before it could be told are documents.
  const bool told = FindDialect(client.dialect)->knows_use || !client.text_prefix.empty() ||
                    (client.tell_use && client.use == InputUse::kQuery);
  const char* const use = !told || client.use == InputUse::kNone ? ""
                          : client.use == InputUse::kQuery       ? " as query"
                                                                 : " as document";
  std::string fields;
  for (const BodyField& field : client.body_fields) absl::StrAppend(&fields, ", ", field.name, "=", field.json);
  return absl::StrCat(use, client.truncate ? ", cut if too long" : "", fields);
}

absl::Status ResolveEmbedder(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                             const Environment& environment, KeyNeed key_need, ResolvedJob* job) {
  const std::string of_preset = preset.has_value() && !preset->embedder.empty() ? preset->embedder : kOpenAi;
  // Without a word on the API, a pasted address may say which it is.
  const Dialect* const of_address = preset.has_value() ? nullptr : DialectOfAddress(options.api_base);
  const std::string name = !options.embedder.empty() ? absl::AsciiStrToLower(options.embedder)
                           : of_address != nullptr   ? std::string(of_address->name)
                                                     : of_preset;
  if (options.dimensions < 0 || options.dimensions > 65536) {
    return absl::InvalidArgumentError(absl::StrCat("--dimensions ", options.dimensions, ": expected 1 to 65536"));
  }
  // Another API has other models.
  const bool preset_means_it = preset.has_value() && name == of_preset;
  job->client.model.dim = options.dimensions;
  if (job->client.model.dim == 0 && preset.has_value() && (preset_means_it || name == kBuiltinEmbedder)) {
    job->client.model.dim = preset->dim;
  }
  if (name == kBuiltinEmbedder) {
    job->embedder = Embedder::kBuiltin;
    return ResolveBuiltin(options, job);
  }
  const Dialect* const dialect = FindDialect(name);
  if (dialect == nullptr) {
    const std::vector<std::string> names = EmbedderNames();
    const std::string near = NearestName(name, names);
    return absl::InvalidArgumentError(absl::StrCat(
        "--embedder ", name, ": ", near.empty() ? "" : absl::StrCat("did you mean `", near, "`? "), "known are ",
        absl::StrJoin(names, ", "), "; a server that speaks OpenAI's API works with --embedder openai --api-base URL"));
  }
  job->embedder = Embedder::kApi;
  job->client.dialect = dialect->name;
  if (options.embedder.empty() && dialect == of_address) {
    job->notes.push_back(absl::StrCat("the address is one of ", dialect->title, ", as --embedder ", dialect->name));
  }
  const auto bases = Variables(preset_means_it ? preset->api_base_env : "", dialect->base_variables);
  const auto keys = Variables(preset_means_it ? preset->api_key_env : "", dialect->key_variables);
  CommandOptions asked = options;
  if (preset_means_it) {
    if (asked.api_base.empty() && FirstSet(bases, environment).empty()) asked.api_base = preset->api_base;
    if (asked.input_type.empty()) asked.input_type = job->options.input_type = preset->input_type;
  }
  ABSL_RETURN_IF_ERROR(ResolveBase(asked, *dialect, bases, environment, &job->client));
  if (key_need == KeyNeed::kWanted) {
    ABSL_RETURN_IF_ERROR(ResolveKey(options, *dialect, keys, environment, &job->client));
    RememberKeyVariable(options, *dialect, keys, environment, job);
  }
  ABSL_RETURN_IF_ERROR(ResolveHeaders(options, environment, key_need, &job->client));
  NoteLogin(*dialect, job);
  if (absl::Status proxy = TakeLogin(options.proxy).status(); !proxy.ok()) {
    return absl::Status(proxy.code(), absl::StrCat("--proxy: ", proxy.message()));
  }
  job->client.proxy = options.proxy;
  job->client.ca_file = options.ca_file.empty() ? "" : ExpandHome(options.ca_file, environment);
  const std::string model_of_preset = preset_means_it ? preset->model : "";
  ABSL_RETURN_IF_ERROR(ResolveModel(options, model_of_preset, *dialect, environment, job));
  ResolveTexts(asked, *dialect, job);
  ABSL_RETURN_IF_ERROR(ResolveBodyFields(options, &job->client));
  NoteLength(options.normalize.empty() && preset.has_value() ? preset->normalize : options.normalize, job);
  return absl::OkStatus();
}

}  // namespace reembed
