// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_SHARE_ADDRESS_H_
#define REEMBED_IO_SHARE_SHARE_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/net/resp_client.h"

namespace reembed {

// The variables that may hold the password of a server that workers share something on; the first that is set counts.
inline constexpr const char* kSharePasswordVariables[] = {"REDIS_PASSWORD", "REDISCLI_AUTH"};

// Where workers share something: a Valkey or Redis server, and the name of it there.
struct ShareAddress {
  RespAddress server;
  std::string key;
  std::string name;  // for messages: redis://user@host:port/key
};

// Whether it is the address of a server: redis:// or rediss://, which is over TLS.
bool IsShareAddress(absl::string_view uri);

// redis://[user@]host[:port]/key[?db=N&ca=PATH]. `flag`: for messages, as --quota. Errors: kInvalidArgument.
absl::StatusOr<ShareAddress> ParseShareAddress(absl::string_view flag, absl::string_view uri, std::string password);

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_SHARE_ADDRESS_H_
