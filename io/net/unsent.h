// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_UNSENT_H_
#define REEMBED_IO_NET_UNSENT_H_

#include "absl/status/status.h"

namespace reembed {

// Whether the request that HttpLoop answered so has not got as far as the server: there was no connection, or
// no time to send it.
bool NothingWasSent(const absl::Status& status);

// `status`, an error, such that NothingWasSent() of it, and as it was in all else.
absl::Status Unsent(absl::Status status);

}  // namespace reembed

#endif  // REEMBED_IO_NET_UNSENT_H_
