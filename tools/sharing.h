// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARING_H_
#define REEMBED_TOOLS_SHARING_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/embed/endpoint_pool.h"
#include "io/share/caching_client.h"
#include "io/share/worker_quota.h"
#include "tools/resolve.h"
#include "tools/spending.h"

// What several workers have in common: --quota and --cache.
namespace reembed {

// Fills job->shared from the options; job->client and job->endpoints are resolved. Nothing is asked yet.
// Errors: kInvalidArgument (an address, or what it does not go with).
absl::Status ResolveSharing(const Environment& environment, ResolvedJob* job);

// The file of `--cache default`, in the user's folder of caches by the rules of XDG; empty: there is no such folder.
std::string DefaultCacheFile(const Environment& environment);

// Whether the cache of --cache, if there is one, can be used. Errors: as OpenServerCache, OpenFileCache.
absl::Status CheckCache(const ResolvedJob& job);

// Joins the quota of --quota; null: there is none. Lives longer than the clients that use it, and less long than
// `spending`, whose cap is counted there. `say`: see WorkerQuotaOptions::note; also says how many share it.
// Errors: as WorkerQuota::Start.
absl::StatusOr<std::unique_ptr<WorkerQuota>> JoinQuota(const ResolvedJob& job, Spending* spending,
                                                       const std::function<void(const std::string&)>& say);

// Opens the cache of --cache; null: there is none. The canary vectors of the job, or else those that
// options->keep_reference gets, must be of the same model as those that are there; where none are, they are put there.
// Errors: as OpenServerCache, OpenFileCache; kFailedPrecondition (vectors of another model are there).
absl::StatusOr<std::unique_ptr<VectorCache>> OpenCache(const ResolvedJob& job, EndpointPoolOptions* options);

// What the cache was good for, for people.
std::string CacheText(const CacheCounts& counts);

// The names of the job's vectors in a cache.
CacheKeys CacheKeysOf(const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARING_H_
