// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_EMBEDDING_SERVER_QUOTA_H_
#define REEMBED_IO_EMBED_EMBEDDING_SERVER_QUOTA_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "io/embed/embedding_server_request.h"

namespace reembed {

// What the server allows. 0: no limit.
struct EmbeddingServerLimits {
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
  absl::Duration window = absl::Minutes(1);  // a bucket holds the quota of this long, and is full at the start
};

// The other end of a client's rate limiter: counts requests and refuses those beyond the quota, in OpenAI's words.
// Refused requests take nothing. Thread-safe.
class EmbeddingServerQuota {
 public:
  explicit EmbeddingServerQuota(const EmbeddingServerLimits& limits);

  // `now` is of a clock that only goes forward. No error: the request is admitted. Sets *headers to the
  // x-ratelimit headers, and retry-after where waiting helps; to nothing when there is no limit.
  EmbeddingServerError Admit(absl::string_view model, int64_t tokens, absl::Duration now,
                             std::vector<std::pair<std::string, std::string>>* headers);

 private:
  struct Bucket {
    const char* unit = "";       // "requests", "tokens"
    const char* unit_name = "";  // "requests per min (RPM)"
    double per_minute = 0;
    double capacity = 0;
    double level = 0;
    void Fill(absl::Duration passed);
    absl::Duration TimeTo(double wanted) const;
  };

  Mutex mutex_;
  Bucket requests_ ABSL_GUARDED_BY(mutex_);
  Bucket tokens_ ABSL_GUARDED_BY(mutex_);
  absl::Duration last_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_EMBEDDING_SERVER_QUOTA_H_
