// SPDX-License-Identifier: Apache-2.0
#include "io/store/lease.h"

#include <condition_variable>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "io/job/lock_owner.h"

namespace reembed {
namespace {

// What clocks and answers may take of a lease's time.
constexpr absl::Duration kMargin = absl::Seconds(3);
constexpr absl::Duration kPoll = absl::Milliseconds(500);

std::string RandomText() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8));
}

// A worker of a job that shares its lease, or the job. No two are the same, also of one process.
std::string OwnerText(const LockAsker& asker) {
  const std::string job = asker.shared ? absl::StrCat(asker.job, ", ", asker.worker) : asker.job;
  return absl::StrCat(LockOwnerText(ThisProcess(job)), LeaseToken(), " ", RandomText(), "\n");
}

LockOwner OwnerIn(absl::string_view text) {
  const absl::StatusOr<LockOwner> owner = ParsePlaceOwner(text);
  return owner.ok() ? *owner : LockOwner();
}

class LeaseLock final : public TargetLock {
 public:
  LeaseLock(std::string place, const LockAsker& asker, std::unique_ptr<LeaseStore> store)
      : place_(std::move(place)), text_(OwnerText(asker)), self_(OwnerIn(text_)), store_(std::move(store)) {}

  ~LeaseLock() override {
    {
      MutexLock lock(&mutex_);
      closing_ = true;
      wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
    MutexLock lock(&mutex_);
    // If it fails the lease runs out by itself.
    if (held_until_ > -absl::InfiniteDuration()) store_->GiveBack(text_).IgnoreError();
  }

  // Waits for a lease that nobody renews.
  absl::Status Begin(const LockAsker& asker) {
    LeaseStore::Taken taken;
    absl::Duration before = absl::InfiniteDuration();
    std::string from, waits_for;
    while (true) {
      {
        MutexLock lock(&mutex_);
        ABSL_ASSIGN_OR_RETURN(taken, Take(from));
      }
      if (taken.is_ours) break;
      if (OwnerIn(taken.owner).job == self_.job && from != taken.owner) {
        from = taken.owner;
        continue;
      }
      const bool renewed = taken.time_left > before;
      if (renewed || (!waits_for.empty() && waits_for != taken.owner)) return TakenBy(taken.owner);
      if (waits_for.empty()) {
        asker.note(absl::StrCat(place_, ": ", OwnerWords(OwnerIn(taken.owner)),
                                " has it, or has died; waits until that is known, at most ",
                                absl::FormatDuration(absl::Ceil(taken.time_left, absl::Seconds(1)))));
      }
      waits_for = taken.owner;
      before = taken.time_left;
      absl::SleepFor(kPoll);
    }
    thread_ = std::thread([this] { RenewInTime(); });
    return absl::OkStatus();
  }

  absl::Status EnsureHeld() override {
    MutexLock lock(&mutex_);
    if (MonotonicNow() < held_until_) return absl::OkStatus();
    broken_ = true;
    ABSL_ASSIGN_OR_RETURN(const LeaseStore::Taken taken, Take(""));
    return taken.is_ours ? absl::OkStatus() : TakenBy(taken.owner);
  }

  // The store is asked: one that has forgotten may not have said so yet.
  bool unbroken() const override {
    MutexLock lock(&mutex_);
    if (broken_) return false;
    const absl::StatusOr<bool> renewed = store_->Renew(text_);
    return renewed.ok() && *renewed;
  }

 private:
  absl::StatusOr<LeaseStore::Taken> Take(absl::string_view from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Moment asked = MonotonicNow();
    ABSL_ASSIGN_OR_RETURN(LeaseStore::Taken taken, store_->Take(text_, from));
    if (!taken.is_ours) return taken;
    held_until_ = asked + kLeaseTime - kMargin;
    // It may only be slow, and write once more.
    const bool may_live = !taken.owner.empty() && taken.owner != text_ && OwnerIn(taken.owner).job != self_.job;
    broken_ = broken_ || may_live;
    return taken;
  }

  absl::Status TakenBy(absl::string_view text) const { return BeingWrittenError(place_, OwnerIn(text)); }

  void RenewInTime() {
    MutexLock lock(&mutex_);
    while (!closing_) {
      wake_.wait_for(lock, absl::ToChronoMilliseconds(kLeaseTime / 3));
      if (closing_) return;
      const Moment asked = MonotonicNow();
      const absl::StatusOr<bool> renewed = store_->Renew(text_);
      // Where nobody answers it may still be ours. EnsureHeld() finds out before anything is written.
      if (renewed.ok()) held_until_ = *renewed ? asked + kLeaseTime - kMargin : absl::ZeroDuration();
    }
  }

  const std::string place_;
  const std::string text_;
  const LockOwner self_;
  const std::unique_ptr<LeaseStore> store_ ABSL_PT_GUARDED_BY(mutex_);

  mutable Mutex mutex_;
  std::condition_variable_any wake_;
  Moment held_until_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();  // minus infinity: never had
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

const std::string& LeaseToken() {
  static const std::string token = RandomText();
  return token;
}

absl::StatusOr<std::unique_ptr<TargetLock>> TakeLease(std::string place, const LockAsker& asker,
                                                      std::unique_ptr<LeaseStore> store) {
  auto lock = std::make_unique<LeaseLock>(std::move(place), asker, std::move(store));
  ABSL_RETURN_IF_ERROR(lock->Begin(asker));
  return lock;
}

}  // namespace reembed
