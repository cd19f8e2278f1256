// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_ENDPOINTS_H_
#define REEMBED_TOOLS_ENDPOINTS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/text/long_text_client.h"
#include "io/embed/embedding_server.h"
#include "io/embed/endpoint_pool.h"
#include "io/share/caching_client.h"
#include "tools/environment.h"
#include "tools/resolve.h"

namespace reembed {

// One --endpoint: URL[,key-env=NAME|key-file=PATH][,rpm=N][,tpm=N][,weight=W][,concurrency=N]
struct EndpointSpec {
  std::string url;        // without slashes at its end, and without a login: its name
  std::string given_url;  // with both: at the end of a whole URL a slash matters. For no message
  std::string key_env, key_file;
  double rpm = 0;  // 0: as --rpm says, for each endpoint; likewise below
  double tpm = 0;
  int concurrency = 0;
  double weight = 1;
};

// Errors: kInvalidArgument (names the word, and the nearest that is known).
absl::StatusOr<EndpointSpec> ParseEndpoint(const std::string& text);

// An --endpoint that ParseEndpoint() takes, without user and password: as a job remembers it.
std::string WithoutLogin(absl::string_view endpoint);

// The options with which the embedder of this endpoint is resolved as if it were the only one.
CommandOptions OptionsOf(const CommandOptions& options, const EndpointSpec& endpoint);

// The options for the embedder of a job: those of the first --endpoint, or as they are without any.
// Errors: kInvalidArgument (an endpoint, or a flag that does not go with several).
absl::StatusOr<CommandOptions> OptionsOfFirst(const CommandOptions& options);

// Makes `*job` one of several endpoints, where its options name some: job->endpoints, and what depends on how many
// there are. To be called when job->client has its limits. Errors: as Resolve().
absl::Status ResolveEndpoints(const std::optional<SystemPreset>& preset, const Environment& environment,
                              KeyNeed key_need, ResolvedJob* job);

// Minutes as a number, or a duration: "10", "30s", "1h"; "0" and "off" are infinite. Empty: the default.
absl::StatusOr<absl::Duration> ParseCanaryInterval(const std::string& text);

// The requests and tokens per minute of all endpoints together; 0: at least one has no limit.
RateLimit TotalLimit(const ResolvedJob& job);

// The embedder of a job.
struct RunningPool {
  // What the texts go through: the pool, or what cuts long texts before it.
  EmbeddingClient* client() const {
    return long_texts != nullptr ? static_cast<EmbeddingClient*>(long_texts.get()) : whole_texts();
  }
  // Likewise without that.
  EmbeddingClient* whole_texts() const {
    return cache != nullptr ? static_cast<EmbeddingClient*>(cache.get()) : pool.get();
  }

  std::unique_ptr<EmbeddingServer> server;     // of the built-in embedder; these two before the pool: they outlive it
  std::unique_ptr<LongTextClient> long_texts;  // where --long-text says so; nullptr: nowhere
  std::unique_ptr<EndpointPool> pool;
  std::unique_ptr<CachingClient> cache;  // where --cache says so: ends before the pool that it asks
};

// `estimator`, `lost`: see ApiOptions. `note`: see EndpointPoolOptions. The canary's vectors are read from and kept in
// the job's directory.
absl::StatusOr<RunningPool> StartPool(const ResolvedJob& job, TokenEstimator* estimator,
                                      const std::function<void(const std::string&)>& note,
                                      const std::function<void(int64_t, Done)>& lost);

// "unused", "working", "failing" or "left out".
const char* StateWord(EndpointState state);

// For the summary: a line each for people, an array for programs.
std::string EndpointLine(const EndpointReport& report);
std::string EndpointsJson(const std::vector<EndpointReport>& reports);
// The names in what EndpointsJson() made.
std::vector<std::string> EndpointNames(absl::string_view json);

}  // namespace reembed

#endif  // REEMBED_TOOLS_ENDPOINTS_H_
