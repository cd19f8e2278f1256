// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_lock.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/lock_owner.h"
#include "io/net/resp_client.h"
#include "io/store/falkordb/falkordb_backup.h"
#include "io/store/lease.h"

namespace reembed {
namespace {

// KEYS: the lease, and who has had it without giving it back. The latter does not run out: an owner that only was slow
// may write once more, and whoever comes after it has to know.
// ARGV: owner, from, milliseconds. Answers 1 or 0, the owner as LeaseStore::Taken has it, milliseconds left.
constexpr char kTake[] =
    "local v = redis.call('GET', KEYS[1]) "
    "if v and v ~= ARGV[1] and v ~= ARGV[2] then return {0, v, redis.call('PTTL', KEYS[1])} end "
    "local last = redis.call('GET', KEYS[2]) or '' "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) "
    "redis.call('SET', KEYS[2], ARGV[1]) "
    "return {1, last, 0}";
constexpr char kRenew[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
    "return redis.call('PEXPIRE', KEYS[1], ARGV[2])";
constexpr char kGiveBack[] =
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end "
    "return redis.call('DEL', KEYS[1], KEYS[2])";

constexpr absl::Duration kLittlePatience = absl::Seconds(1);

class FalkorLease final : public LeaseStore {
 public:
  // `key`: of the lease.
  FalkorLease(std::unique_ptr<RespClient> client, std::unique_ptr<RespClient> impatient, std::string key)
      : client_(std::move(client)), impatient_(std::move(impatient)), key_(std::move(key)), last_(key_ + ":last") {}

  absl::StatusOr<Taken> Take(absl::string_view owner, absl::string_view from) override {
    Taken taken;
    const std::string time = TimeText();
    ABSL_RETURN_IF_ERROR(client_->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const RespReply reply, client_->Call({"EVAL", kTake, "2", key_, last_, owner, from, time}));
      taken = {.is_ours = reply.value()[0].Integer() == 1,
               .owner = std::string(reply.value()[1].Text()),
               .time_left = absl::Milliseconds(reply.value()[2].Integer())};
      return absl::OkStatus();
    }));
    return taken;
  }

  absl::StatusOr<bool> Renew(absl::string_view owner) override {
    bool renewed = false;
    const std::string time = TimeText();
    ABSL_RETURN_IF_ERROR(impatient_->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const RespReply reply, impatient_->Call({"EVAL", kRenew, "1", key_, owner, time}));
      renewed = reply.value().Integer() == 1;
      return absl::OkStatus();
    }));
    return renewed;
  }

  absl::Status GiveBack(absl::string_view owner) override {
    return impatient_->Persist([&] { return impatient_->Call({"EVAL", kGiveBack, "2", key_, last_, owner}).status(); });
  }

 private:
  static std::string TimeText() { return absl::StrCat(absl::ToInt64Milliseconds(kLeaseTime)); }

  const std::unique_ptr<RespClient> client_, impatient_;
  const std::string key_, last_;
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
                   std::make_unique<FalkorLease>(std::move(client), std::move(impatient), std::move(key)));
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
      if (!absl::StartsWith(key, prefix) || !absl::EndsWith(key, "}")) continue;
      ABSL_ASSIGN_OR_RETURN(const RespReply held, client->Call({"GET", key}));
      if (held.value().IsNull()) continue;  // its time is up
      const absl::StatusOr<LockOwner> owner = ParsePlaceOwner(held.value().Text());
      return BeingWrittenError(absl::StrCat(asked.address.name, "/", asked.graph), owner.ok() ? *owner : LockOwner());
    }
  } while (cursor != "0" && !cursor.empty());
  return nullptr;
}

}  // namespace reembed
