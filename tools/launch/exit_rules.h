// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_EXIT_RULES_H_
#define REEMBED_TOOLS_LAUNCH_EXIT_RULES_H_

#include <string>
#include <vector>

#include "tools/exit_code.h"

// What a scheduler does when a shard has ended; one table for all of them.
namespace reembed {

enum class AfterExit {
  kDone,       // nothing
  kStopped,    // nothing: the scheduler has sent the signal itself, and starts the shard again where it wants that
  kAgain,      // it is started again, at most so many times
  kTimeIsUp,   // it is started again, however often: it came as far as its time went
  kShardEnds,  // to run it again would change nothing: somebody has to look
  kJobEnds,    // the same is wrong for all shards: none is started any more
};

// Of every code, also of those that no table has: whatever is not known is tried again.
AfterExit AfterExitOf(int code);

// The codes that have this, rising; of kAgain those alone that this program ends with itself.
std::vector<int> CodesThat(AfterExit what);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_EXIT_RULES_H_
