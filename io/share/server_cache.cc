// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/status_macros.h"
#include "io/net/resp_client.h"
#include "io/share/vector_cache.h"

namespace reembed {
namespace {

// KEYS: of values. ARGV: worker, milliseconds. Answers for each a value, or 1: it is ours, or 0: it is another one's. A
// server whose memory is full takes no claims; then all buy.
constexpr char kLook[] = R"lua(
local out = {}
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value then
    out[i] = value
  else
    local claimed = redis.pcall('SET', key .. ':claim', ARGV[1], 'NX', 'PX', ARGV[2])
    out[i] = claimed and 1 or 0
  end
end
return out
)lua";

// KEYS: of values. ARGV: worker, milliseconds, the values.
constexpr char kPut[] = R"lua(
local failed
for i, key in ipairs(KEYS) do
  if #ARGV[i + 2] > 0 then
    local put = redis.pcall('SET', key, ARGV[i + 2], 'PX', ARGV[2])
    if type(put) == 'table' and put.err then failed = put.err end
  end
  if redis.call('GET', key .. ':claim') == ARGV[1] then redis.call('DEL', key .. ':claim') end
end
if failed then return redis.error_reply(failed) end
return 1
)lua";

// KEYS: of a value. ARGV: the value, milliseconds.
constexpr char kPutOnce[] = R"lua(
local value = redis.call('GET', KEYS[1])
if value then return value end
if #ARGV[1] > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return ARGV[1]
)lua";

// KEYS: of a value. ARGV: worker, milliseconds. Whether anything can be written here: a server whose memory is full is
// none to refuse.
constexpr char kTryToWrite[] = R"lua(
local written = redis.pcall('SET', KEYS[1] .. ':claim', ARGV[1], 'PX', ARGV[2])
if type(written) == 'table' and written.err and not string.find(written.err, 'OOM', 1, true) then
  return redis.error_reply(written.err)
end
return 1
)lua";

constexpr absl::Duration kKept = absl::Hours(24 * 90);

std::string Milliseconds(absl::Duration time) { return absl::StrCat(absl::ToInt64Milliseconds(time)); }

class ServerCache final : public VectorCache {
 public:
  explicit ServerCache(ShareAddress address)
      : address_(std::move(address)),
        prefix_(absl::StrCat("reembed:cache:{", address_.key, "}:")),
        worker_(absl::StrFormat("%016x%016x", std::random_device{}() * uint64_t{1} << 32 | std::random_device{}(),
                                static_cast<uint64_t>(getpid()))) {}

  absl::Status Connect() {
    ABSL_ASSIGN_OR_RETURN(client_, RespClient::Connect(address_.server, absl::ZeroDuration()));
    return absl::OkStatus();
  }

  const std::string& name() const override { return address_.name; }

  // Whether the server runs scripts and takes what is written.
  absl::Status Check() { return Run(kTryToWrite, {CacheKey(32, '\0')}, {worker_, "1"}).status(); }

  absl::Status Look(absl::Span<const CacheKey> keys, std::vector<CacheLook>* looks) override {
    looks->clear();
    ABSL_ASSIGN_OR_RETURN(const RespReply reply, Run(kLook, keys, {worker_, Milliseconds(kCacheClaim)}));
    const RespValue values = reply.value();
    if (values.size() != keys.size()) {
      return absl::FailedPreconditionError(absl::StrCat(address_.name, ": expected ", keys.size(), " answers, got ",
                                                        values.size(), "; is this a Valkey server?"));
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      looks->push_back(
          {.value = std::string(values[i].Text()), .others_buy = values[i].IsInteger() && values[i].Integer() == 0});
    }
    return absl::OkStatus();
  }

  absl::Status Put(absl::Span<const CacheKey> keys, absl::Span<const std::string> values) override {
    std::vector<std::string> arguments = {worker_, Milliseconds(kKept)};
    arguments.insert(arguments.end(), values.begin(), values.end());
    return Run(kPut, keys, arguments).status();
  }

  absl::StatusOr<std::string> PutOnce(const CacheKey& key, absl::string_view value) override {
    ABSL_ASSIGN_OR_RETURN(const RespReply reply, Run(kPutOnce, {key}, {std::string(value), Milliseconds(kKept)}));
    return std::string(reply.value().Text());
  }

 private:
  absl::StatusOr<RespReply> Run(absl::string_view script, absl::Span<const CacheKey> keys,
                                const std::vector<std::string>& arguments) {
    if (client_ == nullptr) ABSL_RETURN_IF_ERROR(Connect());
    const std::string count = absl::StrCat(keys.size());
    std::vector<std::string> names;
    for (const CacheKey& key : keys) names.push_back(prefix_ + key);
    std::vector<absl::string_view> words = {"EVAL", script, count};
    words.insert(words.end(), names.begin(), names.end());
    words.insert(words.end(), arguments.begin(), arguments.end());
    absl::StatusOr<RespReply> reply = client_->Call(words);
    // What still comes would be taken for the next answer; and behind the address there may be another server by now,
    // while this one is a replica and takes nothing any more. One that is full stays.
    if (!reply.ok() && !absl::IsResourceExhausted(reply.status())) client_.reset();
    return reply;
  }

  const ShareAddress address_;
  const std::string prefix_;
  const std::string worker_;
  std::unique_ptr<RespClient> client_;  // null: not connected
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorCache>> OpenServerCache(ShareAddress address) {
  auto cache = std::make_unique<ServerCache>(std::move(address));
  const absl::Status connected = cache->Connect();
  if (absl::IsInvalidArgument(connected)) return absl::FailedPreconditionError(connected.message());  // its settings
  ABSL_RETURN_IF_ERROR(connected);
  // Known before anything is bought.
  ABSL_RETURN_IF_ERROR(cache->Check());
  return cache;
}

}  // namespace reembed
