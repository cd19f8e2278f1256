// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_lock.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/store/file_lock.h"
#include "io/store/lease.h"
#include "io/store/sqlite/hrana.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_mark.h"
#include "io/store/sqlite/sqlite_target.h"

namespace reembed {
namespace {

// Each new attempt means that somebody removed the table in between.
constexpr int kMaxAttempts = 10;
constexpr absl::Duration kPatience = absl::Minutes(2);
constexpr absl::Duration kLittlePatience = absl::Seconds(1);

std::string ColumnOf(const SqliteLocation& asked) { return LeasePlace(asked.table, asked.vector); }

bool IsTableGone(const absl::Status& status) { return absl::StrContains(status.message(), "no such table"); }

SqliteValue Integer(int64_t value) { return {.type = SqliteType::kInteger, .integer = value}; }
SqliteValue Text(absl::string_view bytes) { return {.type = SqliteType::kText, .bytes = bytes}; }

// A row of the lease, or one for each worker of a job that shares it: see WorkerPlaces().
class LibsqlLease final : public LeaseStore {
 public:
  LibsqlLease(const std::string& column, const LockAsker& asker, std::unique_ptr<HranaConnection> connection,
              std::unique_ptr<HranaConnection> impatient)
      : column_(column),
        workers_(WorkerPlaces(column)),
        group_(asker.shared ? absl::StrCat(workers_, asker.job, "\n") : ""),
        place_(asker.shared ? group_ + asker.worker : column),
        connection_(std::move(connection)),
        impatient_(std::move(impatient)) {}

  absl::StatusOr<Taken> Take(absl::string_view owner, absl::string_view from) override {
    for (int attempt = 0;; ++attempt) {
      absl::StatusOr<Taken> taken = TryToTake(owner, from);
      if (taken.ok() || !IsTableGone(taken.status()) || attempt == kMaxAttempts) return taken;
    }
  }

  absl::StatusOr<bool> Renew(absl::string_view owner) override {
    HranaRows rows;
    const absl::Status renewed = impatient_->Query(
        absl::StrCat("UPDATE reembed_lock SET until = max(until, ", kNow, " + ", absl::ToInt64Seconds(kLeaseTime),
                     ") WHERE place = ?1 AND owner = ?2 AND until >= ?3 AND until > ", kNow, " RETURNING until"),
        {Text(place_), Text(owner), Integer(until_)}, &rows);
    if (IsTableGone(renewed)) return false;
    ABSL_RETURN_IF_ERROR(renewed);
    if (rows.rows() != 1) return false;
    until_ = rows.values[0].integer;
    return true;
  }

  absl::Status GiveBack(absl::string_view owner) override {
    HranaRows rows;
    ABSL_RETURN_IF_ERROR(impatient_->Query("DELETE FROM reembed_lock WHERE place = ?1 AND owner = ?2",
                                           {Text(place_), Text(owner)}, &rows));
    ABSL_RETURN_IF_ERROR(impatient_->Query(
        absl::StrCat("DELETE FROM reembed_lock WHERE ", kOfColumn, " AND NOT EXISTS (SELECT 1 FROM reembed_lock WHERE ",
                     kOfColumn, " AND until > ", kNow, ")"),
        {Text(column_), Text(workers_)}, &rows));
    // A mark without a lease is what a run has left that was stopped or killed. It counts on where writes were lost.
    ABSL_RETURN_IF_ERROR(impatient_->Query(
        "DELETE FROM reembed_lock WHERE until >= 0 AND substr(place, 1, length(?1)) = ?1 AND substr(place, length(?1) "
        "+ 1) NOT IN (SELECT place FROM reembed_lock)",
        {Text(MarkPlace(""))}, &rows));
    ABSL_RETURN_IF_ERROR(impatient_->Query("SELECT 1 FROM reembed_lock LIMIT 1", {}, &rows));
    // Whoever comes just now loses a lease with it, and takes it again.
    return rows.rows() > 0 ? absl::OkStatus() : impatient_->Query("DROP TABLE reembed_lock", {}, &rows);
  }

  // What Take() needs.
  absl::Status MakeTable() {
    HranaRows rows;
    return connection_->Query(
        "CREATE TABLE IF NOT EXISTS reembed_lock (place TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL)",
        {}, &rows);
  }

 private:
  // The server's clock, in seconds since 1970.
  static constexpr char kNow[] = "CAST(strftime('%s', 'now') AS INTEGER)";
  // Rows of whomever the column is. ?1: the column; ?2: what the places of all workers begin with.
  static constexpr char kOfColumn[] = "(place = ?1 OR substr(place, 1, length(?2)) = ?2)";
  // But not of workers of this job. ?3: what their places begin with.
  static constexpr char kOfOthers[] =
      "(place = ?1 OR substr(place, 1, length(?2)) = ?2) AND (?3 = '' OR substr(place, 1, length(?3)) <> ?3)";

  absl::StatusOr<Taken> TryToTake(absl::string_view owner, absl::string_view from) {
    ABSL_RETURN_IF_ERROR(MakeTable());
    Taken taken;
    HranaRows rows;
    // Of those whose time is up, workers come first: what else there is may be this job's own.
    ABSL_RETURN_IF_ERROR(
        connection_->Query(absl::StrCat("SELECT owner, until - ", kNow, " FROM reembed_lock WHERE ", kOfOthers,
                                        " ORDER BY until > ", kNow, " DESC, place = ?1, until DESC, place LIMIT 1"),
                           {Text(column_), Text(workers_), Text(group_)}, &rows));
    if (rows.rows() == 1) {
      taken.owner = std::string(rows.values[0].bytes);
      taken.time_left = absl::Seconds(rows.values[1].integer);
    }
    ABSL_RETURN_IF_ERROR(connection_->Query(
        absl::StrCat("INSERT INTO reembed_lock SELECT ?4, ?5, ", kNow, " + ", absl::ToInt64Seconds(kLeaseTime),
                     " WHERE NOT EXISTS (SELECT 1 FROM reembed_lock WHERE ", kOfOthers, " AND until > ", kNow,
                     " AND owner <> ?5 AND owner <> ?6) ON CONFLICT (place) DO UPDATE SET owner = excluded.owner, "
                     "until = excluded.until RETURNING until"),
        {Text(column_), Text(workers_), Text(group_), Text(place_), Text(owner), Text(from)}, &rows));
    taken.is_ours = rows.rows() == 1;
    if (taken.is_ours) until_ = rows.values[0].integer;
    return taken;
  }

  const std::string column_, workers_;
  const std::string group_;  // what the places of this job's workers begin with; empty: it is alone
  const std::string place_;  // of the own row
  const std::unique_ptr<HranaConnection> connection_, impatient_;
  int64_t until_ = 0;  // what the server had last: one that was put back to an older state has less
};

}  // namespace

absl::StatusOr<std::unique_ptr<TargetLock>> LockSqliteColumn(const Location& target, const LockAsker& asker) {
  ABSL_ASSIGN_OR_RETURN(const SqliteLocation asked, ParseSqliteTarget(target));
  return LockFileColumn(asked.path, ColumnOf(asked), absl::StrCat(asked.path, ": ", asked.table, ".", asked.vector),
                        asker);
}

absl::StatusOr<std::unique_ptr<TargetLock>> LockLibsqlColumn(const Location& target, const LockAsker& asker) {
  ABSL_ASSIGN_OR_RETURN(const SqliteLocation asked, ParseSqliteTarget(target));
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(target));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> connection, HranaConnection::Make(server, kPatience));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> impatient, HranaConnection::Make(server, kLittlePatience));
  auto lease = std::make_unique<LibsqlLease>(ColumnOf(asked), asker, std::move(connection), std::move(impatient));
  const absl::Status may = lease->MakeTable();
  if (absl::IsFailedPrecondition(may) || absl::IsPermissionDenied(may)) return nullptr;
  ABSL_RETURN_IF_ERROR(may);
  return TakeLease(absl::StrCat(server.name, ": ", asked.table, ".", asked.vector), asker, std::move(lease));
}

}  // namespace reembed
