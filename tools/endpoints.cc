// SPDX-License-Identifier: Apache-2.0
#include "tools/endpoints.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/location.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_value.h"
#include "engine/pace/request_packer.h"
#include "engine/status_macros.h"
#include "io/job/canary_file.h"
#include "io/net/url.h"
#include "tools/api_key.h"
#include "tools/format.h"
#include "tools/resolve_embedder.h"
#include "tools/sharing.h"

namespace reembed {
namespace {

constexpr absl::Duration kDefaultCanaryInterval = absl::Minutes(10);

// An endpoint among others gives up soon: the others do its work, and it is probed until it is well again.
constexpr int kAttemptsAmongOthers = 3;
constexpr absl::Duration kMaxWaitAmongOthers = absl::Seconds(6);

absl::Status SetNumber(absl::string_view text, double* number) {
  if (absl::SimpleAtod(text, number) && *number > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("expected a number above 0, got ", text));
}

absl::Status SetWord(absl::string_view name, absl::string_view value, EndpointSpec* spec) {
  if (name == "key-env") {
    spec->key_env = std::string(value);
  } else if (name == "key-file") {
    if (value == kStandardInput) return absl::InvalidArgumentError("expected a file; `-` goes with --api-key-file");
    spec->key_file = std::string(value);
  } else if (name == "rpm") {
    return SetNumber(value, &spec->rpm);
  } else if (name == "tpm") {
    return SetNumber(value, &spec->tpm);
  } else if (name == "weight") {
    return SetNumber(value, &spec->weight);
  } else if (name == "concurrency") {
    if (!absl::SimpleAtoi(value, &spec->concurrency) || spec->concurrency < 1 || spec->concurrency > 1024) {
      return absl::InvalidArgumentError(absl::StrCat("expected 1 to 1024, got ", value));
    }
  } else {
    static constexpr const char* kNames[] = {"key-env", "key-file", "rpm", "tpm", "weight", "concurrency"};
    const std::vector<std::string> names(std::begin(kNames), std::end(kNames));
    const std::string near = NearestName(name, names);
    return absl::InvalidArgumentError(near.empty() ? absl::StrCat("known are ", absl::StrJoin(names, ", "))
                                                   : absl::StrCat("did you mean ", near, "?"));
  }
  return absl::OkStatus();
}

// Where two endpoints have one URL, the name of what holds the key tells them apart.
std::string NameOf(const EndpointSpec& spec, const std::vector<EndpointSpec>& all) {
  const auto same_url = [&](const EndpointSpec& other) { return other.url == spec.url; };
  if (std::count_if(all.begin(), all.end(), same_url) < 2) return spec.url;
  const std::string& key = spec.key_env.empty() ? spec.key_file : spec.key_env;
  if (!key.empty()) return absl::StrCat(spec.url, " (key from ", key, ")");
  // They differ by their logins, which are not shown.
  const auto self = std::find_if(all.begin(), all.end(), [&](const EndpointSpec& other) { return &other == &spec; });
  return absl::StrCat(spec.url, " (", std::count_if(all.begin(), self, same_url) + 1, ")");
}

// Of endpoints that are taken already.
std::string UserInfo(const EndpointSpec& spec) {
  const absl::StatusOr<UrlAndLogin> taken = TakeLogin(spec.given_url);
  return taken.ok() ? taken->login : "";
}

absl::StatusOr<std::vector<EndpointSpec>> ParseAll(const CommandOptions& options) {
  std::vector<EndpointSpec> specs;
  for (const std::string& text : options.endpoints) {
    ABSL_ASSIGN_OR_RETURN(EndpointSpec spec, ParseEndpoint(text));
    for (const EndpointSpec& other : specs) {
      if (other.url == spec.url && UserInfo(other) == UserInfo(spec) && other.key_env == spec.key_env &&
          other.key_file == spec.key_file) {
        return absl::InvalidArgumentError(absl::StrCat("--endpoint ", spec.url, " is given twice with the same key"));
      }
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace

absl::StatusOr<EndpointSpec> ParseEndpoint(const std::string& text) {
  EndpointSpec spec;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (spec.url.empty()) {
      const absl::StatusOr<UrlAndLogin> taken = TakeLogin(part);
      if (!taken.ok()) {
        return absl::Status(taken.status().code(), absl::StrCat("--endpoint: ", taken.status().message()));
      }
      spec.given_url = std::string(part);
      spec.url = taken->url;
      while (absl::EndsWith(spec.url, "/")) spec.url.pop_back();
      if (!absl::StartsWith(part, "http://") && !absl::StartsWith(part, "https://")) {
        return absl::InvalidArgumentError(absl::StrCat("--endpoint ", taken->url,
                                                       ": expected http://HOST/v1 or "
                                                       "https://HOST/v1 first, then ,key-env=NAME and others"));
      }
      continue;
    }
    const std::pair<absl::string_view, absl::string_view> word = absl::StrSplit(part, absl::MaxSplits('=', 1));
    // What follows an unknown word is not repeated: it may be a key.
    if (absl::Status set = SetWord(word.first, word.second, &spec); !set.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--endpoint ", spec.url, ", ", word.first, ": ", set.message()));
    }
  }
  if (!spec.key_env.empty() && !spec.key_file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--endpoint ", spec.url, ": key-env or key-file, not both"));
  }
  return spec;
}

std::string WithoutLogin(absl::string_view endpoint) {
  const size_t comma = std::min(endpoint.find(','), endpoint.size());
  const absl::StatusOr<UrlAndLogin> taken = TakeLogin(endpoint.substr(0, comma));
  return absl::StrCat(taken.ok() ? taken->url : "", endpoint.substr(comma));
}

CommandOptions OptionsOf(const CommandOptions& options, const EndpointSpec& endpoint) {
  CommandOptions own = options;
  own.endpoints.clear();
  own.api_base = endpoint.given_url;
  if (!endpoint.key_env.empty() || !endpoint.key_file.empty()) {
    own.api_key_env = endpoint.key_env;
    own.api_key_file = endpoint.key_file;
  }
  return own;
}

absl::StatusOr<CommandOptions> OptionsOfFirst(const CommandOptions& options) {
  if (options.endpoints.empty()) return options;
  if (!options.api_base.empty()) {
    return absl::InvalidArgumentError("--api-base and --endpoint: name all places with --endpoint");
  }
  if (options.embedder == kBuiltinEmbedder) {
    return absl::InvalidArgumentError("--endpoint: the built-in embedder has none");
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<EndpointSpec> specs, ParseAll(options));
  return OptionsOf(options, specs.front());
}

absl::Status ResolveEndpoints(const std::optional<SystemPreset>& preset, const Environment& environment,
                              KeyNeed key_need, ResolvedJob* job) {
  ABSL_ASSIGN_OR_RETURN(job->canary_interval, ParseCanaryInterval(job->options.canary_interval));
  ABSL_ASSIGN_OR_RETURN(const std::vector<EndpointSpec> specs, ParseAll(job->options));
  int concurrency = 0;
  int64_t quota_tokens = 0;
  bool unlimited = false;
  LearnedCapsOfAll learned;
  for (const EndpointSpec& spec : specs) {
    ResolvedJob alone{.options = OptionsOf(job->options, spec)};
    ABSL_RETURN_IF_ERROR(ResolveEmbedder(alone.options, preset, environment, key_need, &alone));
    ApiOptions client = job->client;
    client.api_base = alone.client.api_base;
    client.api_key = alone.client.api_key;
    client.login = alone.client.login;
    if (spec.rpm > 0) {
      const bool counts_texts = FindDialect(client.dialect)->limits.counts_texts;
      client.limit.requests_per_minute = counts_texts ? spec.rpm / job->pipeline.batch.max_texts : spec.rpm;
    }
    if (spec.tpm > 0) client.limit.tokens_per_minute = spec.tpm;
    if (spec.concurrency > 0) client.concurrency = spec.concurrency;
    if (specs.size() > 1) {
      client.retry.max_attempts = kAttemptsAmongOthers;
      client.retry.max_wait = kMaxWaitAmongOthers;
      client.retry.outage_waits = 0;  // the others go on meanwhile
    }
    if (job->keep_vectors == KeepVectors::kNever && !IsLoopback(client.api_base)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--keep-vectors never: ", client.api_base, " is not on this machine, so its vectors cost"));
    }
    client.caps = std::make_shared<LearnedCaps>();
    learned.push_back(client.caps);
    concurrency += client.concurrency;
    quota_tokens = std::max(quota_tokens, QuotaTokensPerRequest(client.limit));
    unlimited |= client.limit.tokens_per_minute <= 0;
    job->endpoints.push_back({.name = NameOf(spec, specs), .weight = spec.weight, .client = std::move(client)});
  }
  if (job->endpoints.empty()) return absl::OkStatus();
  job->pipeline.batches_in_flight = BatchesInFlight(concurrency, job->pipeline.batch, job->client.model.dim);
  // Whose quota is smaller splits what it gets.
  job->pipeline.quota_tokens = unlimited ? 0 : quota_tokens;
  job->pipeline.learned = std::move(learned);
  job->client = job->endpoints.front().client;
  return absl::OkStatus();
}

absl::StatusOr<absl::Duration> ParseCanaryInterval(const std::string& text) {
  if (text.empty()) return kDefaultCanaryInterval;
  if (text == "off") return absl::InfiniteDuration();
  double minutes = 0;
  absl::Duration interval;
  if (absl::SimpleAtod(text, &minutes)) {
    interval = absl::Minutes(minutes);
  } else if (!absl::ParseDuration(text, &interval)) {
    interval = -absl::Seconds(1);
  }
  if (interval < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--canary-interval ", text, ": expected minutes, a duration as 30s or 1h, or off"));
  }
  return interval == absl::ZeroDuration() ? absl::InfiniteDuration() : interval;
}

RateLimit TotalLimit(const ResolvedJob& job) {
  if (job.endpoints.empty()) return job.client.limit;
  RateLimit total;
  const auto add = [&](double RateLimit::*limit) {
    for (const ResolvedEndpoint& endpoint : job.endpoints) {
      if (endpoint.client.limit.*limit <= 0) {
        total.*limit = 0;
        return;
      }
      total.*limit += endpoint.client.limit.*limit;
    }
  };
  add(&RateLimit::requests_per_minute);
  add(&RateLimit::tokens_per_minute);
  return total;
}

absl::StatusOr<RunningPool> StartPool(const ResolvedJob& job, TokenEstimator* estimator,
                                      const std::function<void(const std::string&)>& note,
                                      const std::function<void(int64_t, Done)>& lost) {
  RunningPool running;
  std::vector<ResolvedEndpoint> resolved = job.endpoints;
  if (resolved.empty()) resolved.push_back({.name = job.client.api_base, .client = job.client});
  if (job.embedder == Embedder::kBuiltin) {
    ABSL_ASSIGN_OR_RETURN(running.server, EmbeddingServer::Start({.dim = job.client.model.dim}));
    resolved.front().name = "the built-in embedder";
    resolved.front().client.api_base = running.server->base_url();
  }
  EndpointPoolOptions options{.check_first = job.canary_interval < absl::InfiniteDuration(),
                              .check_interval = job.canary_interval,
                              .note = note};
  ABSL_ASSIGN_OR_RETURN(options.reference, ReadCanary(job.directory, job.client.model.dim));
  options.keep_reference = [directory = job.directory](absl::Span<const float> vectors) {
    return WriteCanary(directory, vectors);
  };
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorCache> cache, OpenCache(job, &options));
  std::vector<PoolEndpoint> endpoints;
  for (ResolvedEndpoint& endpoint : resolved) {
    // What a probe of the first endpoint taught holds for all.
    endpoint.client.encoding = job.client.encoding;
    endpoint.client.estimator = estimator;
    endpoint.client.note = note;
    endpoint.client.lost = lost;
    const int concurrency = endpoint.client.concurrency;
    absl::StatusOr<std::unique_ptr<EmbeddingClient>> client = MakeApiClient(std::move(endpoint.client));
    if (!client.ok()) {
      return absl::Status(client.status().code(), absl::StrCat(endpoint.name, ": ", client.status().message()));
    }
    endpoints.push_back({.name = std::move(endpoint.name),
                         .traits = {.concurrency = concurrency, .weight = endpoint.weight},
                         .client = *std::move(client)});
  }
  ABSL_ASSIGN_OR_RETURN(running.pool, EndpointPool::Make(std::move(endpoints), std::move(options)));
  if (cache != nullptr) {
    running.cache = std::make_unique<CachingClient>(running.pool.get(), std::move(cache), CacheKeysOf(job), note);
  }
  const TextLimit& limit = job.pipeline.text_limit;
  if (limit.policy != LongText::kReject) {
    const CutOptions cut{
        .policy = limit.policy, .max_tokens = limit.max_tokens, .prefix_bytes = job.client.text_prefix.size()};
    running.long_texts = std::make_unique<LongTextClient>(running.whole_texts(), cut);
  }
  return running;
}

const char* StateWord(EndpointState state) {
  switch (state) {
    case EndpointState::kUnchecked:
      return "unused";
    case EndpointState::kWorking:
      return "working";
    case EndpointState::kResting:
      return "failing";
    case EndpointState::kRemoved:
      return "left out";
  }
  return "";
}

std::string EndpointLine(const EndpointReport& report) {
  std::string line = absl::StrCat("endpoint ", report.name, ": ", Counted(report.texts, "text", "texts"), ", ",
                                  Counted(report.stats.requests, "request", "requests"), ", ",
                                  Counted(report.stats.tokens, "token", "tokens"));
  if (report.state == EndpointState::kWorking) return line;
  return absl::StrCat(line, ", ", StateWord(report.state), ": ", report.trouble);
}

std::string EndpointsJson(const std::vector<EndpointReport>& reports) {
  std::vector<std::string> items;
  for (const EndpointReport& report : reports) {
    JsonLine line("endpoint");
    line.Add("name", report.name)
        .Add("state", StateWord(report.state))
        .Add("texts", report.texts)
        .Add("requests", report.stats.requests)
        .Add("requests_retried", report.stats.requests_retried)
        .Add("http_429", report.stats.http_429)
        .Add("tokens", report.stats.tokens)
        .Add("trouble", report.trouble);
    items.push_back(line.ToString());
  }
  return absl::StrCat("[", absl::StrJoin(items, ","), "]");
}

std::vector<std::string> EndpointNames(absl::string_view json) {
  std::vector<std::string> names;
  JsonScanner scanner(json);
  (void)ForEachElement(&scanner, [&names](absl::string_view endpoint) {
    JsonScanner members(endpoint);
    return ForEachMember(&members, [&names](absl::string_view member, absl::string_view value) {
      std::string space;
      if (member == "name") names.emplace_back(JsonString(value, &space).value_or(""));
      return true;
    });
  });
  return names;
}

}  // namespace reembed
