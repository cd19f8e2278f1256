// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/invariants.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using Broken = std::optional<Violation>;

bool IsOfTheJob(const std::string& text) { return absl::StartsWith(text, "text "); }

Broken NoLostRow(const World& world) {
  const Life& last = world.lives.back();
  if (!last.status.ok() || !last.missing.has_value()) return std::nullopt;
  return Violation{last.ended, *last.missing};
}

Broken NoForeignVector(const World& world) {
  for (const SeenRow& row : world.rows) {
    if (!row.right) return Violation{row.at, absl::StrCat("row ", row.key, " got a vector that is not its text's")};
  }
  return std::nullopt;
}

Broken PayOnce(const World& world) {
  std::map<std::string, Moment> kept;  // a target has a vector only when the job has it for good
  for (const SeenRow& row : world.rows) kept.emplace(row.text, row.at);
  std::map<std::string, int> sold;
  int64_t again = 0, of_no_use = 0;
  Moment last;
  for (const SeenRequest& request : world.requests) {
    if (!request.sold) continue;
    for (const std::string& text : request.texts) {
      if (!IsOfTheJob(text)) continue;
      if (++sold[text] > 1) {
        ++again;
        last = request.at;
      }
      if (request.of_no_use) ++of_no_use;
      const auto had = kept.find(text);
      if (had != kept.end() && had->second < request.at) {
        return Violation{request.at, absl::StrCat("`", text, "` is bought, and was kept before")};
      }
    }
  }
  const int64_t said = world.lives.back().job.texts_possibly_rebought;
  if (again <= said + of_no_use || world.scenario().hedge || world.lives.back().killed) return std::nullopt;
  return Violation{last, absl::StrCat(again, " texts were bought again, and the job says ", said, " at most, ",
                                      of_no_use, " had answers of no use")};
}

Broken TheOldStays(const World& world) {
  for (const Table& table : world.tables) {
    for (const auto& [key, vector] : table.old) {
      const auto now = table.rows.find(key);
      if (now != table.rows.end() && now->second == vector) continue;
      return Violation{world.lives.back().ended, absl::StrCat("row ", key, " is none of the job's, and has changed")};
    }
  }
  return std::nullopt;
}

Broken TheReportTellsTheTruth(const World& world) {
  for (int life = 0; life < static_cast<int>(world.lives.size()); ++life) {
    const Life& one = world.lives[life];
    if (one.killed || one.ended == Moment()) continue;
    if (one.status.ok() && one.missing.has_value())
      return Violation{one.ended, "a run says that all is done, and it is not"};
    const auto seen = std::count_if(world.requests.begin(), world.requests.end(),
                                    [life](const SeenRequest& request) { return request.life == life; });
    if (seen != one.client.requests) {
      return Violation{one.ended, absl::StrCat(one.client.requests, " requests are reported, ", seen, " were made")};
    }
    if (!one.status.ok()) continue;
    std::set<std::string> texts;
    const auto& rows = world.scenario().rows;
    for (const MemoryRow& row : rows) texts.insert(row.text.value_or(""));
    texts.erase("");
    const JobStats& job = one.job;
    if (job.rows != static_cast<int64_t>(rows.size()) || job.texts != static_cast<int64_t>(texts.size()) ||
        job.rows_pending != 0 || job.rejected_rows != static_cast<int64_t>(one.rejects.size())) {
      return Violation{one.ended, absl::StrCat("the job says ", job.rows, " rows of ", rows.size(), ", ", job.texts,
                                               " texts of ", texts.size(), ", ", job.rows_pending, " to do")};
    }
  }
  return std::nullopt;
}

// A bucket that flows full evenly and is full at the start of each run; a request may leave when it is, or has enough.
class QuotaBucket {
 public:
  QuotaBucket(double per_minute, absl::Duration burst, double slack)
      : rate_(per_minute / 60), capacity_(rate_ * absl::ToDoubleSeconds(burst)), slack_(slack) {}

  double level() const { return level_; }
  bool Takes(int life, Moment at, double amount) {
    if (rate_ <= 0) return true;
    if (std::exchange(life_, life) != life) level_ = capacity_;
    level_ = std::min(capacity_, level_ + rate_ * absl::ToDoubleSeconds(at - std::exchange(at_, at)));
    const bool enough = level_ >= std::min(amount, capacity_) - slack_;
    level_ -= amount;
    return enough;
  }

 private:
  const double rate_, capacity_, slack_;
  double level_ = 0;
  int life_ = -1;
  Moment at_;
};

bool HasStop(const Scenario& scenario) {
  const auto stops = [](const SimulatedEvent& event) { return event.kind == SimulatedEvent::Kind::kProcessStopped; };
  return std::any_of(scenario.events.begin(), scenario.events.end(), stops);
}

Broken WithinTheQuota(const World& world) {
  const auto& endpoints = world.scenario().endpoints;
  for (int e = 0; e < static_cast<int>(endpoints.size()); ++e) {
    const RateLimit& limit = endpoints[e].limit;
    // A note of the money, which is durable, may lie between the decision and the request; so may a stop of the
    // process.
    const double late = absl::ToDoubleMinutes(5 * world.scenario().sync_time);
    const double held = HasStop(world.scenario()) ? 1 : 0;
    QuotaBucket requests(limit.requests_per_minute, limit.burst, 0.01 + held + late * limit.requests_per_minute);
    QuotaBucket tokens(limit.tokens_per_minute, limit.burst, 60 * (1 + held) + late * limit.tokens_per_minute);
    for (const SeenRequest& request : world.requests) {
      if (request.endpoint != e) continue;
      const auto amount = static_cast<double>(kTokensPerText * request.texts.size());
      const bool few = requests.Takes(request.life, request.at, 1);
      if (few && tokens.Takes(request.life, request.at, amount)) continue;
      return Violation{request.at,
                       absl::StrCat("endpoint ", e, " gets more ", few ? "tokens" : "requests", " than its quota: run ",
                                    request.life, ", bucket at ", (few ? tokens : requests).level(), " after `",
                                    request.texts.front(), "`")};
    }
  }
  return std::nullopt;
}

Broken FewAreSentAgain(const World& world) {
  std::map<std::pair<int, int>, double> budget;  // by run and endpoint
  std::map<std::pair<int, int>, Moment> last_failure;
  for (const SeenRequest& request : world.requests) {
    const auto who = std::pair(request.life, request.endpoint);
    // Ten at the start, one for each that is in the air when all fails, and the first of an outage.
    double& left = budget.try_emplace(who, 20).first->second;
    if (request.status != 0 && request.status < 500) left += 0.1;
    if (!request.again) continue;
    // While all fails: two probes in a second at the start, one later, and one beyond the budget.
    const auto [before, first] = last_failure.try_emplace(who, request.at);
    if (!first)
      left += 2 * std::min(1.0, absl::FDivDuration(request.at - before->second, world.scenario().first_backoff));
    before->second = request.at;
    if (--left < 0) return Violation{request.at, absl::StrCat("too much is sent again to endpoint ", request.endpoint)};
  }
  return std::nullopt;
}

Broken WithinTheSpendCap(const World& world) {
  double usd = 0;
  for (const SeenRequest& request : world.requests) {
    const double cap = world.lives[request.life].cap_usd;
    if (request.sold)
      usd += world.scenario().usd_per_token * kTokensPerText * static_cast<double>(request.texts.size());
    if (cap > 0 && usd > cap * 1.000001) return Violation{request.at, absl::StrCat(usd, " USD of ", cap, " are spent")};
  }
  return std::nullopt;
}

Broken InOrder(const World& world) {
  std::map<std::pair<int, int>, int64_t> last;
  for (const SeenRow& row : world.rows) {
    if (world.scenario().sinks[row.sink].order != RowOrder::kAscending) continue;
    const auto [before, first] = last.try_emplace({row.life, row.sink}, row.ordinal);
    if (!first && row.ordinal <= before->second) {
      return Violation{row.at,
                       absl::StrCat("target ", row.sink, " gets row ", row.ordinal, " after row ", before->second)};
    }
    before->second = row.ordinal;
  }
  return std::nullopt;
}

Broken NoMoreAtATime(const World& world) {
  for (const Life& life : world.lives) {
    if (life.most_batches <= world.scenario().batches_in_flight) continue;
    return Violation{life.ended, absl::StrCat(life.most_batches, " batches are under way")};
  }
  for (const SeenRequest& request : world.requests) {
    // Stragglers are sent a second time on top.
    const int sendings = world.scenario().hedge ? 2 : 1;
    if (request.in_air <= sendings * world.scenario().endpoints[request.endpoint].concurrency) continue;
    return Violation{request.at, absl::StrCat(request.in_air, " requests are in the air")};
  }
  return std::nullopt;
}

Broken StopsInTime(const World& world) {
  const Scenario& scenario = world.scenario();
  absl::Duration writes;
  for (const SinkScript& sink : scenario.sinks) writes += sink.write_time;
  const absl::Duration most =
      scenario.timeout + absl::Seconds(5) + (scenario.batches_in_flight + 2) * (writes + 20 * scenario.sync_time);
  for (int life = 0; life < static_cast<int>(world.lives.size()); ++life) {
    const Life& one = world.lives[life];
    if (!one.told_to_stop.has_value()) continue;
    for (const SeenRequest& request : world.requests) {
      // One that is about to leave may wait for the note of its money.
      if (request.life != life || request.at <= *one.told_to_stop + 5 * scenario.sync_time) continue;
      return Violation{request.at, "a request leaves after the run was told to stop"};
    }
    // The clock may have been stopped for a minute, once or twice.
    const absl::Duration took = one.ended - *one.told_to_stop;
    if (!one.killed && took > most + absl::Minutes(4)) {
      return Violation{one.ended, absl::StrCat("it took ", absl::FormatDuration(took), " to stop")};
    }
  }
  return std::nullopt;
}

Broken ItEnds(const World& world) {
  for (const Life& life : world.lives) {
    if (life.ended - life.began <= kLongestLife) continue;
    return Violation{life.ended, absl::StrCat("a run took ", absl::FormatDuration(life.ended - life.began), ": ",
                                              life.status.message())};
  }
  const Life& last = world.lives.back();
  if (last.status.ok()) return std::nullopt;
  return Violation{last.ended, absl::StrCat("with nothing in its way the job does not end: ", last.status.message())};
}

}  // namespace

absl::Span<const Invariant> Invariants() {
  static constexpr Invariant kAll[] = {
      {"NoLostRow", "after a good end every row is in every target, or rejected", NoLostRow},
      {"NoForeignVector", "a row gets the vector of its text, bit by bit, or none", NoForeignVector},
      {"PayOnce", "what is kept is not bought again; what was bought twice is no more than the job says", PayOnce},
      {"TheOldStays", "rows that are not the job's, or are rejected, are as they were", TheOldStays},
      {"TheReportTellsTheTruth", "outcome, requests and rows are those that servers and targets saw",
       TheReportTellsTheTruth},
      {"WithinTheQuota", "no endpoint gets more requests or tokens than the user's limit and its burst",
       WithinTheQuota},
      {"FewAreSentAgain", "of what failed no more is sent again than the retry budget and the probes", FewAreSentAgain},
      {"WithinTheSpendCap", "all runs together are charged no more than --max-spend", WithinTheSpendCap},
      {"InOrder", "a target that wants ascending rows gets them so, each once a run", InOrder},
      {"NoMoreAtATime", "batches under way and requests in the air are no more than were granted", NoMoreAtATime},
      {"StopsInTime", "after Ctrl-C no request leaves, and the run ends within a request's time-out and its writes",
       StopsInTime},
      {"ItEnds", "every run ends, and the same command ends well once nothing is in its way", ItEnds},
  };
  return kAll;
}

}  // namespace reembed
