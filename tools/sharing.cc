// SPDX-License-Identifier: Apache-2.0
#include "tools/sharing.h"

#include <unistd.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/canary.h"
#include "engine/counted.h"
#include "engine/ledger.h"
#include "engine/status_macros.h"
#include "io/job/canary_file.h"
#include "tools/place.h"

namespace reembed {
namespace {

constexpr char kDefaultCache[] = "default";

std::string SharePassword(const Environment& environment) {
  for (const char* const variable : kSharePasswordVariables) {
    if (std::string password = environment.Get(variable); !password.empty()) return password;
  }
  return "";
}

// The same job on the same machine has the same name, whatever its streams.
std::string AccountOf(const ResolvedJob& job) {
  // A share may go on on another machine.
  if (job.share.has_value()) {
    const TextHash share = HashText(absl::StrCat(job.share->plan->id, ":", job.share->shard.Text()));
    return absl::StrFormat("%016x%016x", share.lo, share.hi);
  }
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const std::filesystem::path directory = job.directory;
  const std::string whole = job.stream.empty() ? directory.string() : directory.parent_path().string();
  const TextHash hash = HashText(absl::StrCat(host, ":", whole));
  return absl::StrFormat("%016x%016x", hash.lo, hash.hi);
}

absl::Status OtherModel(const VectorCache& cache, const ResolvedJob& job, double cosine) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s: expected vectors of the model that fills this cache under the name %s, got some of another one (cosine %.4f "
      "between its and ours of the same text); check the endpoint, or take another prefix for --cache",
      cache.name(), job.client.model.name, cosine));
}

absl::Status CheckSameModel(const VectorCache& cache, const ResolvedJob& job, absl::Span<const float> theirs,
                            absl::Span<const float> ours) {
  const std::optional<double> cosine = LowestCosine(theirs, ours, job.client.model.dim);
  if (!cosine.has_value() || *cosine >= kSameModelCosine) return absl::OkStatus();
  return OtherModel(cache, job, *cosine);
}

// Puts the vectors there unless some are: these must be of the same model. What is damaged is replaced.
absl::Status ShareCanary(const ResolvedJob& job, absl::Span<const float> ours, VectorCache* cache) {
  const CacheKey key = CacheKeysOf(job).OfCanary();
  const std::string value = EncodeCached(key, ours);
  const absl::StatusOr<std::string> there = cache->PutOnce(key, value);
  // A server that is full keeps nothing new, and what it has is as if no vectors of the canary had ever been there.
  if (absl::IsResourceExhausted(there.status())) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(there.status());
  std::vector<float> theirs(ours.size());
  if (!DecodeCached(key, *there, absl::MakeSpan(theirs))) return cache->Put({key}, {value});
  return CheckSameModel(*cache, job, theirs, ours);
}

absl::StatusOr<std::unique_ptr<VectorCache>> OpenOne(const ResolvedJob& job) {
  if (job.shared.cache.has_value()) return OpenServerCache(*job.shared.cache);
  return OpenFileCache(job.shared.cache_file);
}

}  // namespace

CacheKeys CacheKeysOf(const ResolvedJob& job) { return CacheKeys(job.client, job.identity.normalization); }

std::string CacheText(const CacheCounts& counts) {
  std::string text = absl::StrCat("cache: ", Counted(counts.found, "text was", "texts were"), " there, ",
                                  Counted(counts.bought, "text was", "texts were"), " not");
  if (counts.waited > 0) absl::StrAppend(&text, "; ", WithCommas(counts.waited), " of them another worker was buying");
  if (counts.damaged > 0) absl::StrAppend(&text, "; ", WithCommas(counts.damaged), " were damaged and bought again");
  return text;
}

absl::Status ResolveSharing(const Environment& environment, ResolvedJob* job) {
  CommandOptions& options = job->options;
  if (!options.quota.empty()) {
    if (job->embedder == Embedder::kBuiltin) {
      return absl::InvalidArgumentError("--quota: the built-in embedder has none; leave the flag out");
    }
    if (job->endpoints.size() > 1) {
      return absl::InvalidArgumentError(
          "--quota is that of one account, and there are several --endpoint; start a worker for each, with a key of "
          "its "
          "own behind --quota");
    }
    ABSL_ASSIGN_OR_RETURN(job->shared.quota, ParseShareAddress("--quota", options.quota, SharePassword(environment)));
  }
  if (options.cache.empty()) return absl::OkStatus();
  if (IsShareAddress(options.cache)) {
    ABSL_ASSIGN_OR_RETURN(job->shared.cache, ParseShareAddress("--cache", options.cache, SharePassword(environment)));
    return absl::OkStatus();
  }
  if (absl::StrContains(options.cache, "://")) {
    return absl::InvalidArgumentError("--cache: expected redis://HOST/PREFIX, rediss://HOST/PREFIX, default or a path");
  }
  if (options.cache == kDefaultCache) {
    options.cache = DefaultCacheFile(environment);
    if (options.cache.empty()) {
      return absl::InvalidArgumentError(
          "--cache default: expected XDG_CACHE_HOME, or a home directory; set one, or name a file");
    }
  }
  job->shared.cache_file = options.cache = AbsolutePath(ExpandHome(options.cache, environment));
  return absl::OkStatus();
}

std::string DefaultCacheFile(const Environment& environment) {
  // A path that is not absolute is none, as the rules of XDG have it.
  const std::string cache = environment.Get("XDG_CACHE_HOME"), home = environment.Home();
  if (!absl::StartsWith(cache, "/") && home.empty()) return "";
  return absl::StrCat(absl::StartsWith(cache, "/") ? cache : home + "/.cache", "/reembed/vectors.db");
}

absl::Status CheckCache(const ResolvedJob& job) {
  return job.shared.has_cache() ? OpenOne(job).status() : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WorkerQuota>> JoinQuota(const ResolvedJob& job, Spending* spending,
                                                       const std::function<void(const std::string&)>& say) {
  if (!job.shared.quota.has_value()) return nullptr;
  WorkerQuotaOptions options{.address = *job.shared.quota, .limit = job.client.limit, .note = say};
  if (spending->has_cap()) {
    options.spend = spending->cap();
    options.account = AccountOf(job);
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<WorkerQuota> quota, WorkerQuota::Start(std::move(options)));
  const int others = quota->workers() - 1;
  say(absl::StrCat("shares the quota at ", job.shared.quota->name, " with ",
                   others == 0 ? "nobody else so far" : Counted(others, "other worker", "other workers")));
  return quota;
}

absl::StatusOr<std::unique_ptr<VectorCache>> OpenCache(const ResolvedJob& job, EndpointPoolOptions* options) {
  if (!job.shared.has_cache()) return nullptr;
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorCache> cache, OpenOne(job));
  options->check_first = true;
  if (!options->reference.empty()) {
    ABSL_RETURN_IF_ERROR(ShareCanary(job, options->reference, cache.get()));
    return cache;
  }
  // On a thread of the pool's, so with a connection of its own.
  ABSL_ASSIGN_OR_RETURN(std::shared_ptr<VectorCache> other, OpenOne(job));
  options->keep_reference = [job = &job, other = std::move(other),
                             keep = std::move(options->keep_reference)](absl::Span<const float> vectors) {
    ABSL_RETURN_IF_ERROR(ShareCanary(*job, vectors, other.get()));
    return keep ? keep(vectors) : absl::OkStatus();
  };
  return cache;
}

}  // namespace reembed
