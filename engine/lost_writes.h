// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_LOST_WRITES_H_
#define REEMBED_ENGINE_LOST_WRITES_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Servers that forget: one that was restarted from an older snapshot, or whose place another has taken, may not have
// what was acknowledged.
namespace reembed {

// What Write(), Flush(), Complete() or Publish() of a sink answers when its target is there, but may have lost what was
// written since the position that the ledger has. The sink is of no use any more; a new one is opened, says in Open()
// from where it must be served, and gets those rows again from the job's own vectors. Code: kUnavailable.
absl::Status LostWritesError(absl::string_view message);

// Whether it is that. Also of a copy that was given other words, as long as it keeps the payloads.
bool AreWritesLost(const absl::Status& status);

}  // namespace reembed

#endif  // REEMBED_ENGINE_LOST_WRITES_H_
