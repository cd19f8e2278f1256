// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_LISTEN_ADDRESS_H_
#define REEMBED_TOOLS_LIVE_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

struct ListenAddress {
  std::string address = "127.0.0.1";  // as numbers
  int port = 0;                       // 0: any free one
};

// "127.0.0.1:9464", "[::1]:9464", "9464" or ":9464" (this machine alone), "on" (likewise, any free port).
// Errors: kInvalidArgument (names the flag).
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view flag, absl::string_view text);

// "127.0.0.1:9464", as a URL has it.
std::string HostAndPort(const std::string& address, int port);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_LISTEN_ADDRESS_H_
