// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_CANARY_H_
#define REEMBED_ENGINE_CANARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// A few short texts in several languages whose vectors show which model is at the other end: the same model gives
// (nearly) the same vectors, another one does not. Fixed for ever: job directories hold their vectors.
absl::Span<const absl::string_view> CanaryTexts();

// Two vectors of one text by one model: APIs differ in the last bits from call to call and with the batch.
inline constexpr double kSameModelCosine = 0.999;

// Of two vectors of the same length; 0 if one of them is all zeros.
double CosineSimilarity(absl::Span<const float> a, absl::Span<const float> b);

// The smallest cosine between the rows of two matrices [rows, dim]; rows that are all zeros in one of them, as texts
// that an API refuses, are left out. nullopt: no row is left.
std::optional<double> LowestCosine(absl::Span<const float> a, absl::Span<const float> b, int dim);

// What was received since a model was last seen to be the right one.
struct DoubtfulRows {
  int64_t texts = 0;
  RowRange rows;  // ordinals; not every row between them is doubtful
  void Add(const RowRange& range, int64_t count);
};

// Remembers the vectors that the canary texts have to have, when each endpoint showed them last, and what has come from
// it since. Pure logic, with the time as a parameter; not thread-safe.
class CanaryWatch {
 public:
  // `reference`: [CanaryTexts().size(), dim], of the job; empty: SetReference() follows.
  CanaryWatch(int endpoints, int dim, absl::Duration interval, std::vector<float> reference);

  const std::vector<float>& reference() const { return reference_; }
  // `endpoint` gave the vectors that all others are compared with.
  void SetReference(std::vector<float> vectors, int endpoint);

  // Whether another check of `endpoint` should be made, by the clock; then counts as begun.
  bool TakeDue(int endpoint, Moment now);
  // Whether a last check of `endpoint` is worth its while: it has given vectors, and was not checked in the last minute
  // or interval, whichever is shorter. Then counts as begun.
  bool TakeLast(int endpoint, Moment now);
  // The texts of a check: one, and each time another.
  int NextText() { return next_text_++ % static_cast<int>(CanaryTexts().size()); }

  // A check leaves: what comes from now on is not covered by it.
  void Begin(int endpoint, Moment now);
  // Its vectors, [texts, dim], of the canary texts from `first_text` on; `names` of all endpoints, for the message.
  // Errors: kFailedPrecondition (another model: stop the run, and what is doubtful).
  absl::Status Judge(int endpoint, int first_text, absl::Span<const float> vectors,
                     absl::Span<const std::string> names);
  // It brought no vectors.
  void Abandon(int endpoint);

  // Vectors of so many texts came from `endpoint`.
  void Received(int endpoint, const RowRange& range, int64_t texts);
  const DoubtfulRows& doubtful(int endpoint) const { return watched_[endpoint].since_good; }

  int64_t passed() const { return passed_; }

 private:
  struct Watched {
    bool under_way = false;
    bool ever_good = false;
    Moment begun = -absl::InfiniteDuration();
    DoubtfulRows since_good;
    DoubtfulRows since_begun;
  };

  const int dim_;
  const absl::Duration interval_;
  std::vector<float> reference_;
  int reference_endpoint_ = -1;  // -1: an earlier run
  std::vector<Watched> watched_;
  int next_text_ = 0;
  int64_t passed_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_CANARY_H_
