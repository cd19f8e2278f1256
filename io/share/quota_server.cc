// SPDX-License-Identifier: Apache-2.0
#include "io/share/quota_server.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// QuotaBook::Ask(), line by line.
// KEYS: the state, when each worker was here last, the money of each account and, as `*`, of all.
// ARGV: as Run() has them. Answers ten whole numbers.
constexpr char kScript[] = R"lua(
local function narrower(a, b)
  if a <= 0 then return b end
  if b <= 0 then return a end
  return math.min(a, b)
end
local a = {}
for i, word in ipairs(ARGV) do a[i] = tonumber(word) end
local now = a[1]
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local s = redis.call('HMGET', KEYS[1], 'seen', 'epoch', 'request_given', 'request_said', 'request_next', 'token_given',
                     'token_said', 'token_next', 'paused_until', 'lowered_to', 'lowered_at', 'request_given_at',
                     'token_given_at')
for i = 1, 13 do s[i] = s[i] and tonumber(s[i]) end
local fresh = not s[1] or not s[11] or now - s[1] >= FORGET or s[1] - now > SMALL_STEP
local silence = FORGET
if fresh then
  s = {now, math.floor(now / 1000), 0, 0, now, 0, 0, now, 0, 1000000, now - BETWEEN_LOWERINGS}
  redis.call('DEL', KEYS[2])
else
  silence = now - s[1]
  now = math.max(now, s[1])
end
-- An older version keeps no such moments.
local request_given_at, token_given_at = s[12] or now, s[13] or now
local epoch, request_next, token_next, paused_until, lowered_to, lowered_at = s[2], s[5], s[8], s[9], s[10], s[11]
if a[14] == 1 and silence > SILENCE then
  request_next = math.max(request_next, now + HOLD)
  token_next = math.max(token_next, now + HOLD)
end

local knows_epoch = a[13] == epoch
local request_before, token_before = narrower(s[3], s[4]), narrower(s[6], s[7])
if now - request_given_at >= FORGET then s[3] = 0 end
if now - token_given_at >= FORGET then s[6] = 0 end
s[3], s[4] = narrower(s[3], a[6]), narrower(s[4], a[8])
s[6], s[7] = narrower(s[6], a[7]), narrower(s[7], a[9])
if a[6] > 0 and a[6] <= s[3] then request_given_at = now end
if a[7] > 0 and a[7] <= s[6] then token_given_at = now end
local requests, tokens = narrower(s[3], s[4]), narrower(s[6], s[7])
local is_narrower = not fresh and ((requests > 0 and (request_before <= 0 or requests < request_before)) or
                                   (tokens > 0 and (token_before <= 0 or tokens < token_before)))
local share = math.min(1000000, lowered_to + math.floor((now - lowered_at) / RISE))
local refusal = a[12] > 0 and knows_epoch
if a[12] > 0 then paused_until = math.max(paused_until, now + a[12]) end
if refusal and now - lowered_at >= BETWEEN_LOWERINGS then
  share = math.max(LEAST_SHARE, math.floor(share * 9 / 10))
  lowered_to = share
  lowered_at = now
end
if is_narrower or refusal then
  epoch = epoch + 1
  request_next = now
  token_next = now
end

local a_request = requests > 0 and 60000000 * 1000000 / (requests * share) or 0
local a_token = tokens > 0 and 60000000 * 1000000 / (tokens * share) or 0
local counts = knows_epoch and not is_narrower and not refusal
if counts then request_next = request_next - math.floor(a[10] * a_request) end
if counts or a[11] < 0 then token_next = token_next - math.floor(a[11] * a_token) end
request_next = math.max(request_next, now - BURST, paused_until)
token_next = math.max(token_next, now - BURST, paused_until)

local granted, granted_tokens = a[3], a[4]
local begin = math.max(now, request_next, token_next)
if begin - now > AHEAD then
  granted = math.min(1, granted)
  granted_tokens = a[5]
end
request_next = request_next + math.ceil(granted * a_request)
token_next = token_next + math.ceil(granted_tokens * a_token)

local function text(number) return string.format('%.17g', number) end
redis.call('HSET', KEYS[1], 'seen', text(now), 'epoch', text(epoch), 'request_given', text(s[3]),
           'request_said', text(s[4]), 'request_next', text(request_next), 'token_given', text(s[6]),
           'token_said', text(s[7]), 'token_next', text(token_next), 'paused_until', text(paused_until),
           'lowered_to', text(lowered_to), 'lowered_at', text(lowered_at), 'request_given_at', text(request_given_at),
           'token_given_at', text(token_given_at))
redis.call('ZADD', KEYS[2], text(now), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now - FORGET))
if a[15] == 1 then
  redis.call('ZREM', KEYS[2], ARGV[2])
  if redis.call('ZCARD', KEYS[2]) == 0 then
    redis.call('HSET', KEYS[1], 'request_given_at', text(now - FORGET), 'token_given_at', text(now - FORGET))
  end
end
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PEXPIRE', KEYS[2], 60000)

local money, left = 0, 0
if ARGV[16] ~= '' then
  local own = tonumber(redis.call('HGET', KEYS[3], ARGV[16]) or 0)
  local others = tonumber(redis.call('HGET', KEYS[3], '*') or 0) - own
  money = math.max(math.min(a[18], a[19] - others), a[17])
  left = math.max(0, a[19] - others - money)
  redis.call('HSET', KEYS[3], ARGV[16], text(money), '*', text(others + money))
  redis.call('PEXPIRE', KEYS[3], 7776000000)
end
return {granted, granted_tokens, begin - now, epoch, math.max(0, paused_until - now), redis.call('ZCARD', KEYS[2]),
        math.floor(requests * share / 1000), math.floor(tokens * share / 1000), money, left}
)lua";
constexpr size_t kAnswers = 10;

std::string ScriptText() {
  return absl::StrFormat(
      "local BURST, AHEAD, FORGET, SILENCE, HOLD, BETWEEN_LOWERINGS, RISE, LEAST_SHARE, SMALL_STEP = %d, %d, %d, %d, "
      "%d, %d, %d, %d, %d\n%s",
      QuotaBook::kBurst, QuotaBook::kAhead, QuotaBook::kForget, QuotaBook::kSilence, QuotaBook::kHold,
      QuotaBook::kBetweenLowerings, QuotaBook::kRise, QuotaBook::kLeastShare, QuotaBook::kSmallStep, kScript);
}

std::string Exact(double number) { return absl::StrFormat("%.17g", number); }

}  // namespace

// In braces, so that a cluster has all keys in one place.
QuotaServer::QuotaServer(ShareAddress address)
    : address_(std::move(address)),
      state_(absl::StrCat("reembed:quota:{", address_.key, "}")),
      workers_(state_ + ":workers"),
      money_(state_ + ":money") {}

absl::StatusOr<QuotaGrant> QuotaServer::Ask(const QuotaAsk& ask, std::optional<int64_t> clock) {
  absl::StatusOr<RespReply> reply = Run(ask, clock);
  if (!reply.ok() && absl::StrContains(reply.status().message(), "NOSCRIPT")) {
    // It has lost its memory.
    script_id_.clear();
    reply = Run(ask, clock);
  }
  if (!reply.ok()) {
    // What came is not what was asked for; the next one begins anew.
    client_.reset();
    if (!absl::IsInvalidArgument(reply.status())) return reply.status();
    return absl::FailedPreconditionError(
        absl::StrCat(reply.status().message(), "; expected a Valkey or Redis server that runs scripts, and keys ",
                     state_, " that nobody else uses"));
  }
  const RespValue value = reply->value();
  if (value.size() != kAnswers) {
    client_.reset();
    return absl::FailedPreconditionError(absl::StrCat(address_.name, ": expected an answer of ", kAnswers,
                                                      " numbers, got ", value.size(), "; is this a Valkey server?"));
  }
  return QuotaGrant{.requests = value[0].Integer(),
                    .tokens = value[1].Integer(),
                    .begin = absl::Microseconds(value[2].Integer()),
                    .epoch = value[3].Integer(),
                    .pause = absl::Microseconds(value[4].Integer()),
                    .workers = static_cast<int>(value[5].Integer()),
                    .limit = {.requests_per_minute = static_cast<double>(value[6].Integer()) / 1000,
                              .tokens_per_minute = static_cast<double>(value[7].Integer()) / 1000},
                    .money = value[8].Integer(),
                    .money_left = value[9].Integer()};
}

absl::StatusOr<RespReply> QuotaServer::Run(const QuotaAsk& ask, std::optional<int64_t> clock) {
  if (client_ == nullptr) {
    script_id_.clear();
    ABSL_ASSIGN_OR_RETURN(client_, RespClient::Connect(address_.server, absl::ZeroDuration()));
  }
  if (script_id_.empty()) {
    ABSL_ASSIGN_OR_RETURN(const RespReply loaded, client_->Call({"SCRIPT", "LOAD", ScriptText()}));
    script_id_ = std::string(loaded.value().Text());
  }
  const std::vector<std::string> arguments = {clock.has_value() ? absl::StrCat(*clock) : "",
                                              ask.worker,
                                              absl::StrCat(ask.requests),
                                              absl::StrCat(ask.tokens),
                                              absl::StrCat(ask.least_tokens),
                                              Exact(ask.given.requests_per_minute),
                                              Exact(ask.given.tokens_per_minute),
                                              Exact(ask.said.requests_per_minute),
                                              Exact(ask.said.tokens_per_minute),
                                              absl::StrCat(ask.requests_back),
                                              absl::StrCat(ask.tokens_back),
                                              absl::StrCat(absl::ToInt64Microseconds(ask.refused)),
                                              absl::StrCat(ask.epoch),
                                              ask.returns ? "1" : "0",
                                              ask.leaves ? "1" : "0",
                                              ask.account,
                                              absl::StrCat(ask.money_spent),
                                              absl::StrCat(ask.money_wanted),
                                              absl::StrCat(ask.money_cap)};
  std::vector<absl::string_view> words = {"EVALSHA", script_id_, "3", state_, workers_, money_};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return client_->Call(words);
}

}  // namespace reembed
