// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_lock.h"

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/lock_owner.h"
#include "io/net/resp_client.h"
#include "io/store/falkordb/falkordb_backup.h"
#include "io/store/lease.h"

namespace reembed {
namespace {

// KEYS of all: the lease; who has had it without giving it back; the workers of jobs that share it, as a hash whose
// fields are job and worker, and whose values are the moment at which its time is up (the server's, in milliseconds)
// and the owner. The latter two do not run out: an owner that only was slow may write once more, and whoever comes
// after it has to know.

// rest(value): the owner's milliseconds that are left, below 0 when its time is up; and the owner.
// clear(): removes what tells of former owners, if nobody has the lease.
constexpr char kFunctions[] =
    "local time = redis.call('TIME') "
    "local now = time[1] * 1000 + math.floor(time[2] / 1000) "
    "local function rest(value) "
    "  local ends, owner = string.match(value, '^(%d+) (.*)$') "
    "  return ends - now, owner "
    "end "
    "local function ending(milliseconds) return string.format('%.0f ', now + milliseconds) end "
    "local function clear() "
    "  if redis.call('EXISTS', KEYS[1]) == 1 then return end "
    "  for _, value in ipairs(redis.call('HVALS', KEYS[3])) do if rest(value) > 0 then return end end "
    "  redis.call('DEL', KEYS[2], KEYS[3]) "
    "end ";
// ARGV: owner, from, milliseconds, what the fields of the job's workers begin with, and its own (both
// empty: the owner shares with nobody). Answers 1 or 0, the owner
// as LeaseStore::Taken has it, milliseconds left.
constexpr char kTake[] =
    "local shared = ARGV[4] ~= '' "
    "local left, other = 0, '' "
    "local all = redis.call('HGETALL', KEYS[3]) "
    "for i = 1, #all, 2 do "
    "  if not shared or string.sub(all[i], 1, #ARGV[4]) ~= ARGV[4] then "
    "    local r, who = rest(all[i + 1]) "
    "    if other == '' or r > left then left, other = r, who end "
    "  end "
    "end "
    "if left > 0 then return {0, other, left} end "
    "local v = redis.call('GET', KEYS[1]) "
    "if v and (shared or v ~= ARGV[1] and v ~= ARGV[2]) then return {0, v, redis.call('PTTL', KEYS[1])} end "
    "local last = other ~= '' and other or redis.call('GET', KEYS[2]) or '' "
    "if shared then redis.call('HSET', KEYS[3], ARGV[5], ending(ARGV[3]) .. ARGV[1]) "
    "else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) redis.call('SET', KEYS[2], ARGV[1]) end "
    "return {1, last, 0}";
// ARGV: owner, milliseconds.
constexpr char kRenew[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2])";
constexpr char kGiveBack[] =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end "
    "if redis.call('GET', KEYS[2]) == ARGV[1] then clear() end "
    "return 1";
// ARGV: owner, milliseconds, the field.
constexpr char kRenewShared[] =
    "local value = redis.call('HGET', KEYS[3], ARGV[3]) "
    "if not value then return 0 end "
    "local left, owner = rest(value) "
    "if owner ~= ARGV[1] or left <= 0 then return 0 end "
    "redis.call('HSET', KEYS[3], ARGV[3], ending(ARGV[2]) .. owner) "
    "return 1";
constexpr char kGiveBackShared[] =
    "local value = redis.call('HGET', KEYS[3], ARGV[3]) "
    "if not value or select(2, rest(value)) ~= ARGV[1] then return 0 end "
    "redis.call('HDEL', KEYS[3], ARGV[3]) "
    "clear() "
    "return 1";
// Whose time is not up, by the hash of the workers as KEYS[3]; nothing: none is there.
constexpr char kAnyShared[] =
    "for _, value in ipairs(redis.call('HVALS', KEYS[3])) do "
    "  local left, owner = rest(value) "
    "  if left > 0 then return owner end "
    "end "
    "return false";

constexpr absl::string_view kWorkers = ":workers";

constexpr absl::Duration kLittlePatience = absl::Seconds(1);

std::string Script(const char* script) { return absl::StrCat(kFunctions, script); }

class FalkorLease final : public LeaseStore {
 public:
  // `key`: of the lease.
  FalkorLease(std::unique_ptr<RespClient> client, std::unique_ptr<RespClient> impatient, std::string key,
              const LockAsker& asker)
      : client_(std::move(client)),
        impatient_(std::move(impatient)),
        key_(std::move(key)),
        last_(key_ + ":last"),
        workers_(absl::StrCat(key_, kWorkers)),
        group_(asker.shared ? absl::StrCat(asker.job, "\n") : ""),
        field_(asker.shared ? group_ + asker.worker : ""),
        time_(absl::StrCat(absl::ToInt64Milliseconds(kLeaseTime))) {}

  absl::StatusOr<Taken> Take(absl::string_view owner, absl::string_view from) override {
    Taken taken;
    ABSL_RETURN_IF_ERROR(client_->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const RespReply reply, Run(client_.get(), kTake, {owner, from, time_, group_, field_}));
      taken = {.is_ours = reply.value()[0].Integer() == 1,
               .owner = std::string(reply.value()[1].Text()),
               .time_left = absl::Milliseconds(reply.value()[2].Integer())};
      return absl::OkStatus();
    }));
    return taken;
  }

  absl::StatusOr<bool> Renew(absl::string_view owner) override {
    bool renewed = false;
    ABSL_RETURN_IF_ERROR(impatient_->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const RespReply reply,
                            Run(impatient_.get(), group_.empty() ? kRenew : kRenewShared, {owner, time_, field_}));
      renewed = reply.value().Integer() == 1;
      return absl::OkStatus();
    }));
    return renewed;
  }

  absl::Status GiveBack(absl::string_view owner) override {
    return impatient_->Persist([&] {
      return Run(impatient_.get(), group_.empty() ? kGiveBack : kGiveBackShared, {owner, time_, field_}).status();
    });
  }

 private:
  absl::StatusOr<RespReply> Run(RespClient* client, const char* script,
                                std::initializer_list<absl::string_view> arguments) const {
    const std::string whole = Script(script);
    std::vector<absl::string_view> words = {"EVAL", whole, "3", key_, last_, workers_};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return client->Call(words);
  }

  const std::unique_ptr<RespClient> client_, impatient_;
  const std::string key_, last_, workers_;
  const std::string group_, field_;  // of the workers, and of this one; empty: shared with nobody
  const std::string time_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TargetLock>> LockFalkorProperty(const Location& target, const LockAsker& asker,
                                                               const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation asked, ParseFalkorLocation(target, options));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<RespClient> client, RespClient::Connect(asked.address, options.patience));
  if (absl::IsPermissionDenied(client->Call({"EVAL", "return 1", "0"}).status())) return nullptr;
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<RespClient> impatient, RespClient::Connect(asked.address, kLittlePatience));
  // In braces, so that a cluster has both keys in one place.
  std::string key = absl::StrCat("reembed:lock:{", asked.graph, ":", asked.label, ":", asked.vector, "}");
  return TakeLease(absl::StrCat(asked.address.name, "/", asked.graph, ": ", asked.label, ".", asked.vector), asker,
                   std::make_unique<FalkorLease>(std::move(client), std::move(impatient), std::move(key), asker));
}

absl::StatusOr<std::unique_ptr<TargetLock>> LockFalkorGraph(const Location& place, const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation asked, ParseFalkorGraph(place, options));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<RespClient> client, RespClient::Connect(asked.address, options.patience));
  const std::string prefix = absl::StrCat("reembed:lock:{", asked.graph, ":");
  std::string cursor = "0";
  do {
    const absl::StatusOr<RespReply> page = client->Call({"SCAN", cursor, "MATCH", "reembed:lock:*", "COUNT", "1000"});
    if (absl::IsPermissionDenied(page.status())) return nullptr;
    ABSL_RETURN_IF_ERROR(page.status());
    cursor = std::string(page->value()[0].Text());
    const RespValue keys = page->value()[1];
    for (size_t i = 0; i < keys.size(); ++i) {
      const absl::string_view key = keys[i].Text();
      if (!absl::StartsWith(key, prefix)) continue;
      const bool shared = absl::EndsWith(key, absl::StrCat("}", kWorkers));
      if (!shared && !absl::EndsWith(key, "}")) continue;
      ABSL_ASSIGN_OR_RETURN(const RespReply held, shared
                                                      ? client->Call({"EVAL", Script(kAnyShared), "3", key, key, key})
                                                      : client->Call({"GET", key}));
      if (held.value().IsNull()) continue;  // its time is up
      const absl::StatusOr<LockOwner> owner = ParsePlaceOwner(held.value().Text());
      return BeingWrittenError(absl::StrCat(asked.address.name, "/", asked.graph), owner.ok() ? *owner : LockOwner());
    }
  } while (cursor != "0" && !cursor.empty());
  return nullptr;
}

}  // namespace reembed
