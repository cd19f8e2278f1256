// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_WORKER_QUOTA_H_
#define REEMBED_IO_SHARE_WORKER_QUOTA_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/mutex.h"
#include "engine/pace/quota_lease.h"
#include "engine/pace/shared_quota.h"
#include "engine/pace/spend_cap.h"
#include "io/share/quota_server.h"
#include "io/share/share_address.h"

namespace reembed {

struct WorkerQuotaOptions {
  ShareAddress address;
  RateLimit limit;  // as the user has it; nothing: what the provider's replies name
  // The money of all accounts at this address; null: it is not counted there. Borrowed.
  SpendCap* spend = nullptr;
  std::string account;  // that no other job has
  // Gets a line when the server goes away, and when it is back. On any thread; calls nothing of this.
  std::function<void(const std::string&)> note;
};

// This process's part of a quota that all workers share (QuotaLease), and the thread that asks the server for it. What
// is asked by a RateLimiter never waits for that thread.
class WorkerQuota final : public SharedQuota {
 public:
  // Asks once, so that what is wrong is known before anything is bought. Blocks. Errors: as QuotaServer::Ask.
  static absl::StatusOr<std::unique_ptr<WorkerQuota>> Start(WorkerQuotaOptions options);
  // Gives back what is left, if the server answers soon.
  ~WorkerQuota() override;

  Moment TryStart(int64_t tokens, Moment now) override;
  Moment NextStart(int64_t tokens, Moment now) const override;
  void Tell(const QuotaNews& news, Moment now) override;
  RateLimit limit() const override;

  int workers() const;  // that were seen last, this one included

 private:
  explicit WorkerQuota(WorkerQuotaOptions options);

  void Work();
  // One ask and its answer, with the lock let go meanwhile. What there is to say goes to *note.
  absl::Status Talk(QuotaAsk ask, std::string* note) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddMoney(QuotaAsk* ask);
  void TakeMoney(const QuotaGrant& grant);

  const WorkerQuotaOptions options_;
  QuotaServer server_;         // the thread's own, once it runs
  int64_t money_left_ = 0;     // likewise: that nobody had asked for
  int64_t money_granted_ = 0;  // likewise
  double spent_before_ = 0;    // likewise: at the last ask
  int workers_before_ = 1;     // likewise

  mutable Mutex mutex_;
  QuotaLease lease_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Moment waits_until_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();  // the thread does
  std::condition_variable_any changed_;
  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_WORKER_QUOTA_H_
