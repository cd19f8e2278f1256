#ifndef REEMBED_ENGINE_RETRY_H_
#define REEMBED_ENGINE_RETRY_H_

#include <optional>
#include <random>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

// What a provider's answer means for the request that got it. Pure logic; io/ reads the bodies.
enum class ReplyClass {
  kOk,
  kRetry,       // something broke on the way: send it again after a backoff
  kRetryWait,   // the provider is over its limit, or we are: everybody waits, then send it again
  kSplit,       // too much at once, or one of several texts is bad: send it in halves
  kRejectText,  // this one text will never be taken
  kStop,        // key, quota, model or address: no request of this run will succeed
};

// What the body of an error says, each empty where it says nothing.
struct ApiError {
  std::string code;     // "insufficient_quota", or a number as text
  std::string type;     // "invalid_request_error"
  std::string param;    // the field of the request that is wrong
  std::string message;  // for people

  bool empty() const { return code.empty() && type.empty() && param.empty() && message.empty(); }
};

// Classifies the answer to a request of `texts` texts. An error inside a 200 counts as an error, as some gateways do
// that. A refused request (400, 422) of several texts is split, so that halving finds the bad one.
ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts);

struct RetryPolicy {
  // Sendings of one request, the first included, while nothing has ever been answered. A server that has worked is
  // given outage_limit() beyond that.
  int max_attempts = 8;
  absl::Duration first_backoff = absl::Seconds(0.5);  // doubled after each failure; also between probes in an outage
  absl::Duration max_wait = absl::Seconds(60);        // nothing waits longer, whatever the provider asks for

  // How long one request may go on failing, and how long an outage may last, before the run gives up.
  absl::Duration outage_limit() const { return 10 * max_wait; }
};

// "Full jitter": uniform between 0 and first_backoff * 2^(attempts - 1), at most 16 times first_backoff and at most
// max_wait, so that nobody sleeps long while the server is well again. `attempts` is how often the request was sent
// already, from 1.
absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random);

// Where an answer may say how long to wait; empty where it does not.
struct WaitHints {
  absl::string_view retry_after_ms;  // header
  absl::string_view retry_after;     // header: seconds, a moment in Unix seconds, a duration, or an HTTP date
  absl::string_view message;         // of the error: "try again in 1.2s", "retry after 3 seconds"
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

// Durations as Go prints them: "6m0s", "1h2m3.5s", "12ms", "8.64s", "3µs". nullopt: not of that form.
std::optional<absl::Duration> ParseGoDuration(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_ENGINE_RETRY_H_
