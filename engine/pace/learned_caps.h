// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_LEARNED_CAPS_H_
#define REEMBED_ENGINE_PACE_LEARNED_CAPS_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/mutex.h"
#include "engine/pace/reply_class.h"

namespace reembed {

// What one request may hold; kNoCap: as much as there is.
struct RequestCaps {
  static constexpr int64_t kNoCap = std::numeric_limits<int64_t>::max();

  int64_t texts = kNoCap;
  int64_t tokens = kNoCap;  // as we count them
  int64_t bytes = kNoCap;   // of the texts alone
};

// What one request may hold, as the API's refusals have taught so far in this run: nobody says it beforehand, and each
// refusal costs a round trip and a place in the quota. A limit that is named is believed. Where none is named half of
// what was refused is a guess: not made where clearly more was taken before, and given up when a text is refused alone
// that is within it, as the requests with that text were refused for its sake. A limit that a time-out has taught is a
// limit of texts, too; it grows again where requests of its size are answered in a small part of the time.
// Who sends requests to the API teaches it; how large they become is decided in request_packer.h. Thread-safe.
class LearnedCaps {
 public:
  // A request of these texts was refused as too large.
  void Refused(absl::Span<const BatchText> texts, const Excess& excess);

  // A request of these texts was taken, within this share of the time it had.
  void Taken(absl::Span<const BatchText> texts, double time_share = 1);

  // No answer came in time. `again`: not for the first time. Returns how many texts a request has from now on, if fewer
  // than these would be better; 0: requests of this size have been answered, so it is to be sent once more as it is.
  int64_t TimedOut(absl::Span<const BatchText> texts, bool again);

  // What is known now.
  RequestCaps caps() const;

  // How many of the texts, from the first, go into the next request: all if they are not too much, otherwise the first
  // of about equal parts. At least 1, unless there are none.
  int Fitting(absl::Span<const BatchText> texts) const;

 private:
  static constexpr int64_t kNone = RequestCaps::kNoCap;

  struct Cap {
    int64_t named = kNone;
    int64_t guessed = kNone;
    int64_t slow = kNone;  // more takes too long
    int64_t taken = 0;     // the largest

    int64_t Value() const { return std::min({named, guessed, slow}); }
    void Guess(int64_t size, int64_t half, bool is_alone);
  };

  mutable Mutex mutex_;
  Cap texts_ ABSL_GUARDED_BY(mutex_);
  Cap tokens_ ABSL_GUARDED_BY(mutex_);  // as we count them, which may not be as the API does
  Cap bytes_ ABSL_GUARDED_BY(mutex_);   // of the texts alone
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_LEARNED_CAPS_H_
