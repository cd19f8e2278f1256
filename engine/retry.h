#ifndef REEMBED_ENGINE_RETRY_H_
#define REEMBED_ENGINE_RETRY_H_

#include <optional>
#include <random>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

struct RetryPolicy {
  int max_attempts = 8;                               // sendings of one request, the first included
  absl::Duration first_backoff = absl::Seconds(0.5);  // doubled after each failure
  absl::Duration max_wait = absl::Seconds(60);        // nothing waits longer, whatever the provider asks for
};

// "Full jitter": uniform between 0 and first_backoff * 2^(attempts - 1), at most max_wait. `attempts` is how often the
// request was sent already, from 1.
absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random);

// Where an answer may say how long to wait; empty where it does not.
struct WaitHints {
  absl::string_view retry_after_ms;  // header
  absl::string_view retry_after;     // header: seconds, a moment in Unix seconds, a duration, or an HTTP date
  absl::string_view message;         // of the error: "try again in 1.2s", "retry after 3 seconds"
  absl::string_view in_body;         // a field for it in the body of the error: "34s"
};

// The wait that the first telling hint names. nullopt: none is readable and above zero.
std::optional<absl::Duration> NamedWait(const WaitHints& hints, absl::Time wall_clock);

// A wait before sending again.
struct RetryWait {
  absl::Duration wait;
  absl::Duration named;  // what the provider asked for, above `wait` when the policy caps it; zero: it named none
};

// The named wait, capped and a little spread so that waiting requests do not leave together; without one, a backoff.
RetryWait WaitBeforeRetry(const RetryPolicy& policy, int attempts, const WaitHints& hints, absl::Time wall_clock,
                          std::mt19937_64* random);

// How long new requests should hold back when `remaining` of `limit_per_minute` is less than `needed`: the time in
// which that much flows back. Zero when the headers are absent, negative or not numbers.
// Source: x-ratelimit-limit-*, x-ratelimit-remaining-* of OpenAI's rate limit guide, June 2026; Azure has sent -1.
absl::Duration DryQuotaWait(absl::string_view limit_per_minute, absl::string_view remaining, double needed);

// Durations as Go prints them: "6m0s", "1h2m3.5s", "12ms", "8.64s", "3µs". nullopt: not of that form.
std::optional<absl::Duration> ParseGoDuration(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_ENGINE_RETRY_H_
