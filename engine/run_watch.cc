// SPDX-License-Identifier: Apache-2.0
#include "engine/run_watch.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace reembed {
namespace {

// What is bought so far is extended to what is still to be bought.
void SayMoneyAtTheEnd(const RunScope& scope, int64_t tokens_before, double usd_per_token, RunSnapshot* snapshot) {
  if (scope.rows < 0) return;
  const int64_t to_buy = scope.rows - scope.rows_bought;
  const int64_t bought =
      snapshot->rows_done + snapshot->rows_rejected - std::min(snapshot->rows_replayed, scope.rows_bought);
  if (bought <= 0 || to_buy < bought) return;
  const auto tokens = static_cast<double>(snapshot->client.tokens - tokens_before);
  const double all = tokens * static_cast<double>(to_buy) / static_cast<double>(bought);
  snapshot->projected_usd = (static_cast<double>(tokens_before) + all) * usd_per_token;
}

constexpr int64_t kTellingRequests = 40;  // from here on what was asked says how many rows a request brings

}  // namespace

double RowsPerSecondOfQuota(const ClientStats& client, int64_t rows, int texts_per_request) {
  double rate = std::numeric_limits<double>::infinity();
  const int64_t answered = client.requests - client.in_the_air;
  if (client.requests_per_minute > 0) {
    // At the start most requests have asked for nothing but the model: they say little about how full the others are.
    double rows_per_request = texts_per_request;
    if (rows > 0 && answered > kTellingRequests) {
      rows_per_request = static_cast<double>(rows) / static_cast<double>(answered);
    }
    if (rows_per_request > 0) rate = client.requests_per_minute / 60 * rows_per_request;
  }
  if (client.tokens_per_minute > 0 && client.tokens > 0 && rows > 0) {
    rate =
        std::min(rate, client.tokens_per_minute / 60 * static_cast<double>(rows) / static_cast<double>(client.tokens));
  }
  return rate == std::numeric_limits<double>::infinity() ? 0 : rate;
}

RunWatch::RunWatch(Parts parts, std::function<Moment()> clock)
    : parts_(std::move(parts)), clock_(std::move(clock)), start_(clock_()), rows_(parts_.begun.before.rows) {}

RunSnapshot RunWatch::Take() {
  // Before the lock, so that TakeAtOnce() finds it free whatever happens there.
  if (parts_.ledger != nullptr) rows_ = parts_.ledger->rows();
  if (parts_.cap != nullptr) spent_usd_ = parts_.cap->spent_usd();
  return TakeAtOnce();
}

RunSnapshot RunWatch::TakeAtOnce() {
  const MutexLock lock(&mutex_);
  const Moment now = clock_();
  const RunCounters& counters = *parts_.counters;
  RunSnapshot snapshot = parts_.begun;
  snapshot.elapsed = now - start_;
  snapshot.rows_expected = parts_.scope.rows;
  snapshot.rows_before = parts_.scope.rows_before;
  // In this order: a row counts as done before it counts as one of the two kinds.
  snapshot.rows_embedded = counters.rows_embedded;
  snapshot.rows_replayed = counters.rows_replayed;
  snapshot.rows_done = counters.rows_done;
  snapshot.rows_rejected = counters.rows_rejected;
  snapshot.rows_truncated = counters.rows_truncated;
  snapshot.rows_split = counters.rows_split;
  snapshot.rows_changed += rows_changed_;
  snapshot.passes += passes_;
  snapshot.texts_embedded = counters.texts_embedded;
  const ClientStats client = parts_.client->stats();
  const ClientStats probed = std::exchange(snapshot.client, client);
  Add(probed, &snapshot.client);
  if (parts_.endpoints) snapshot.endpoints = parts_.endpoints();
  snapshot.cost_usd = static_cast<double>(snapshot.client.tokens) * parts_.usd_per_token;
  snapshot.spent_usd = spent_usd_;
  snapshot.max_spend_usd = parts_.max_spend_usd;
  snapshot.sinks = counters.sinks.List();
  snapshot.waits = counters.waits.Shares();
  snapshot.recent_waits = counters.waits.RecentShares();
  snapshot.now = snapshot.before;
  snapshot.now.rows_done += snapshot.rows_embedded;
  snapshot.now.rows_rejected += snapshot.rows_rejected;
  // What is through was numbered, whenever the ledger was asked last.
  const int64_t settled = snapshot.now.rows_done + snapshot.now.rows_rejected + snapshot.now.rows_gone;
  snapshot.now.rows = std::max(rows_.load(), settled);
  snapshot.now.rows_pending = snapshot.now.rows - settled;
  const double seconds = absl::ToDoubleSeconds(snapshot.elapsed);
  const int64_t through = snapshot.rows_done + snapshot.rows_rejected;
  snapshot.rows_per_second = seconds > 0 ? static_cast<double>(through) / seconds : 0;
  recent_.Note(now, through, snapshot.client.requests, snapshot.client.tokens);
  snapshot.recent = recent_.Get();
  snapshot.paused = parts_.control != nullptr && parts_.control->paused();
  snapshot.rejects = counters.rejects.List();
  SayTimeLeft(now, client, &snapshot);
  SayMoneyAtTheEnd(parts_.scope, parts_.begun.client.tokens, parts_.usd_per_token, &snapshot);
  return snapshot;
}

void RunWatch::SayTimeLeft(Moment now, const ClientStats& client, RunSnapshot* snapshot) {
  const RunScope& scope = parts_.scope;
  // What is only written comes first and fast, and says nothing about what is bought.
  const bool buys = scope.rows > scope.rows_bought;
  const int64_t through = snapshot->rows_done + snapshot->rows_rejected;
  const int64_t paced = buys ? through - std::min(snapshot->rows_replayed, scope.rows_bought) : through;
  if (!time_left_.has_value() && (!buys || client.requests > 0)) time_left_.emplace(now);
  if (!time_left_.has_value()) return;
  time_left_->Note(now, paced);
  if (scope.rows < 0) return;
  const double most = buys ? RowsPerSecondOfQuota(client, paced, scope.texts_per_request) : 0;
  const bool pauses = client.quota_wait >= kShownQuotaWait && client.quota_wait < absl::Hours(24);
  snapshot->left =
      time_left_->Estimate(now, scope.rows - (buys ? scope.rows_bought : 0),
                           {.rows_per_second = most, .pause = pauses ? client.quota_wait : absl::ZeroDuration()});
  if (!snapshot->left.has_value()) return;
  const TimeLeft::Band band = time_left_->BandOf(*snapshot->left);
  snapshot->left_least = band.least;
  snapshot->left_most = band.most;
}

}  // namespace reembed
