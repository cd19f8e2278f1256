// SPDX-License-Identifier: Apache-2.0
// Answers of servers that speak RESP, whole and cut anywhere.
#include <hiredis/hiredis.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "io/net/resp_client.h"
#include "io/net/resp_limits.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

void Print(RespValue value, std::string* out) {
  if (out->size() > 100'000) return;  // one answer may say the same very often
  absl::StrAppend(out, value.IsNull(), value.IsError(), value.IsInteger(), " ", value.Integer(), " ", value.Text());
  if (!value.IsArray()) return;
  absl::StrAppend(out, "[", value.size());
  for (size_t i = 0; i < value.size(); ++i) Print(value[i], out);
  Require(value[value.size()].IsNull(), "behind the end there is a null");
  absl::StrAppend(out, "]");
}

// All answers in `bytes`, and how it ended.
std::string ReadAnswers(absl::string_view bytes, bool cut) {
  redisReplyObjectFunctions functions;
  const std::unique_ptr<redisReader, void (*)(redisReader*)> reader(redisReaderCreate(), &redisReaderFree);
  LimitArrays(reader.get(), &functions);
  std::string out;
  Pieces pieces(bytes);
  for (absl::string_view piece = cut ? pieces.Next() : bytes; !piece.empty();
       piece = cut ? pieces.Next() : absl::string_view()) {
    redisReaderFeed(reader.get(), piece.data(), piece.size());
    while (true) {
      void* raw = nullptr;
      if (redisReaderGetReply(reader.get(), &raw) != REDIS_OK) return out + " refused";
      if (raw == nullptr) break;
      RespReply reply(static_cast<redisReply*>(raw));
      Print(reply.value(), &out);
    }
    if (AwaitsTooMuch(*reader)) return out + " refused";
  }
  return out + " end";
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed::fuzz;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = ReadAnswers(bytes, false);
  Saw(whole.substr(0, 20));
  Require(ReadAnswers(bytes, true) == whole, "where an answer is cut makes no difference");
  return 0;
}
