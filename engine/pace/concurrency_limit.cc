// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/concurrency_limit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <tuple>
#include <utility>

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
constexpr double kAboveKnee = 1.5;  // a limit so much above the knee has the whole throughput for certain

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

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(const ConcurrencyOptions& options)
    : options_(options), limit_(std::clamp(options.initial, 1, std::max(1, options.max))), ramp_to_(options.max) {
  if (limit_ >= ramp_to_) Settle(limit_, Moment());
}

void ConcurrencyLimit::Answered(Moment left_at, int64_t weight, bool full, Moment now) {
  const double latency = std::max(1e-9, absl::ToDoubleSeconds(now - left_at));
  ++answers_;
  latency_ += (latency - latency_) / static_cast<double>(std::min<int64_t>(answers_, kLatencyAnswers));
  failures_ <<= 1;
  if (answers_ == kFloorAnswers) floor_ = latency_;
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
  ramp_to_ = to;
  ramp_base_ = base;
  recent_answers_ = 0;
}

void ConcurrencyLimit::Ramp(double latency, bool full, Moment now) {
  const bool slow = latency_ > kSlowLatency;
  if (full) limit_ = std::min(ramp_to_, limit_ + (slow ? 1 : kRampStep));
  const size_t place = recent_answers_ % recent_.size();
  recent_[place] = latency;
  recent_at_[place] = now;
  ++recent_answers_;
  const Moment oldest = recent_at_[recent_answers_ < recent_.size() ? 0 : recent_answers_ % recent_.size()];
  std::array<double, std::tuple_size_v<decltype(recent_)>> sorted = recent_;
  if (ramp_base_ <= 0 && recent_answers_ == kBaseAnswers) {
    std::sort(sorted.begin(), sorted.begin() + kBaseAnswers);
    ramp_base_ = (sorted[kBaseAnswers / 2 - 1] + sorted[kBaseAnswers / 2]) / 2;
  }
  std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end());
  const double all_but_one = recent_answers_ < sorted.size() ? 0 : sorted[1];
  const bool queues = ramp_base_ > 0 && all_but_one > kHarmlessLatency && all_but_one > kQueueAtRamp * ramp_base_;
  const bool slows = slow && recent_answers_ >= kBaseAnswers && latency_ > kQueueAtRamp * floor_;
  if (queues || slows) {
    // The answers come as fast as the server can give them; that many places it has, as each takes `floor_`.
    const auto known = static_cast<double>(std::min(recent_answers_, recent_.size()) - 1);
    const double seconds = std::max(1e-9, absl::ToDoubleSeconds(now - oldest));
    const double knee = known / seconds * floor_;
    return Settle(std::max(1.0, std::ceil(kAboveKnee * knee)), now);
  }
  if (limit_ >= ramp_to_) Settle(limit_, now);
}

void ConcurrencyLimit::Regain(Moment now) {
  limit_ = std::min(regain_to_, limit_ + (regain_to_ - regain_from_) / (kRegainRoundTrips * limit_));
  if (limit_ >= regain_to_) Settle(limit_, now);
}

void ConcurrencyLimit::Settle(double limit, Moment now) {
  phase_ = Phase::kSteady;
  probe_ = Probe::kNone;
  after_outage_ = false;
  base_limit_ = limit;
  base_throughput_ = base_latency_ = 0;
  const absl::Duration hold = std::max(kShortestHold, absl::Seconds(latency_ * kHoldRoundTrips));
  up_ = down_ = {.time = hold, .until = now + hold};
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
  if (probe_ == Probe::kDown && epoch_.answers >= std::max(kEnoughToSeeLoss, limit()) &&
      throughput < base_throughput_ * kClearLoss) {
    return ProbeFailed(now);
  }
  // Whole rounds, as those in the air take turns.
  const int rounds = std::max(2, (kEpochAnswers + limit() - 1) / limit());
  if (epoch_.answers < rounds * limit()) return;
  const Epoch done = std::exchange(epoch_, {.limit_since = epoch_.limit_since, .begun = true});
  if (done.full < kFullShare * done.answers) {
    if (probe_ != Probe::kNone) Settle(base_limit_, now);
    return;
  }
  Judge(throughput, done.seconds / done.answers, now);
}

void ConcurrencyLimit::Judge(double throughput, double latency, Moment now) {
  floor_ = floor_ <= 0 ? latency : std::min(latency, floor_ + kFloorDrift * (latency - floor_));
  if (probe_ != Probe::kNone) return EndProbe(throughput, latency, now);
  const bool improved =
      base_throughput_ > 0 && (throughput > kImproved * base_throughput_ || latency * kImproved < base_latency_);
  base_throughput_ = throughput;
  base_latency_ = latency;
  if (improved) up_ = {.time = kShortestHold, .until = now};
  StartProbe(now);
}

// Below the maximum there is always a reason why it is not higher; and where there has always been a queue, the lowest
// latency does not show it.
bool ConcurrencyLimit::MayHaveQueue() const {
  return base_latency_ > kHarmlessLatency && (base_limit_ < options_.max || base_latency_ > kQueue * floor_);
}

void ConcurrencyLimit::StartProbe(Moment now) {
  if (base_limit_ > 1 && now >= down_.until && MayHaveQueue()) {
    probe_ = Probe::kDown;
    SetLimit(std::max(1.0, std::floor(base_limit_ / kProbeStep)), now);
  } else if (base_limit_ < options_.max && now >= up_.until) {
    probe_ = Probe::kUp;
    SetLimit(std::min<double>(options_.max, std::ceil(base_limit_ * kProbeStep)), now);
  }
}

// Back to the base.
void ConcurrencyLimit::ProbeFailed(Moment now) {
  Hold& hold = probe_ == Probe::kUp ? up_ : down_;
  hold.time = std::min(hold.time * 2, probe_ == Probe::kUp ? kLongestHoldUp : kLongestHoldDown);
  hold.until = now + hold.time;
  probe_ = Probe::kNone;
  SetLimit(base_limit_, now);
}

void ConcurrencyLimit::EndProbe(double throughput, double latency, Moment now) {
  const double step = limit_ / base_limit_;
  const bool better = probe_ == Probe::kUp ? throughput >= base_throughput_ * (1 + kUpGain * (step - 1))
                                           : throughput >= base_throughput_ * (1 - kDownLoss);
  if (!better) return ProbeFailed(now);
  const Probe direction = probe_;
  Settle(limit_, now);
  base_throughput_ = throughput;
  base_latency_ = latency;
  if (direction == Probe::kUp) {
    if (limit_ >= options_.max) return;
    return BeginRamp(options_.max, floor_);  // there is more to be had
  }
  down_.until = now;
  StartProbe(now);
}

void ConcurrencyLimit::Overloaded(Moment left_at, Moment now) {
  failures_ = failures_ << 1 | 1;
  if (std::popcount(failures_ & kFailureWindow) < kFailuresToYield) return;
  // Once for each round trip: what fails meanwhile left under the old limit, or fails as fast as we send.
  if (left_at < decreased_at_ || now < decreased_at_ + absl::Seconds(latency_)) return;
  failures_ = 0;
  decreased_at_ = now;
  if (phase_ == Phase::kSteady && probe_ == Probe::kUp) return ProbeFailed(now);
  double from = limit_;
  if (phase_ == Phase::kSteady) from = base_limit_;
  if (phase_ == Phase::kRegain) from = std::max(limit_, regain_to_ * kYieldAgain);
  if (phase_ == Phase::kRamp) from = std::max(1.0, limit_ * kYield);  // a ramp overshoots
  if (phase_ != Phase::kRegain || now - trouble_began_ > kTroubleLasts) {
    trouble_began_ = now;
    before_trouble_ = phase_ == Phase::kRegain ? regain_to_ : from;
  }
  regain_to_ = from;
  regain_from_ = std::max(1.0, std::min(from, limit_) * kYield);
  phase_ = Phase::kRegain;
  probe_ = Probe::kNone;
  SetLimit(regain_from_, now);
}

void ConcurrencyLimit::SetMax(int max, Moment now) {
  max = std::max(1, max);
  if (max == options_.max) return;
  const bool more = max > options_.max;
  options_.max = max;
  ramp_to_ = std::min<double>(ramp_to_, max);
  regain_to_ = std::min<double>(regain_to_, max);
  if (!more) {
    const double limit = phase_ == Phase::kSteady ? base_limit_ : limit_;
    if (limit_ > max || limit > max) Settle(std::min<double>(limit, max), now);
    return;
  }
  // After trouble the way leads back to where it was; what is beyond is tried from there.
  if (phase_ == Phase::kRegain || after_outage_) return;
  if (phase_ == Phase::kSteady) SetLimit(base_limit_, now);
  probe_ = Probe::kNone;
  BeginRamp(max, phase_ == Phase::kRamp ? ramp_base_ : floor_);
}

void ConcurrencyLimit::OutageEnded(Moment now) {
  double before = limit_;
  if (phase_ == Phase::kSteady) before = base_limit_;
  // The failures that an outage begins with were no overload.
  if (phase_ == Phase::kRegain) before = decreased_at_ - trouble_began_ <= kTroubleLasts ? before_trouble_ : regain_to_;
  if (phase_ == Phase::kRamp && after_outage_) before = ramp_to_;
  failures_ = 0;
  decreased_at_ = now;
  before = std::min<double>(before, options_.max);
  BeginRamp(std::max(before, 1.0), floor_);
  probe_ = Probe::kNone;
  after_outage_ = true;
  latency_ = floor_;  // what was measured before and meanwhile says nothing now
  SetLimit(std::min(ramp_to_, std::max<double>(options_.initial, std::floor(before * kOutageRestart))), now);
  if (limit_ >= ramp_to_) Settle(limit_, now);
}

}  // namespace reembed
