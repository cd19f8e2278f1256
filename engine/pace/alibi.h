// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_ALIBI_H_
#define REEMBED_ENGINE_PACE_ALIBI_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// What one request, and those it was split from, has been through.
struct Trial {
  std::string words;  // of its last failure, without digits
  Moment first_at;    // its first failure
  Moment failed_at;   // its last one
  int failures = 0;   // in a row, in the same words
  // Of these the ones that no trouble of the service explains.
  int proofs = 0;

  // As of its last sending: whether others were taken since it first failed; and since it last failed, while nothing
  // else went wrong.
  bool others_taken = false;
  bool service_was_well = false;
};

// Is it the text, or is it the service, when requests are refused in words that nobody knows, or break again and again?
// The text, if it fails, then others that left after that are taken, and then it fails again. So no text is rejected
// for what all requests would have met at the time. Where something breaks, which may happen to anybody, nothing else
// may have broken in between for the first time; and it takes several rounds.
// Pure logic with the time as a parameter. Not thread-safe.
class Alibi {
 public:
  // Rounds after which a request that breaks is halved, and a text that breaks alone is rejected. By chance, with a
  // service that fails half of all requests at random, the latter happens to one text in 160.
  static constexpr int kProofsToSplit = 2;
  static constexpr int kProofsToReject = 4;

  // A request that left at `left_at` was taken.
  void Taken(Moment left_at);

  // The request leaves, for the first time or again.
  void Leaves(Trial* trial) const;

  // It was refused, in words that may be about it or about everything.
  void Refused(Trial* trial, Moment now) const;

  // It broke: no answer, or that of a broken server.
  void Broke(Trial* trial, absl::string_view words, Moment now);

  // A request that left since was taken.
  bool TakenSince(Moment moment) const { return last_taken_left_ > moment; }

 private:
  Moment last_taken_left_ = -absl::InfiniteDuration();  // of the requests that were taken, when the last of them left
  Moment last_surprise_ = -absl::InfiniteDuration();    // a request broke that never had
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_ALIBI_H_
