// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/scenario.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  int64_t Whole(int64_t from, int64_t to) { return from + static_cast<int64_t>(random_() % (to - from + 1)); }
  double Share() { return static_cast<double>(random_() >> 11) / static_cast<double>(uint64_t{1} << 53); }
  bool Chance(double share) { return Share() < share; }
  // Between two times that may be far apart: each order of magnitude as often as any other.
  absl::Duration Time(absl::Duration least, absl::Duration most) {
    return least * std::exp(Share() * std::log(absl::FDivDuration(most, least)));
  }

 private:
  std::mt19937_64 random_;
};

constexpr absl::Duration kFirstThings = absl::Milliseconds(200);
constexpr absl::Duration kLastThings = absl::Minutes(3);

void DrawRows(Draw* draw, Scenario* scenario) {
  const int64_t rows = draw->Whole(1, draw->Chance(0.2) ? 400 : 120);
  const int64_t texts = std::max<int64_t>(1, draw->Chance(0.5) ? rows : rows / draw->Whole(2, 5));
  const double empty = draw->Chance(0.3) ? 0.05 : 0;
  const double refused = draw->Chance(0.15) ? 0.02 : 0;
  for (int64_t i = 0; i < rows; ++i) {
    const std::string text = absl::StrCat("text ", draw->Whole(0, texts - 1));
    MemoryRow row{.key = Key(i)};
    if (!draw->Chance(empty)) row.text = text;
    if (draw->Chance(refused)) scenario->refused_texts.insert(text);
    scenario->rows.push_back(std::move(row));
  }
}

BadTime DrawBadTime(Draw* draw) {
  BadTime bad{.kind = static_cast<BadTime::Kind>(draw->Whole(0, 5)), .from = draw->Time(kFirstThings, kLastThings)};
  bad.to = bad.from + draw->Time(absl::Seconds(1), absl::Minutes(4));
  bad.share = draw->Chance(0.5) ? 1 : draw->Share();
  const bool odd = bad.kind == BadTime::Kind::kOddAnswer || bad.kind == BadTime::Kind::kAnswerLost;
  if (odd) bad.share = 0.3 * draw->Share();
  if (draw->Chance(0.3)) bad.from = absl::ZeroDuration();
  return bad;
}

EndpointScript DrawEndpoint(Draw* draw) {
  EndpointScript endpoint{.latency = draw->Time(absl::Milliseconds(20), absl::Seconds(3)),
                          .concurrency = static_cast<int>(draw->Whole(1, 6))};
  endpoint.jitter = draw->Chance(0.5) ? absl::ZeroDuration() : endpoint.latency;
  if (draw->Chance(0.5)) {
    endpoint.limit.requests_per_minute = static_cast<double>(draw->Whole(30, 600));
    endpoint.real_rate = endpoint.limit.requests_per_minute * (draw->Chance(0.25) ? 0.6 : 1.05);
  } else if (draw->Chance(0.3)) {
    endpoint.real_rate = static_cast<double>(draw->Whole(60, 600));  // that nobody has told
  }
  if (draw->Chance(0.3)) endpoint.limit.tokens_per_minute = static_cast<double>(draw->Whole(300, 20000));
  endpoint.retry_after = draw->Chance(0.5) ? static_cast<int>(draw->Whole(1, 20)) : 0;
  for (int64_t bad = draw->Chance(0.5) ? draw->Whole(1, 3) : 0; bad > 0; --bad) {
    endpoint.bad_times.push_back(DrawBadTime(draw));
  }
  return endpoint;
}

void DrawSinks(Draw* draw, Scenario* scenario) {
  for (int64_t sinks = draw->Whole(1, 3); sinks > 0; --sinks) {
    SinkScript sink{
        .order = draw->Chance(0.5) ? RowOrder::kAny : RowOrder::kAscending,
        .write_time = draw->Chance(0.5) ? absl::ZeroDuration() : draw->Time(absl::Milliseconds(1), absl::Seconds(2))};
    if (draw->Chance(0.15)) {
      sink.fails_from = draw->Time(kFirstThings, kLastThings);
      sink.fails_to = sink.fails_from + draw->Time(absl::Seconds(1), absl::Minutes(5));
    }
    scenario->sinks.push_back(sink);
  }
}

void DrawEvents(Draw* draw, Scenario* scenario) {
  for (int64_t events = draw->Chance(0.6) ? draw->Whole(1, 4) : 0; events > 0; --events) {
    SimulatedEvent event{.kind = static_cast<SimulatedEvent::Kind>(draw->Whole(0, 6)),
                         .at = draw->Time(kFirstThings, kLastThings),
                         .by = draw->Time(absl::Seconds(1), absl::Hours(24)),
                         .point = static_cast<int>(draw->Whole(1, 40))};
    using Kind = SimulatedEvent::Kind;
    if (event.kind == Kind::kWallClockJumps && draw->Chance(0.5)) event.by = -event.by;
    if (event.kind == Kind::kProcessStopped) event.by = absl::Seconds(60);
    if (event.kind == Kind::kInterruptTwice) event.by = draw->Time(absl::Milliseconds(1), absl::Minutes(1));
    if (event.kind == Kind::kKillAtPoint) event.at = draw->Chance(0.5) ? absl::ZeroDuration() : event.at;
    scenario->events.push_back(event);
  }
  std::sort(scenario->events.begin(), scenario->events.end(),
            [](const SimulatedEvent& one, const SimulatedEvent& other) { return one.at < other.at; });
}

}  // namespace

Scenario DrawScenario(uint64_t seed) {
  Draw draw(seed);
  Scenario scenario{.seed = seed};
  DrawRows(&draw, &scenario);
  scenario.batch.max_texts = static_cast<int>(draw.Whole(1, 16));
  scenario.batch.max_rows = static_cast<int>(draw.Whole(1, 2) * scenario.batch.max_texts);
  scenario.batch.max_text_bytes = 4096;
  scenario.batch.max_reply_bytes = size_t{1} << 20;
  scenario.batches_in_flight = static_cast<int>(draw.Whole(1, 8));
  for (int64_t endpoints = draw.Chance(0.5) ? 1 : draw.Whole(2, 4); endpoints > 0; --endpoints) {
    scenario.endpoints.push_back(DrawEndpoint(&draw));
  }
  DrawSinks(&draw, &scenario);
  DrawEvents(&draw, &scenario);
  scenario.timeout = draw.Time(absl::Seconds(10), absl::Seconds(60));
  scenario.first_backoff = absl::Milliseconds(500);
  scenario.hedge = draw.Chance(0.1);
  if (draw.Chance(0.2)) {
    const auto tokens = static_cast<double>(kTokensPerText * scenario.rows.size());
    scenario.cap_usd = scenario.usd_per_token * (100 + tokens * 1.5 * draw.Share());
  }
  scenario.sync_time =
      draw.Chance(0.3) ? draw.Time(absl::Milliseconds(1), absl::Milliseconds(300)) : absl::ZeroDuration();
  if (draw.Chance(0.1)) {
    scenario.disk_full_from = draw.Time(kFirstThings, kLastThings);
    scenario.disk_full_to = scenario.disk_full_from + draw.Time(absl::Seconds(10), absl::Minutes(5));
  }
  scenario.flush_interval = draw.Chance(0.5) ? absl::Milliseconds(100) : absl::Seconds(5);
  return scenario;
}

}  // namespace reembed
