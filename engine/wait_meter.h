// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_WAIT_METER_H_
#define REEMBED_ENGINE_WAIT_METER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/mutex.h"

namespace reembed {

// What a run can wait for.
enum class WaitPart {
  kSource,     // the next rows
  kApi,        // the answers of the embedder
  kQuota,      // the moment when the quota lets a request leave
  kProcessor,  // replies are being decoded
  kDisk,       // of the job: its vectors and its ledger are made durable
  kTarget,     // a target takes rows
};

struct WaitedFor {
  WaitPart part = WaitPart::kApi;
  std::string target;  // its name, of kTarget only
  friend bool operator==(const WaitedFor&, const WaitedFor&) = default;
};

// Where the batches of a run are at one moment. Only those count that somebody is at work on, or will be as soon as he
// has done what is before them: not a batch that waits for its turn, or for the text of another one.
struct BatchCounts {
  int source = 0;
  int api = 0;
  bool quota = false;  // what is at the API waits for the quota
  int processor = 0;
  int disk = 0;
  std::vector<int> targets;  // each with those that it has not taken
};

struct WaitShare {
  WaitedFor what;
  int64_t looks = 0;  // that found the run waiting for it
  int64_t of = 0;     // looks in all
  double share = 0;
};

// What a run has waited for, by looks at even times. A time in which nobody looked, as the process stood still, does
// not count. Thread-safe.
class WaitMeter {
 public:
  // A look found this; nullopt: nothing is under way.
  void Note(const std::optional<WaitedFor>& found);

  // Of the whole run, the largest first.
  std::vector<WaitShare> Shares() const;

  // Likewise; looks count the less the older they are, as if only some kRecentLooks had been made.
  std::vector<WaitShare> RecentShares() const;

  static constexpr double kRecentLooks = 500;

 private:
  struct Entry {
    WaitedFor what;
    int64_t looks = 0;
    double recent = 0;
  };
  std::vector<WaitShare> Sorted(bool recent) const;

  mutable Mutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  int64_t looks_ ABSL_GUARDED_BY(mutex_) = 0;
  double recent_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What most batches are held up by. In a closed round they gather before whoever is slower than all others. `names` of
// the targets.
std::optional<WaitedFor> SlowestOf(const BatchCounts& counts, const std::vector<std::string>& names);

// Adds what another run has waited for.
void Add(const std::vector<WaitShare>& from, std::vector<WaitShare>* to);

}  // namespace reembed

#endif  // REEMBED_ENGINE_WAIT_METER_H_
