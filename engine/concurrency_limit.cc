#include "engine/concurrency_limit.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace reembed {
namespace {

constexpr double kHarmlessLatency = 0.025;  // seconds
constexpr int kLatencyAnswers = 8;          // the latency fades over about so many
constexpr double kQueueAtRamp = 2;          // times the lowest latency: the ramp has gone too far
constexpr double kAboveKnee = 1.5;          // a limit so much above the knee has the whole throughput for certain

constexpr int kEpochAnswers = 24;
constexpr double kFullShare = 0.8;  // of an epoch's answers: otherwise it says nothing about the limit
constexpr double kProbeStep = 1.5;
constexpr double kUpGain = 0.3;       // of the additional requests have to show in the throughput
constexpr double kDownLoss = 0.03;    // of the throughput may be lost to noise
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
  if (answers_ == kLatencyAnswers && floor_ <= 0) floor_ = latency_;
  switch (phase_) {
    case Phase::kRamp:
      return Ramp(full, now);
    case Phase::kRegain:
      return Regain(now);
    case Phase::kSteady:
      return Measure(left_at, latency, weight, full, now);
  }
}

void ConcurrencyLimit::Ramp(bool full, Moment now) {
  if (full) limit_ = std::min(ramp_to_, limit_ + 1);
  if (floor_ > 0 && latency_ > kHarmlessLatency && latency_ > kQueueAtRamp * floor_) {
    // The answers come from requests that left a round trip ago, under about half of today's limit.
    const double knee = limit_ / 2 * floor_ / latency_;
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
    if (left_at < epoch_.limit_since) return;
    epoch_.begun = true;
    epoch_.from = now;
    return;
  }
  ++epoch_.answers;
  epoch_.full += full ? 1 : 0;
  epoch_.weight += static_cast<double>(weight);
  epoch_.seconds += latency;
  if (epoch_.answers < std::max(kEpochAnswers, 2 * limit())) return;
  const double passed = absl::ToDoubleSeconds(now - epoch_.from);
  const Epoch done = epoch_;
  epoch_ = {.limit_since = epoch_.limit_since, .begun = true, .from = now};
  if (passed <= 0) return;
  if (done.full < kFullShare * done.answers) {
    if (probe_ != Probe::kNone) Settle(base_limit_, now);
    return;
  }
  Judge(done.weight / passed, done.seconds / done.answers, now);
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
    phase_ = Phase::kRamp;  // there is more to be had
    ramp_to_ = options_.max;
    return;
  }
  down_.until = now;
  StartProbe(now);
}

void ConcurrencyLimit::Overloaded(Moment left_at, Moment now) {
  failures_ = failures_ << 1 | 1;
  if (std::popcount(failures_ & kFailureWindow) < kFailuresToYield || left_at < decreased_at_) return;
  failures_ = 0;
  decreased_at_ = now;
  if (phase_ == Phase::kSteady && probe_ == Probe::kUp) return ProbeFailed(now);
  // A ramp overshoots by up to a factor of two.
  regain_to_ = phase_ == Phase::kRamp ? std::max(1.0, limit_ * kYield)
                                      : std::max(limit_, probe_ == Probe::kDown ? base_limit_ : 0);
  regain_from_ = std::max(1.0, regain_to_ * kYield);
  phase_ = Phase::kRegain;
  probe_ = Probe::kNone;
  SetLimit(regain_from_, now);
}

void ConcurrencyLimit::OutageBegan() {
  before_outage_ = phase_ == Phase::kRegain ? regain_to_ : phase_ == Phase::kSteady ? base_limit_ : limit_;
}

void ConcurrencyLimit::OutageEnded(Moment now) {
  failures_ = 0;
  decreased_at_ = now;
  phase_ = Phase::kRamp;
  probe_ = Probe::kNone;
  ramp_to_ = std::max(before_outage_, 1.0);
  latency_ = floor_;  // what was measured before and meanwhile says nothing now
  SetLimit(std::min(ramp_to_, std::max<double>(options_.initial, std::floor(before_outage_ * kOutageRestart))), now);
  if (limit_ >= ramp_to_) Settle(limit_, now);
}

}  // namespace reembed
