// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/endpoint_chooser.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

namespace reembed {

EndpointChooser::EndpointChooser(const std::vector<EndpointTraits>& endpoints, const ChooserOptions& options)
    : options_(options) {
  for (const EndpointTraits& traits : endpoints) endpoints_.push_back({.traits = traits, .rest = options.first_rest});
}

// The sums as they are at `now`. They fade with busy time only: an idle endpoint keeps what is known of it.
EndpointChooser::Endpoint EndpointChooser::At(const Endpoint& endpoint, Moment now) const {
  Endpoint later = endpoint;
  later.at = std::max(endpoint.at, now);
  const double seconds = absl::ToDoubleSeconds(later.at - endpoint.at);
  const int slots = std::min(endpoint.requests, endpoint.traits.concurrency);
  if (slots == 0 || seconds <= 0) return later;
  const double kept = std::exp(-seconds / absl::ToDoubleSeconds(options_.memory));
  later.slot_seconds = endpoint.slot_seconds * kept + slots * seconds;
  later.tokens_done *= kept;
  later.guess_seconds *= kept;
  return later;
}

// Tokens that a slot of weight 1 does in a second, from the endpoints that have been measured.
double EndpointChooser::Guess(Moment now) const {
  double speeds = 0;
  int measured = 0;
  for (const Endpoint& endpoint : endpoints_) {
    if (endpoint.tokens_done <= 0) continue;
    const Endpoint later = At(endpoint, now);
    if (later.slot_seconds <= 0) continue;
    speeds += later.tokens_done / later.slot_seconds / endpoint.traits.weight;
    ++measured;
  }
  return measured > 0 ? speeds / measured : 1;
}

double EndpointChooser::SlotSpeed(const Endpoint& endpoint, double guess, Moment now) const {
  const Endpoint later = At(endpoint, now);
  const double guessed = guess * endpoint.traits.weight;
  const double seconds = later.slot_seconds + later.guess_seconds;
  return (later.tokens_done + guessed * later.guess_seconds) / seconds;
}

double EndpointChooser::TokensPerSecond(int endpoint, Moment now) const {
  return endpoints_[endpoint].traits.concurrency * SlotSpeed(endpoints_[endpoint], Guess(now), now);
}

int EndpointChooser::Choose(int64_t tokens, absl::Span<const int> tries, Moment now) const {
  const double work = static_cast<double>(std::max<int64_t>(1, tokens));
  const double guess = Guess(now);
  const bool alone = endpoints_.size() == 1;
  struct Candidate {
    int endpoint = -1;
    bool resting = true;
    int tries = 0;
    bool full = true;  // all slots are taken. A free one is used before work waits at a faster endpoint
    double wait = 0;   // seconds: until the work is done, or the rest is over
  } best;
  for (int e = 0; e < size(); ++e) {
    const Endpoint& endpoint = endpoints_[e];
    const int tried = tries.empty() ? 0 : tries[e];
    if (!endpoint.checked || endpoint.state == EndpointState::kRemoved) continue;
    if (tried >= (alone ? 1 : options_.max_tries)) continue;
    Candidate candidate{.endpoint = e, .resting = endpoint.state == EndpointState::kResting, .tries = tried};
    if (candidate.resting) {
      candidate.wait = absl::ToDoubleSeconds(endpoint.rest_ends - now);
    } else {
      const double speed = std::max(SlotSpeed(endpoint, guess, now), std::numeric_limits<double>::min());
      candidate.full = endpoint.requests >= endpoint.traits.concurrency;
      candidate.wait = (static_cast<double>(endpoint.tokens) + work) / endpoint.traits.concurrency / speed;
    }
    const auto rank = [](const Candidate& c) { return std::tuple(c.resting, c.tries, c.full, c.wait); };
    if (best.endpoint < 0 || rank(candidate) < rank(best)) best = candidate;
  }
  return best.endpoint;
}

void EndpointChooser::Started(int endpoint, int64_t tokens, Moment now) {
  Endpoint& started = endpoints_[endpoint];
  started = At(started, now);
  ++started.requests;
  started.tokens += tokens;
}

void EndpointChooser::Ended(int endpoint, int64_t tokens, bool useful, Moment now) {
  Endpoint& ended = endpoints_[endpoint];
  ended = At(ended, now);
  --ended.requests;
  ended.tokens -= tokens;
  if (useful) ended.tokens_done += static_cast<double>(std::max<int64_t>(1, tokens));
}

void EndpointChooser::Passed(int endpoint) {
  Endpoint& passed = endpoints_[endpoint];
  passed.probe_out = false;
  if (passed.state == EndpointState::kRemoved) return;
  passed.state = EndpointState::kWorking;
  passed.checked = true;
  passed.rest = options_.first_rest;
}

bool EndpointChooser::Failed(int endpoint, Moment sent, Moment now) {
  Endpoint& failed = endpoints_[endpoint];
  if (failed.state == EndpointState::kRemoved) return false;
  const bool was_resting = failed.state == EndpointState::kResting;
  // What had left before the rest began tells nothing new.
  if (was_resting && sent < failed.rest_began) return false;
  failed.probe_out = false;
  if (was_resting) failed.rest = std::min(2 * failed.rest, options_.longest_rest);
  failed.state = EndpointState::kResting;
  failed.rest_began = now;
  failed.rest_ends = now + failed.rest;
  return !was_resting;
}

bool EndpointChooser::Remove(int endpoint) {
  const bool was_there = endpoints_[endpoint].state != EndpointState::kRemoved;
  endpoints_[endpoint].state = EndpointState::kRemoved;
  return was_there;
}

int EndpointChooser::TakeDueProbe(Moment now) {
  for (int e = 0; e < size(); ++e) {
    Endpoint& endpoint = endpoints_[e];
    if (endpoint.state != EndpointState::kResting || endpoint.probe_out || now < endpoint.rest_ends) continue;
    endpoint.probe_out = true;
    return e;
  }
  return -1;
}

bool EndpointChooser::AllRemoved() const {
  return std::all_of(endpoints_.begin(), endpoints_.end(),
                     [](const Endpoint& endpoint) { return endpoint.state == EndpointState::kRemoved; });
}

}  // namespace reembed
