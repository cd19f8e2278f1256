// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_WAIT_HINTS_H_
#define REEMBED_ENGINE_PACE_WAIT_HINTS_H_

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// Names in lower case, values without blanks around them.
using HeaderList = absl::Span<const std::pair<std::string, std::string>>;

// Where an answer may say how long to wait; empty where it does not.
struct WaitHints {
  HeaderList headers;
  absl::string_view in_body;  // a field for it in the body of the error: "34s"
  absl::string_view message;  // of the error: "try again in 1.2s", "retry after 3 seconds"
  // The answer refuses for a quota: what the headers say of the quota is then a wait, too.
  bool over_quota = false;
};

// The wait that the first telling hint names, above zero. In this order: retry-after-ms and its like, Retry-After, the
// body's field, the message; then, over a quota, RateLimit and the reset of RateLimit-* and X-RateLimit-* where nothing
// remains of it. Moments count from the answer's Date, as clocks differ, else from the wall clock.
// Not x-ratelimit-reset-requests and -tokens: these say when all is there again, not when something is.
// nullopt: none is readable. Sources: RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers 00 to 10; OpenAI's,
// Azure's and Groq's rate limit guides, 2026.
std::optional<absl::Duration> NamedWait(const WaitHints& hints, absl::Time wall_clock);

// What the headers of an answer say about the quota: x-ratelimit-limit-requests and its like, and RateLimit-Policy or
// RateLimit-Limit with a window of at most two minutes. Longer windows are budgets, not paces.
QuotaReport QuotaOf(HeaderList headers);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_WAIT_HINTS_H_
