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

// An embedding API over HTTP: a dialect, a place, a key, a model and limits.
struct ApiOptions {
  std::string dialect = "openai";           // see Dialects()
  std::string api_base;                     // as RequestUrl() understands it; empty: the dialect's own
  std::string api_key;                      // empty: no key is sent. Never in any message
  std::string login;                        // user:password, sent as Basic if there is no key. Likewise
  std::vector<std::string> headers;         // further ones, "name: value"
  std::vector<std::string> header_secrets;  // what is secret in them: like the key never in any message
  std::vector<BodyField> body_fields;       // further ones of each request
  std::string ca_file;                      // see HttpLoopOptions
  std::string proxy;                        // likewise
  Model model;
  std::optional<int> dimensions;                // asked for when set: only for models that can be cut
  ReplyFormat encoding = ReplyFormat::kBase64;  // where the dialect knows both
  InputUse use = InputUse::kDocument;           // where the dialect has words for it
  bool tell_use = false;                        // see Ask
  std::string text_prefix;              // put before each text, for models that tell the use of a text by a prefix
  bool truncate = false;                // the API may cut a text above its limit
  TokenEstimator* estimator = nullptr;  // borrowed: learns from what the API charges; nullptr: nobody does
  int64_t refused_tokens = 0;           // texts with more BatchText::tokens are refused here, unsent; 0: none is
  RateLimit limit;                      // without a limit, the x-ratelimit headers of the API slow us down
  int concurrency = 32;                 // requests in flight at most; more wait inside the client
  bool fixed_concurrency = false;       // see PacerOptions
  bool hedge = false;                   // see FlowOptions
  std::shared_ptr<LearnedCaps> caps;    // likewise
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

// Whether the body takes its fields. Errors: kInvalidArgument.
absl::Status CheckBodyFields(const ApiOptions& options);

// Errors: kInvalidArgument (an option).
absl::StatusOr<std::unique_ptr<EmbeddingClient>> MakeApiClient(ApiOptions options);

// What one text has shown of an API.
struct ApiProbe {
  int width = 0;                                // of its vectors
  double norm = 0;                              // of the one that came: L2
  bool base64 = false;                          // it came as base64
  ReplyFormat encoding = ReplyFormat::kBase64;  // what to ask for: an API that refuses base64 was asked for numbers
  absl::Duration elapsed;                       // from asking to the answer, retries included
  ClientStats stats;                            // what it cost
};

// Embeds one short text, which checks the key, the model and its dimensions before a run costs anything.
// options.model.dim: the expected width, 0: any. An unusable reply, or one of another width, is retried as in a run; a
// width that stays another one is returned. Blocks. Errors: as EmbeddingClient::Send; kFailedPrecondition (the API
// refuses the request); kUnavailable (its replies stay unusable).
absl::StatusOr<ApiProbe> ProbeApi(const ApiOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_API_CLIENT_H_
