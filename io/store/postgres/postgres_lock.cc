// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_lock.h"

#include <future>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "io/job/lock_owner.h"
#include "io/store/postgres/postgres_backup.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {
namespace {

// How long the lock is trusted without a word of the server.
constexpr absl::Duration kTrust = absl::Seconds(1);
// A pooler that has a server connection left gives it at once.
constexpr absl::Duration kPoolPatience = absl::Seconds(10);
// Whoever shares the lock says who he is with the statement that takes it.
constexpr absl::Duration kNamePatience = absl::Seconds(1);
// A busy server takes a moment to notice that a process is gone, and keeps its lock until then.
constexpr absl::Duration kGonePatience = absl::Seconds(10);
constexpr absl::Duration kPause = absl::Milliseconds(20);  // between two looks

// Who has the lock, where pg_stat_activity shows it. The text's own signs of a comment stay escaped, see CUnescape().
std::string Comment(const LockOwner& self) {
  return absl::StrCat("/*", absl::StrReplaceAll(LockOwnerText(self), {{"*/", "*\\057"}, {"/*", "\\057*"}}), "*/ ");
}

LockOwner OwnerInComment(absl::string_view query) {
  const size_t end = query.find("*/");
  if (!absl::StartsWith(query, "/*") || end == absl::string_view::npos) return LockOwner();
  const absl::StatusOr<LockOwner> owner = ParsePlaceOwner(query.substr(2, end - 2));
  return owner.ok() ? *owner : LockOwner();
}

class PostgresColumnLock final : public TargetLock {
 public:
  // `column`: the full name; empty: all of the database.
  // `shared`: see LockAsker.
  PostgresColumnLock(std::unique_ptr<PostgresConnection> connection, std::string column, const LockOwner& self,
                     bool shared)
      : connection_(std::move(connection)), column_(std::move(column)), self_(self), shared_(shared) {}

  // A pooler ends a server connection whose transaction was left open.
  ~PostgresColumnLock() override {
    if (connection_->IsWhole()) Release();
  }

  absl::Status Take() {
    const Moment end = MonotonicNow() + kGonePatience;
    while (true) {
      LockOwner owner;
      absl::Status taken = TakeNow(&owner);
      if (!absl::IsAborted(taken) || !IsGone(owner) || MonotonicNow() >= end) return taken;
      absl::SleepFor(kPause);
    }
  }

  // A pooler with one connection would now keep every other statement waiting.
  absl::Status CheckPool(const PostgresAddress& address) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> other,
                          PostgresConnection::Open(address, {.patience = absl::ZeroDuration()}));
    std::future<absl::Status> answer =
        std::async(std::launch::async, [&other] { return other->Query("SELECT 1").status(); });
    if (answer.wait_for(absl::ToChronoMilliseconds(kPoolPatience)) == std::future_status::ready) return answer.get();
    // What the other waits for.
    Release();
    answer.wait();
    return absl::FailedPreconditionError(absl::StrCat(
        connection_->name(),
        ": the pooler has one connection to the server, and the lock of the job's column keeps one; give it a pool of "
        "two or more, or name the server itself"));
  }

  absl::Status EnsureHeld() override {
    if (MonotonicNow() - asked_ < kTrust && connection_->IsWhole()) return absl::OkStatus();
    absl::Status held =
        connection_->IsWhole() ? LetGoOfSnapshot() : absl::UnavailableError("the lock's connection is lost");
    if (held.ok()) {
      asked_ = MonotonicNow();
      return held;
    }
    // Whatever went wrong, the transaction is of no use any more, and the lock ends with it.
    broken_ = true;
    if (connection_->IsWhole()) Release();
    return Take();
  }

  bool unbroken() const override { return !broken_; }

 private:
  // Who has one column shares the key of all, which is that of the empty name.
  static constexpr char kTakeOne[] =
      "pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('reembed ', 0)) AND "
      "pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('reembed ' || $1, 0))";
  static constexpr char kTakeOneShared[] =
      "pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('reembed ', 0)) AND "
      "pg_catalog.pg_try_advisory_xact_lock_shared(pg_catalog.hashtextextended('reembed ' || $1, 0))";
  static constexpr char kTakeAll[] =
      "pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('reembed ' || $1, 0))";

  // What those do that share the lock, but for this.
  static constexpr char kOthersThatShare[] =
      "SELECT a.query FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid WHERE "
      "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = "
      "pg_catalog.hashtextextended('reembed ' || $1, 0) AND l.pid <> pg_catalog.pg_backend_pid() AND a.datname = "
      "pg_catalog.current_database()";

  // Sets *owner where it is somebody else's: kAborted.
  absl::Status TakeNow(LockOwner* owner) {
    return connection_->Persist([&]() -> absl::Status {
      ABSL_RETURN_IF_ERROR(connection_->Begin());
      ABSL_ASSIGN_OR_RETURN(const PostgresRows taken, connection_->Query(absl::StrCat(Comment(self_), "SELECT ",
                                                                                      column_.empty() ? kTakeAll
                                                                                      : shared_       ? kTakeOneShared
                                                                                                      : kTakeOne),
                                                                         {PostgresValue::Text(column_)}));
      if (taken.Bool(0, 0)) {
        ABSL_ASSIGN_OR_RETURN(const bool ours, !shared_ ? absl::StatusOr<bool>(true) : IsOfOneJob(owner));
        if (ours) {
          asked_ = MonotonicNow();
          return LetGoOfSnapshot();
        }
      } else {
        *owner = WhoHasIt();
      }
      Release();
      return BeingWrittenError(absl::StrCat(connection_->name(), column_.empty() ? "" : ": ", column_), *owner);
    });
  }

  // A statement with parameters keeps its snapshot until the next one, so that VACUUM and CREATE INDEX CONCURRENTLY
  // wait for it; one that is sent as plain text does not. Seen with PostgreSQL 15, pg_stat_activity.backend_xmin.
  absl::Status LetGoOfSnapshot() { return connection_->Run(Comment(self_) + "SELECT 1"); }

  // It has the lock until the server is through with this, so it says who it is, as every statement does.
  void Release() { connection_->Run(Comment(self_) + "ROLLBACK").IgnoreError(); }

  // Whether all that share the lock are of this job; sets *other. From now on all statements of this transaction say
  // who sends them. Of two jobs that came at the same time both see the other, and both go away.
  absl::StatusOr<bool> IsOfOneJob(LockOwner* other) {
    const Moment end = MonotonicNow() + kNamePatience;
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const PostgresRows found,
                            connection_->Query(Comment(self_) + kOthersThatShare, {PostgresValue::Text(column_)}));
      bool all_say = true;
      for (int row = 0; row < found.size(); ++row) {
        *other = OwnerInComment(found.Bytes(row, 0));
        if (other->job == self_.job) continue;
        if (!other->job.empty()) return false;
        all_say = false;
      }
      if (all_say) return true;
      // The server showed what somebody did before he had the lock: it looks at locks and at statements one after the
      // other, and keeps what it saw of the statements until the transaction ends.
      if (MonotonicNow() >= end) return false;
      absl::SleepFor(kPause);
      ABSL_RETURN_IF_ERROR(connection_->Run(Comment(self_) + "SELECT pg_catalog.pg_stat_clear_snapshot()"));
    }
  }

  LockOwner WhoHasIt() {
    // Whoever shares the key of all is in nobody's way but that of one who wants all.
    const absl::StatusOr<PostgresRows> found = connection_->Query(
        "SELECT a.query FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid WHERE "
        "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) IN "
        "(pg_catalog.hashtextextended('reembed ' || $1, 0), pg_catalog.hashtextextended('reembed ', 0)) AND (l.mode = "
        "'ExclusiveLock' OR $1 = '') AND l.pid <> pg_catalog.pg_backend_pid() AND a.datname = "
        "pg_catalog.current_database()",
        {PostgresValue::Text(column_)});
    return found.ok() && found->size() > 0 ? OwnerInComment(found->Bytes(0, 0)) : LockOwner();
  }

  const std::unique_ptr<PostgresConnection> connection_;
  const std::string column_;
  const LockOwner self_;
  const bool shared_;
  Moment asked_;  // when the server last said that it is held
  bool broken_ = false;
};

// By its name, also where it is still to be made: then its place is where it will be.
absl::StatusOr<std::string> FullName(const PostgresLocation& asked, PostgresConnection* connection) {
  const std::string name = asked.schema.empty()
                               ? QuotePostgresName(asked.table)
                               : absl::StrCat(QuotePostgresName(asked.schema), ".", QuotePostgresName(asked.table));
  const std::string column = asked.vector.empty() ? "embedding" : asked.vector;  // as OpenPostgresTarget() has it
  std::string full;
  ABSL_RETURN_IF_ERROR(connection->Persist([&]() -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows found,
        connection->Query(
            "SELECT coalesce((SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace "
            "AS n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)), nullif($2, ''), "
            "pg_catalog.current_schema()::text)",
            {PostgresValue::Text(name), PostgresValue::Text(asked.schema)}));
    full = absl::StrCat(found.Text(0, 0), ".", asked.table, ".", column);
    return absl::OkStatus();
  }));
  return full;
}

absl::StatusOr<std::unique_ptr<TargetLock>> Lock(const PostgresLocation& asked, bool whole, const LockAsker& asker) {
  ABSL_ASSIGN_OR_RETURN(
      std::unique_ptr<PostgresConnection> connection,
      PostgresConnection::Open(asked.address,
                               {.settings = {{.name = "idle_in_transaction_session_timeout", .value = "'0'"}}}));
  std::string column;
  if (!whole) {
    ABSL_ASSIGN_OR_RETURN(column, FullName(asked, connection.get()));
  }
  ABSL_ASSIGN_OR_RETURN(const bool pooled, connection->IsPooled());
  auto lock = std::make_unique<PostgresColumnLock>(std::move(connection), std::move(column), ThisProcess(asker.job),
                                                   asker.shared);
  ABSL_RETURN_IF_ERROR(lock->Take());
  if (pooled) {
    ABSL_RETURN_IF_ERROR(lock->CheckPool(asked.address));
  }
  return lock;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TargetLock>> LockPostgresColumn(const Location& target, const LockAsker& asker) {
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(target));
  return Lock(asked, /*whole=*/false, asker);
}

absl::StatusOr<std::unique_ptr<TargetLock>> LockPostgresPlace(const Location& place, const LockAsker& asker) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(place));
  Location whole = tables.place;
  whole.parameters.emplace("table", "any");
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(whole));
  return Lock(asked, /*whole=*/true, asker);
}

}  // namespace reembed
