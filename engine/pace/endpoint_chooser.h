// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_ENDPOINT_CHOOSER_H_
#define REEMBED_ENGINE_PACE_ENDPOINT_CHOOSER_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

struct EndpointTraits {
  int concurrency = 16;  // requests that it takes at a time; more wait at it
  double weight = 1;     // its speed beside the others', as guessed until it has been measured
};

enum class EndpointState {
  kUnchecked,  // nothing has been sent to it yet, or it has not answered yet: gets no work
  kWorking,
  kResting,  // failed: gets work again after a probe, or when nobody else is left
  kRemoved,  // its key, quota or model is not good: gets nothing any more
};

struct ChooserOptions {
  absl::Duration first_rest = absl::Seconds(2);     // from a failure to the probe, doubled after each failed one
  absl::Duration longest_rest = absl::Seconds(60);  // of a rest
  absl::Duration memory = absl::Seconds(10);        // of busy time: how fast measured speeds are forgotten
  int max_tries = 3;  // of one piece of work at each endpoint; one is enough where there is no other endpoint
};

// Decides which of several endpoints gets a piece of work: one that has a slot free (a slot: one request under way),
// and of several the one that will have done everything it has to do, this included, first, judged by its measured
// speed. Keeps the health of each. Pure logic, with the time as a parameter; not thread-safe.
//
// The speed is measured for each slot, so that an endpoint that happens to have little
// to do is not taken for a slow one: busy slots times seconds are summed up, and tokens that came out of them.
class EndpointChooser {
 public:
  EndpointChooser(const std::vector<EndpointTraits>& endpoints, const ChooserOptions& options);

  int size() const { return static_cast<int>(endpoints_.size()); }

  // For work of so many model tokens, with `tries[e]` failed tries at endpoint e behind it (empty: none): a working
  // endpoint with the fewest tries, of these one with a free slot, of these the one that is through first; else a
  // resting one, of which the rest ends first; -1: none is left. Changes nothing.
  int Choose(int64_t tokens, absl::Span<const int> tries, Moment now) const;

  // Work goes to an endpoint. Every Started() has one Ended(); `useful`: it was answered.
  void Started(int endpoint, int64_t tokens, Moment now);
  void Ended(int endpoint, int64_t tokens, bool useful, Moment now);

  // The endpoint answered as it should: it works.
  void Passed(int endpoint);
  // It failed work or a probe that was sent to it at `sent`. True: it was not resting until now.
  bool Failed(int endpoint, Moment sent, Moment now);
  // It will never work in this run. True: it was not removed before.
  bool Remove(int endpoint);

  // An endpoint whose rest is over: the caller probes it and then says Passed(), Failed() or Remove(). -1: none.
  int TakeDueProbe(Moment now);

  EndpointState state(int endpoint) const { return endpoints_[endpoint].state; }
  bool AllRemoved() const;

  // Model tokens that the endpoint turns out in a second when it is busy; a guess before anything is measured.
  double TokensPerSecond(int endpoint, Moment now) const;

 private:
  struct Endpoint {
    EndpointTraits traits;
    EndpointState state = EndpointState::kUnchecked;
    bool checked = false;  // it has worked before
    // Under way.
    int requests = 0;
    int64_t tokens = 0;
    // Fading sums up to `at`.
    double slot_seconds = 0;
    double tokens_done = 0;
    double guess_seconds = 1;  // what the guess counts for, as slot seconds
    Moment at;
    // Rest.
    absl::Duration rest;
    Moment rest_began = -absl::InfiniteDuration();
    Moment rest_ends = -absl::InfiniteDuration();
    bool probe_out = false;
  };

  Endpoint At(const Endpoint& endpoint, Moment now) const;
  double SlotSpeed(const Endpoint& endpoint, double guess, Moment now) const;
  double Guess(Moment now) const;

  const ChooserOptions options_;
  std::vector<Endpoint> endpoints_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_ENDPOINT_CHOOSER_H_
