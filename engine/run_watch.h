// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RUN_WATCH_H_
#define REEMBED_ENGINE_RUN_WATCH_H_

#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "engine/embedding_client.h"
#include "engine/ledger.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/run_control.h"
#include "engine/pace/spend_cap.h"
#include "engine/recent_pace.h"
#include "engine/run_counters.h"
#include "engine/run_snapshot.h"
#include "engine/time_left.h"

namespace reembed {

// What a run has before it.
struct RunScope {
  int64_t rows = -1;          // that it comes to, whether they get a vector or are rejected; < 0: not known
  int64_t rows_before = 0;    // of the job, done before and not among these
  int64_t rows_bought = 0;    // of `rows`: bought before, so that they are only written
  int texts_per_request = 0;  // at most; 0: not known
};

// A quota is kept by short waits, of which nobody wants to hear: those from here on hold a run up.
inline constexpr absl::Duration kShownQuotaWait = absl::Seconds(1);

// Rows a second that the quota allows, as far as it is known; 0: it is not. `rows` are those that `client` was asked
// for and that are done; `texts_per_request` is how many a full request has, which counts until requests have told.
double RowsPerSecondOfQuota(const ClientStats& client, int64_t rows, int texts_per_request);

// Watches a run: the one place where a RunSnapshot is made. Thread-safe.
class RunWatch {
 public:
  // All are borrowed and outlive the watch.
  struct Parts {
    const RunCounters* counters = nullptr;
    const EmbeddingClient* client = nullptr;
    std::function<std::vector<EndpointReport>()> endpoints;  // null: nothing is known of them
    const RowLedger* ledger = nullptr;                       // null: `now.rows` stays what it was before
    const SpendCap* cap = nullptr;                           // null: nobody counts money
    std::optional<double> max_spend_usd;
    const RunControl* control = nullptr;  // null: nobody pauses it
    double usd_per_token = 0;
    RunScope scope;
    // What is known when the run begins: of the job (`before`), and what belongs to the run already (`client` of the
    // probe, rows_changed, texts_damaged).
    RunSnapshot begun;
  };

  explicit RunWatch(Parts parts, std::function<Moment()> clock = MonotonicNow);
  RunWatch(const RunWatch&) = delete;
  RunWatch& operator=(const RunWatch&) = delete;

  // As it is now. The more often this is called, the better it knows how long the run still takes.
  RunSnapshot Take();
  // Likewise, of a run whose parts may stand still in a disk or with a lock: nobody is asked who would wait for that.
  // The money of all runs and the rows of the job are as they were when Take() was called last.
  RunSnapshot TakeAtOnce();

  // So many more rows had changed; the source is gone through once more.
  void NoteChanged(int64_t rows) { rows_changed_ += rows; }
  void NotePass() { ++passes_; }

 private:
  void SayTimeLeft(Moment now, const ClientStats& client, RunSnapshot* snapshot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Parts parts_;
  const std::function<Moment()> clock_;
  const Moment start_;
  std::atomic<int64_t> rows_changed_{0};
  std::atomic<int> passes_{0};
  std::atomic<int64_t> rows_{0};      // of the job
  std::atomic<double> spent_usd_{0};  // by all runs
  Mutex mutex_;
  std::optional<TimeLeft> time_left_ ABSL_GUARDED_BY(mutex_);
  RecentPace recent_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RUN_WATCH_H_
