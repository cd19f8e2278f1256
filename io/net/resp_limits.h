// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_RESP_LIMITS_H_
#define REEMBED_IO_NET_RESP_LIMITS_H_

#include <cstddef>

struct redisReader;
struct redisReplyObjectFunctions;

// Bounds what a hiredis reader makes and waits for: lengths are what the server says.
namespace reembed {

// What is asked for comes in pages far below this.
inline constexpr size_t kMaxRespReplyBytes = size_t{1} << 30;

// From now on an array that is too long is an error of the reader (REDIS_ERR_OOM). Precondition: the reader is
// new, and *functions, which is filled, outlives it.
void LimitArrays(redisReader* reader, redisReplyObjectFunctions* functions);

// Whether the reader waits for a string that is too long.
bool AwaitsTooMuch(const redisReader& reader);

}  // namespace reembed

#endif  // REEMBED_IO_NET_RESP_LIMITS_H_
