// SPDX-License-Identifier: Apache-2.0
#include "io/net/resp_limits.h"

#include <hiredis/hiredis.h>

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace reembed {
namespace {

constexpr int kMaxElements = 1 << 20;                    // of one array
constexpr int64_t kMaxStringBytes = int64_t{512} << 20;  // what servers take at most, too

// As hiredis does, which it remembers in `privdata`; but never for a length that nobody means.
void* MakeArray(const redisReadTask* task, int elements) {
  if (elements > kMaxElements) return nullptr;
  return static_cast<const redisReplyObjectFunctions*>(task->privdata)->createArray(task, elements);
}

}  // namespace

void LimitArrays(redisReader* reader, redisReplyObjectFunctions* functions) {
  reader->privdata = reader->fn;
  *functions = *reader->fn;
  functions->createArray = &MakeArray;
  reader->fn = functions;
}

bool AwaitsTooMuch(const redisReader& reader) {
  // hiredis has taken the type, and keeps the length until all is there.
  if (reader.ridx < 0 || reader.rstack[reader.ridx].type != REDIS_REPLY_STRING) return false;
  const absl::string_view rest(reader.buf + reader.pos, reader.len - reader.pos);
  const size_t end = rest.find('\r');
  int64_t bytes = 0;
  return end != absl::string_view::npos && absl::SimpleAtoi(rest.substr(0, end), &bytes) && bytes > kMaxStringBytes;
}

}  // namespace reembed
