// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_OWN_TROUBLE_H_
#define REEMBED_IO_EMBED_OWN_TROUBLE_H_

#include "absl/status/status.h"

namespace reembed {

// `status`, an error with which a Send() ends, marked: the endpoint has no part in it, and no other one helps. Such is
// a ledger that cannot be written.
absl::Status OwnTrouble(absl::Status status);

// Whether it is marked so. Survives copies, not a new message.
bool IsOwnTrouble(const absl::Status& status);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_OWN_TROUBLE_H_
