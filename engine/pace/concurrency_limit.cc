// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/concurrency_limit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <tuple>
#include <utility>

#include "absl/types/span.h"

namespace reembed {
namespace {

constexpr double kHarmlessLatency = 0.025;  // seconds
// Likewise. Longer ones are mostly those of a machine with few places, and what queues there soon takes a minute, which
// is a time-out: there a mean that has doubled is enough to stop.
constexpr double kSlowLatency = 5;
constexpr double kRampStep = 1.5;   // more for each answer
constexpr int kLatencyAnswers = 8;  // the latency fades over about so many
constexpr int kFloorAnswers = 4;    // the first, while few are in the air
constexpr size_t kBaseAnswers = 6;  // likewise, of a ramp; their median
constexpr double kQueueAtRamp = 2;  // times that, for all but one of the last answers: too far
// So many answers behind the first one that leads to more, none of which took kTogether times as long as the quickest:
// a server with fewer places would have given them one after another. Longer latencies than kQuickLatency must not be
// three times wrong about that: what waits before three places soon waits into a time-out.
constexpr size_t kTogetherAnswers = 3;
constexpr double kTogether = 1.8;
constexpr double kTogetherStep = 4;  // times as many then
constexpr double kQuickLatency = 1;  // seconds
constexpr double kAboveKnee = 1.5;   // a limit so much above the knee has the whole throughput for certain

constexpr int kEpochAnswers = 24;
constexpr double kFullShare = 0.8;  // of an epoch's answers: otherwise it says nothing about the limit
constexpr double kProbeStep = 1.5;
constexpr double kUpGain = 0.3;     // of the additional requests have to show in the throughput
constexpr double kDownLoss = 0.03;  // of the throughput may be lost to noise
constexpr int kEnoughToSeeLoss = 8;
constexpr double kClearLoss = 0.85;
constexpr double kQueue = 1.25;       // times the lowest latency: there may be a queue
constexpr double kImproved = 1.25;    // the server has become faster: look again
constexpr double kFloorDrift = 0.02;  // the lowest latency is forgotten slowly, as texts may become longer

constexpr absl::Duration kShortestHold = absl::Seconds(1);
// A probe upwards costs some latency for a moment, one downwards some throughput.
constexpr absl::Duration kLongestHoldUp = absl::Seconds(15);
constexpr absl::Duration kLongestHoldDown = absl::Minutes(1);
constexpr int kHoldRoundTrips = 20;

constexpr uint32_t kFailureWindow = 0xffff;  // the last 16 answers
constexpr int kFailuresToYield = 3;          // of them: a stray failure is no overload
constexpr double kYield = 0.7;
constexpr double kYieldAgain = 0.9;  // of where it was going back to
constexpr absl::Duration kTroubleLasts = absl::Seconds(2);
constexpr int kRegainRoundTrips = 20;
constexpr double kOutageRestart = 1.0 / 8;

// Whether the last of these answers is the third to a request that left behind the first answer, and they have come as
// from a server with a place for each. What had left before, and had waited for a place, would say otherwise.
bool CameTogether(absl::Span<const double> latencies, absl::Span<const Moment> times) {
  double least = latencies.back(), most = 0;
  size_t answers = 0;
  bool counts = false;
  for (size_t i = 1; i < latencies.size(); ++i) {
    counts = times[i] - absl::Seconds(latencies[i]) >= times[0] - absl::Microseconds(1);
    if (!counts) continue;
    ++answers;
    least = std::min(least, latencies[i]);
    most = std::max(most, latencies[i]);
  }
  return counts && answers == kTogetherAnswers && most <= kQuickLatency && most < kTogether * least;
}

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(const ConcurrencyOptions& options)
    : options_(options), limit_(std::clamp(options.initial, 1, std::max(1, options.max))) {
  ramp_.to = options.max;
  if (limit_ >= ramp_.to) Settle(limit_, Moment());
}

void ConcurrencyLimit::Answered(Moment left_at, int64_t weight, bool full, Moment now) {
  const double latency = std::max(1e-9, absl::ToDoubleSeconds(now - left_at));
  ++latency_.answers;
  latency_.mean +=
      (latency - latency_.mean) / static_cast<double>(std::min<int64_t>(latency_.answers, kLatencyAnswers));
  trouble_.failures <<= 1;
  if (latency_.answers == kFloorAnswers) latency_.lowest_mean = latency_.mean;
  switch (phase_) {
    case Phase::kRamp:
      return Ramp(latency, full, now);
    case Phase::kRegain:
      return Regain(now);
    case Phase::kSteady:
      return Measure(left_at, latency, weight, full, now);
  }
}

void ConcurrencyLimit::BeginRamp(double to, double base) {
  phase_ = Phase::kRamp;
  ramp_ = {.to = to, .base = base};
}

void ConcurrencyLimit::Ramp(double latency, bool full, Moment now) {
  const bool slow = latency_.mean > kSlowLatency;
  if (latency_.answers == 1 && !slow) limit_ = std::min(ramp_.to, std::max<double>(limit_, options_.after_first));
  if (full) limit_ = std::min(ramp_.to, limit_ + (slow ? 1 : kRampStep));
  // The first answer was a quick one, and those that follow are not: as if it had not led to more.
  if (slow) limit_ = std::min(limit_, options_.initial + kRampStep * static_cast<double>(latency_.answers));
  const size_t place = ramp_.answers % ramp_.times.size();
  ramp_.latencies[place] = latency;
  ramp_.times[place] = now;
  ++ramp_.answers;
  const bool leaps = options_.after_first > static_cast<int>(kTogetherAnswers) &&
                     latency_.answers == static_cast<int64_t>(ramp_.answers);  // the very first ramp
  if (leaps && full && ramp_.answers <= ramp_.times.size() &&
      CameTogether(absl::MakeConstSpan(ramp_.latencies).first(ramp_.answers),
                   absl::MakeConstSpan(ramp_.times).first(ramp_.answers))) {
    limit_ = std::min(ramp_.to, limit_ * kTogetherStep);
  }
  // The first few answers are the quickest of those that left together: beside them any latency looked like a queue.
  const double foot = std::max(options_.initial, options_.after_first);
  if (leaps && latency_.answers == kLatencyAnswers && limit_ > foot + kRampStep * kLatencyAnswers) {
    latency_.lowest_mean = std::max(latency_.lowest_mean, latency_.mean);
  }
  const Moment oldest = ramp_.times[ramp_.answers < ramp_.times.size() ? 0 : ramp_.answers % ramp_.times.size()];
  std::array<double, std::tuple_size_v<decltype(ramp_.latencies)>> sorted = ramp_.latencies;
  if (ramp_.base <= 0 && ramp_.answers == kBaseAnswers) {
    std::sort(sorted.begin(), sorted.begin() + kBaseAnswers);
    ramp_.base = (sorted[kBaseAnswers / 2 - 1] + sorted[kBaseAnswers / 2]) / 2;
  }
  std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end());
  const double all_but_one = ramp_.answers < sorted.size() ? 0 : sorted[1];
  const bool queues = ramp_.base > 0 && all_but_one > kHarmlessLatency && all_but_one > kQueueAtRamp * ramp_.base;
  const bool slows = slow && ramp_.answers >= kBaseAnswers && latency_.mean > kQueueAtRamp * latency_.lowest_mean;
  if (queues || slows) {
    // The answers come as fast as the server can give them; that many places it has, as each takes `lowest_mean`.
    const auto known = static_cast<double>(std::min(ramp_.answers, ramp_.times.size()) - 1);
    const double seconds = std::max(1e-9, absl::ToDoubleSeconds(now - oldest));
    const double knee = known / seconds * latency_.lowest_mean;
    return Settle(std::max(1.0, std::ceil(kAboveKnee * knee)), now);
  }
  // What a leap has led to has to show whether it queues.
  const size_t looks = leaps ? static_cast<size_t>(options_.after_first + options_.max) : 0;
  if (limit_ >= ramp_.to && ramp_.answers >= looks) Settle(limit_, now);
}

void ConcurrencyLimit::Regain(Moment now) {
  limit_ = std::min(regain_.to, limit_ + (regain_.to - regain_.from) / (kRegainRoundTrips * limit_));
  if (limit_ >= regain_.to) Settle(limit_, now);
}

void ConcurrencyLimit::Settle(double limit, Moment now) {
  phase_ = Phase::kSteady;
  ramp_ = {};
  const absl::Duration time = std::max(kShortestHold, absl::Seconds(latency_.mean * kHoldRoundTrips));
  const Hold hold = {.time = time, .until = now + time};
  steady_ = {.limit = limit, .up = hold, .down = hold};
  SetLimit(limit, now);
}

void ConcurrencyLimit::SetLimit(double limit, Moment now) {
  limit_ = limit;
  epoch_ = {.limit_since = now};
}

void ConcurrencyLimit::Measure(Moment left_at, double latency, int64_t weight, bool full, Moment now) {
  if (!epoch_.begun) {
    if (left_at <= epoch_.limit_since) return;
    epoch_.begun = true;
    return;
  }
  ++epoch_.answers;
  epoch_.full += full ? 1 : 0;
  epoch_.weight += static_cast<double>(weight);
  epoch_.seconds += latency;
  // Little's law: what is in the air is throughput times latency. Counting answers in a stretch of time would depend on
  // where it begins and ends, as servers that work in batches answer in bunches.
  const double throughput = limit() * epoch_.weight / epoch_.seconds;
  // Fewer turn out to be too few soon: that has to cost as little as possible.
  if (steady_.probe == Probe::kDown && epoch_.answers >= std::max(kEnoughToSeeLoss, limit()) &&
      throughput < steady_.throughput * kClearLoss) {
    return ProbeFailed(now);
  }
  // Whole rounds, as those in the air take turns.
  const int rounds = std::max(2, (kEpochAnswers + limit() - 1) / limit());
  if (epoch_.answers < rounds * limit()) return;
  const Epoch done = std::exchange(epoch_, {.limit_since = epoch_.limit_since, .begun = true});
  if (done.full < kFullShare * done.answers) {
    if (steady_.probe != Probe::kNone) Settle(steady_.limit, now);
    return;
  }
  Judge(throughput, done.seconds / done.answers, now);
}

void ConcurrencyLimit::Judge(double throughput, double latency, Moment now) {
  double& lowest = latency_.lowest_mean;
  lowest = lowest <= 0 ? latency : std::min(latency, lowest + kFloorDrift * (latency - lowest));
  if (steady_.probe != Probe::kNone) return EndProbe(throughput, latency, now);
  const bool improved =
      steady_.throughput > 0 && (throughput > kImproved * steady_.throughput || latency * kImproved < steady_.latency);
  steady_.throughput = throughput;
  steady_.latency = latency;
  if (improved) steady_.up = {.time = kShortestHold, .until = now};
  StartProbe(now);
}

// Below the maximum there is always a reason why it is not higher; and where there has always been a queue, the lowest
// latency does not show it.
bool ConcurrencyLimit::MayHaveQueue() const {
  return steady_.latency > kHarmlessLatency &&
         (steady_.limit < options_.max || steady_.latency > kQueue * latency_.lowest_mean);
}

void ConcurrencyLimit::StartProbe(Moment now) {
  if (steady_.limit > 1 && now >= steady_.down.until && MayHaveQueue()) {
    steady_.probe = Probe::kDown;
    SetLimit(std::max(1.0, std::floor(steady_.limit / kProbeStep)), now);
  } else if (steady_.limit < options_.max && now >= steady_.up.until) {
    steady_.probe = Probe::kUp;
    SetLimit(std::min<double>(options_.max, std::ceil(steady_.limit * kProbeStep)), now);
  }
}

// Back to the base.
void ConcurrencyLimit::ProbeFailed(Moment now) {
  Hold& hold = steady_.probe == Probe::kUp ? steady_.up : steady_.down;
  hold.time = std::min(hold.time * 2, steady_.probe == Probe::kUp ? kLongestHoldUp : kLongestHoldDown);
  hold.until = now + hold.time;
  steady_.probe = Probe::kNone;
  SetLimit(steady_.limit, now);
}

void ConcurrencyLimit::EndProbe(double throughput, double latency, Moment now) {
  const double step = limit_ / steady_.limit;
  const bool better = steady_.probe == Probe::kUp ? throughput >= steady_.throughput * (1 + kUpGain * (step - 1))
                                                  : throughput >= steady_.throughput * (1 - kDownLoss);
  if (!better) return ProbeFailed(now);
  const Probe direction = steady_.probe;
  Settle(limit_, now);
  steady_.throughput = throughput;
  steady_.latency = latency;
  if (direction == Probe::kUp) {
    if (limit_ >= options_.max) return;
    return BeginRamp(options_.max, latency_.lowest_mean);  // there is more to be had
  }
  steady_.down.until = now;
  StartProbe(now);
}

void ConcurrencyLimit::Overloaded(Moment left_at, Moment now) {
  trouble_.failures = trouble_.failures << 1 | 1;
  if (std::popcount(trouble_.failures & kFailureWindow) < kFailuresToYield) return;
  // Once for each round trip: what fails meanwhile left under the old limit, or fails as fast as we send.
  if (left_at < trouble_.decreased_at || now < trouble_.decreased_at + absl::Seconds(latency_.mean)) return;
  trouble_.failures = 0;
  trouble_.decreased_at = now;
  if (phase_ == Phase::kSteady && steady_.probe == Probe::kUp) return ProbeFailed(now);
  double from = limit_;
  if (phase_ == Phase::kSteady) from = steady_.limit;
  if (phase_ == Phase::kRegain) from = std::max(limit_, regain_.to * kYieldAgain);
  if (phase_ == Phase::kRamp) from = std::max(1.0, limit_ * kYield);  // a ramp overshoots
  if (phase_ != Phase::kRegain || now - trouble_.began > kTroubleLasts) {
    trouble_.began = now;
    trouble_.limit_before = phase_ == Phase::kRegain ? regain_.to : from;
  }
  regain_ = {.from = std::max(1.0, std::min(from, limit_) * kYield), .to = from};
  phase_ = Phase::kRegain;
  steady_.probe = Probe::kNone;
  SetLimit(regain_.from, now);
}

void ConcurrencyLimit::SetMax(int max, Moment now) {
  max = std::max(1, max);
  if (max == options_.max) return;
  const bool more = max > options_.max;
  options_.max = max;
  ramp_.to = std::min<double>(ramp_.to, max);
  regain_.to = std::min<double>(regain_.to, max);
  if (!more) {
    const double limit = phase_ == Phase::kSteady ? steady_.limit : limit_;
    if (limit_ > max || limit > max) Settle(std::min<double>(limit, max), now);
    return;
  }
  // After trouble the way leads back to where it was; what is beyond is tried from there.
  if (phase_ == Phase::kRegain || ramp_.after_outage) return;
  if (phase_ == Phase::kSteady) SetLimit(steady_.limit, now);
  steady_.probe = Probe::kNone;
  BeginRamp(max, phase_ == Phase::kRamp ? ramp_.base : latency_.lowest_mean);
}

void ConcurrencyLimit::OutageEnded(Moment now) {
  double before = limit_;
  if (phase_ == Phase::kSteady) before = steady_.limit;
  // The failures that an outage begins with were no overload.
  const bool short_trouble = trouble_.decreased_at - trouble_.began <= kTroubleLasts;
  if (phase_ == Phase::kRegain) before = short_trouble ? trouble_.limit_before : regain_.to;
  if (phase_ == Phase::kRamp && ramp_.after_outage) before = ramp_.to;
  trouble_.failures = 0;
  trouble_.decreased_at = now;
  before = std::min<double>(before, options_.max);
  BeginRamp(std::max(before, 1.0), latency_.lowest_mean);
  steady_.probe = Probe::kNone;
  ramp_.after_outage = true;
  latency_.mean = latency_.lowest_mean;  // what was measured before and meanwhile says nothing now
  SetLimit(std::min(ramp_.to, std::max<double>(options_.initial, std::floor(before * kOutageRestart))), now);
  if (limit_ >= ramp_.to) Settle(limit_, now);
}

}  // namespace reembed
