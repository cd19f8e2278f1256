#ifndef REEMBED_ENGINE_LEARNED_CAPS_H_
#define REEMBED_ENGINE_LEARNED_CAPS_H_

#include <cstdint>
#include <limits>
#include <mutex>

#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/reply_class.h"

namespace reembed {

// What one request may hold, as the API's refusals have taught so far in this run: nobody says it beforehand, and each
// refusal costs a round trip and a place in the quota. Thread-safe.
class LearnedCaps {
 public:
  // A request of these texts was refused as too large.
  void Refused(absl::Span<const BatchText> texts, const Excess& excess);

  // How many of the texts, from the first, go into the next request: all if they are not too much, otherwise the first
  // of about equal parts. At least 1, unless there are none.
  int Fitting(absl::Span<const BatchText> texts) const;

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  mutable std::mutex mutex_;
  int64_t texts_ = kNone;
  int64_t tokens_ = kNone;  // as we count them, which may not be as the API does
  int64_t bytes_ = kNone;   // of the texts alone
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_LEARNED_CAPS_H_
