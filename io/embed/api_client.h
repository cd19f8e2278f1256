// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_API_CLIENT_H_
#define REEMBED_IO_EMBED_API_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/done.h"
#include "engine/embedding_client.h"
#include "engine/pace/learned_caps.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/retry.h"
#include "engine/pace/spend_cap.h"
#include "engine/text/token_estimator.h"
#include "io/embed/body_fields.h"
#include "io/embed/dialect.h"

namespace reembed {

class RunControl;

// An embedding API over HTTP: dialect, address, key, model and limits.
struct ApiOptions {
  std::string dialect = "openai";           // see Dialects()
  std::string api_base;                     // as RequestUrl() understands it; empty: the dialect's own
  std::string api_key;                      // empty: no key is sent. Never shown in messages
  std::string login;                        // user:password, sent as Basic if there is no key. Never shown
  std::vector<std::string> headers;         // additional ones, "name: value"
  std::vector<std::string> header_secrets;  // the secrets in them, never shown in messages
  std::vector<BodyField> body_fields;       // additional ones of each request
  std::string ca_file;                      // see HttpLoopOptions
  std::string proxy;                        // likewise
  Model model;
  std::optional<int> dimensions;                // sent if set; only for models with several widths
  ReplyFormat encoding = ReplyFormat::kBase64;  // if the dialect knows both
  InputUse use = InputUse::kDocument;           // if the dialect can send it
  bool tell_use = false;                        // see Ask
  std::string text_prefix;                      // added before each text, for models that need a prefix
  bool truncate = false;                        // the API may cut a text above its limit
  TokenEstimator* estimator = nullptr;          // borrowed: learns from what the API charges; may be null
  int64_t refused_tokens = 0;                   // texts with more BatchText::tokens are rejected unsent; 0: none
  RateLimit limit;                              // without a limit, the x-ratelimit headers of the API are used
  int concurrency = 32;                         // maximum requests in flight; more wait in the client
  bool fixed_concurrency = false;               // see PacerOptions
  bool hedge = false;                           // see FlowOptions
  std::shared_ptr<LearnedCaps> caps;            // likewise
  int loop_threads = 1;
  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration timeout = absl::Seconds(60);  // of one request, from leaving to the last byte
  RetryPolicy retry;
  SpendCap* spend = nullptr;                     // see FlowOptions
  SharedQuota* shared_quota = nullptr;           // likewise
  RunControl* control = nullptr;                 // likewise
  double counts_as = 1;                          // likewise
  std::function<void(int64_t, Done)> lost;       // likewise
  uint64_t seed = 0;                             // of the jitter
  std::function<void(const std::string&)> note;  // see FlowOptions
};

// Whether options.body_fields fit into the body. Errors: kInvalidArgument.
absl::Status CheckBodyFields(const ApiOptions& options);

// Errors: kInvalidArgument (an option).
absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeApiClient(ApiOptions options);

// The result of embedding one text with an API.
struct ApiProbe {
  int width = 0;                                // of its vectors
  double norm = 0;                              // L2 norm of the vector
  bool base64 = false;                          // it came as base64
  ReplyFormat encoding = ReplyFormat::kBase64;  // what to ask for: kFloat if the API refuses base64
  absl::Duration elapsed;                       // from the request to the answer, including retries
  ClientStats stats;                            // what it cost
};

// Embeds one short text, which checks the key, the model and its dimensions before a run costs anything.
// options.model.dim: the expected width, 0: any. An unusable reply, or one with another width, is retried as in a run;
// if the width stays different, it is returned. Blocks. Errors: as EmbeddingClient::Send; kFailedPrecondition (the API
// refuses the request); kUnavailable (its replies stay unusable).
absl::StatusOr<ApiProbe> ProbeApi(const ApiOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_API_CLIENT_H_
