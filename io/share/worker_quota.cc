// SPDX-License-Identifier: Apache-2.0
#include "io/share/worker_quota.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr double kBillion = 1e9;
// Money is asked for ahead: twice what was spent since the last time, and this at least. But half of what would be
// one's share of the rest at most, as whoever dies takes it along.
constexpr double kDollarsAhead = 0.0001;
// So often it is looked whether something waits for money.
constexpr absl::Duration kMoneyLooks = absl::Milliseconds(50);

uint64_t Random() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// People find their machine in it, and no other process has it.
std::string WorkerName() {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return absl::StrFormat("%s:%d:%016x", host, getpid(), Random());
}

int64_t Billionths(double usd) { return static_cast<int64_t>(std::ceil(std::min(usd, 1e9) * kBillion)); }

}  // namespace

WorkerQuota::WorkerQuota(WorkerQuotaOptions options)
    : options_(std::move(options)), server_(options_.address), lease_(WorkerName(), options_.limit, Random()) {}

absl::StatusOr<std::unique_ptr<WorkerQuota>> WorkerQuota::Start(WorkerQuotaOptions options) {
  std::unique_ptr<WorkerQuota> quota(new WorkerQuota(std::move(options)));
  {
    const MutexLock lock(&quota->mutex_);
    std::string note;
    ABSL_RETURN_IF_ERROR(quota->Talk(quota->lease_.Ask(MonotonicNow()), &note));
  }
  quota->thread_ = std::thread([quota = quota.get()] { quota->Work(); });
  return quota;
}

WorkerQuota::~WorkerQuota() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Moment WorkerQuota::TryStart(int64_t tokens, Moment now) {
  const MutexLock lock(&mutex_);
  const Moment start = lease_.TryStart(tokens, now);
  if (lease_.NextAsk(now) < waits_until_) changed_.notify_all();
  return start;
}

Moment WorkerQuota::NextStart(int64_t tokens, Moment now) const {
  const MutexLock lock(&mutex_);
  return lease_.NextStart(tokens, now);
}

void WorkerQuota::Tell(const QuotaNews& news, Moment now) {
  const MutexLock lock(&mutex_);
  lease_.Tell(news, now);
  if (lease_.NextAsk(now) < waits_until_) changed_.notify_all();
}

RateLimit WorkerQuota::limit() const {
  const MutexLock lock(&mutex_);
  return lease_.limit();
}

int WorkerQuota::workers() const {
  const MutexLock lock(&mutex_);
  return lease_.workers();
}

void WorkerQuota::AddMoney(QuotaAsk* ask) {
  if (options_.spend == nullptr) return;
  const double spent = options_.spend->spent_usd();
  ask->account = options_.account;
  ask->money_spent = Billionths(spent);
  double ahead = std::max(kDollarsAhead, 2 * (spent - std::exchange(spent_before_, spent)));
  if (money_left_ > 0) ahead = std::min(ahead, static_cast<double>(money_left_) / kBillion / (2 * workers_before_));
  ask->money_wanted = Billionths(std::max(spent, options_.spend->wanted_usd()) + ahead);
  // At the end what is not spent is there for others.
  if (ask->leaves) ask->money_wanted = ask->money_spent;
  ask->money_cap = Billionths(options_.spend->cap_usd());
}

void WorkerQuota::TakeMoney(const QuotaGrant& grant) {
  if (options_.spend == nullptr) return;
  money_granted_ = grant.money;
  money_left_ = grant.money_left;
  workers_before_ = grant.workers;
  options_.spend->Allow(static_cast<double>(grant.money) / kBillion, grant.money_left > 0);
}

absl::Status WorkerQuota::Talk(QuotaAsk ask, std::string* note) {
  const bool was_alone = lease_.alone();
  mutex_.unlock();
  AddMoney(&ask);
  const absl::StatusOr<QuotaGrant> grant = server_.Ask(ask);
  if (grant.ok()) TakeMoney(*grant);
  mutex_.lock();
  const Moment now = MonotonicNow();
  if (grant.ok()) {
    lease_.Answered(*grant, now);
    if (was_alone) *note = absl::StrCat(options_.address.name, " answers again: the quota is shared again");
    return absl::OkStatus();
  }
  lease_.Failed(now);
  const int workers = lease_.workers();
  if (!was_alone) {
    *note = absl::StrCat(grant.status().message(), "; until it answers, this worker continues with its safe share, ",
                         workers == 1 ? "the whole quota, as it was alone"
                                      : absl::StrCat("one of ", Counted(workers, "part", "parts"), " of the quota"));
    if (options_.spend != nullptr && money_left_ > 0) {
      // A share of what nobody had asked for: all together spend no more than there is.
      mutex_.unlock();
      money_granted_ += money_left_ / workers;
      money_left_ = 0;
      options_.spend->Allow(static_cast<double>(money_granted_) / kBillion, /*more=*/true);
      mutex_.lock();
    }
  }
  return grant.status();
}

void WorkerQuota::Work() {
  MutexLock lock(&mutex_);
  while (!stopping_) {
    const Moment now = MonotonicNow();
    const Moment next = lease_.NextAsk(now);
    const bool lacks_money = options_.spend != nullptr && !lease_.alone() && money_left_ > 0 &&
                             Billionths(options_.spend->wanted_usd()) > money_granted_;
    if (next > now && !lacks_money) {
      waits_until_ = options_.spend != nullptr ? std::min(next, now + kMoneyLooks) : next;
      changed_.wait_for(lock, absl::ToChronoMicroseconds(waits_until_ - now));
      waits_until_ = -absl::InfiniteDuration();
      continue;
    }
    std::string note;
    Talk(lease_.Ask(now), &note).IgnoreError();
    if (note.empty() || !options_.note) continue;
    lock.unlock();
    options_.note(note);
    lock.lock();
  }
  std::string note;
  if (!lease_.alone()) Talk(lease_.Leave(MonotonicNow()), &note).IgnoreError();
}

}  // namespace reembed
