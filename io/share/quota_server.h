// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_QUOTA_SERVER_H_
#define REEMBED_IO_SHARE_QUOTA_SERVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/pace/quota_book.h"
#include "io/net/resp_client.h"
#include "io/share/share_address.h"

namespace reembed {

// A QuotaBook on a Valkey or Redis server: one script, which the server runs as a whole, on its own clock. Blocks; used
// by one thread at a time.
class QuotaServer {
 public:
  explicit QuotaServer(ShareAddress address);

  // Connects where it is not connected. `clock`: microseconds in place of the server's own clock, for tests.
  // Errors: as RespClient; kFailedPrecondition (no scripts there, or something else has the key).
  absl::StatusOr<QuotaGrant> Ask(const QuotaAsk& ask, std::optional<int64_t> clock = std::nullopt);

 private:
  absl::StatusOr<RespReply> Run(const QuotaAsk& ask, std::optional<int64_t> clock);

  const ShareAddress address_;
  const std::string state_, workers_, money_;  // keys
  std::string script_id_;                      // empty: not loaded
  std::unique_ptr<RespClient> client_;         // null: not connected
};

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_QUOTA_SERVER_H_
