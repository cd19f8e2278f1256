// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_LEASE_H_
#define REEMBED_IO_STORE_LEASE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/target_lock.h"

// Locks of stores that know no connection which ends with its process: a lease that runs out unless it is renewed.
namespace reembed {

inline constexpr absl::Duration kLeaseTime = absl::Seconds(30);

// What tells this process from all others, those with its number on a host of its name among them. It is in the texts
// of all owners of leases that this process makes.
const std::string& LeaseToken();

// What a store keeps of one lease: of one owner, or one for each worker of a job that shares it. Of those, each has a
// time of its own, none is in another's way, and all together are in the way of everybody else. Used by one thread at
// a time.
class LeaseStore {
 public:
  struct Taken {
    bool is_ours = false;
    // Who has it, where it is not ours, by the longest time; who had it last and has not given it back, if anybody. No
    // worker of the own job.
    std::string owner;
    absl::Duration time_left;  // of theirs
  };

  virtual ~LeaseStore() = default;

  // Takes it for kLeaseTime, in one step, if nobody has it, `owner` has it, or its time is up. `owner`: no two
  // processes have the same. `from`: whose lease may be taken although its time is not up; empty: nobody's. A worker
  // leaves what it finds of other jobs, so that all who come later find it, too.
  virtual absl::StatusOr<Taken> Take(absl::string_view owner, absl::string_view from) = 0;

  // kLeaseTime from now on. False: its time is up, it is not `owner`'s any more, or is an older one of it, as the store
  // has forgotten what came since. Does not wait for a store that is away: the thread that renews must end in time with
  // the command.
  virtual absl::StatusOr<bool> Renew(absl::string_view owner) = 0;

  // Gives it back, if it is `owner`'s, and when nobody else has it leaves no trace of it. Likewise.
  virtual absl::Status GiveBack(absl::string_view owner) = 0;
};

// Takes the lease and renews it from a thread of its own until it is destroyed. Somebody else's that is not renewed is
// waited for until its time is up; `asker.job`'s own is taken at once, as whoever held it is dead: the job's directory
// has one owner. `place`: the column, for messages. Errors: kAborted (another job has it, and renews it; the message
// says who); those of `store`.
absl::StatusOr<std::unique_ptr<TargetLock>> TakeLease(std::string place, const LockAsker& asker,
                                                      std::unique_ptr<LeaseStore> store);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_LEASE_H_
