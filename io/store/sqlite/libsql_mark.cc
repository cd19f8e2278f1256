// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/libsql_mark.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/lost_writes.h"
#include "engine/status_macros.h"
#include "io/store/lease.h"

namespace reembed {
namespace {

// Where the count begins while not all that was lost is known to be written again.
constexpr int64_t kLost = -(int64_t{1} << 40);

SqliteValue Integer(int64_t value) { return {.type = SqliteType::kInteger, .integer = value}; }
SqliteValue Text(absl::string_view bytes) { return {.type = SqliteType::kText, .bytes = bytes}; }

std::string Quoted(absl::string_view text) { return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'"); }

bool IsTableGone(const absl::Status& status) { return absl::StrContains(status.message(), "no such table"); }

}  // namespace

std::string LeasePlace(absl::string_view table, absl::string_view column) {
  return absl::AsciiStrToLower(absl::StrCat(table, ".", column));
}

// No name has an end of line.
std::string WorkerPlaces(absl::string_view column) { return absl::StrCat(column, "\n"); }

std::string MarkPlace(absl::string_view lease_place) { return absl::StrCat("written ", lease_place); }

absl::StatusOr<int64_t> LibsqlMark::Begin(int64_t last) {
  HranaRows rows;
  const absl::Status asked = connection_->Query(
      "SELECT place, owner FROM reembed_lock WHERE (place = ?1 OR substr(place, 1, length(?2)) = ?2) AND instr(owner, "
      "?3)",
      {Text(column_), Text(WorkerPlaces(column_)), Text(LeaseToken())}, &rows);
  if (IsTableGone(asked)) return last;
  ABSL_RETURN_IF_ERROR(asked);
  if (rows.rows() != 1) return last;
  place_ = std::string(rows.values[0].bytes);
  owner_ = std::string(rows.values[1].bytes);
  ABSL_RETURN_IF_ERROR(connection_->Query("SELECT 1 FROM reembed_lock WHERE place = ?1 AND until < 0",
                                          {Text(MarkPlace(place_))}, &rows));
  const bool were_lost = rows.rows() == 1;
  ABSL_RETURN_IF_ERROR(CountFrom(were_lost ? kLost : 0));
  return were_lost ? 0 : last;
}

absl::Status LibsqlMark::CountFrom(int64_t count) {
  HranaRows rows;
  count_ = count;
  return connection_->Query("INSERT OR REPLACE INTO reembed_lock VALUES (?1, ?2, ?3)",
                            {Text(MarkPlace(place_)), Text(owner_), Integer(count)}, &rows);
}

void LibsqlMark::AddTo(HranaBatch* batch) const {
  // A transaction whose answer was lost is sent again: then it has been counted.
  batch->AddOther(absl::StrCat("UPDATE reembed_lock SET until = ", count_ + 1,
                               " WHERE place = ", Quoted(MarkPlace(place_)), " AND owner = ", Quoted(owner_),
                               " AND until IN (", count_, ", ", count_ + 1, ")"));
}

absl::Status LibsqlMark::Take(const HranaStep& step) {
  if (!step.status.ok() || step.changed_rows != 1) return Lost();
  ++count_;
  return absl::OkStatus();
}

absl::Status LibsqlMark::Check() {
  if (!counts()) return absl::OkStatus();
  HranaRows rows;
  const absl::Status asked = connection_->Query("SELECT until FROM reembed_lock WHERE place = ?1 AND owner = ?2",
                                                {Text(MarkPlace(place_)), Text(owner_)}, &rows);
  if (IsTableGone(asked)) return Lost();
  ABSL_RETURN_IF_ERROR(asked);
  return rows.rows() == 1 && rows.values[0].type == SqliteType::kInteger && rows.values[0].integer == count_
             ? absl::OkStatus()
             : Lost();
}

absl::Status LibsqlMark::End() {
  if (!counts()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(Check());
  HranaRows rows;
  ABSL_RETURN_IF_ERROR(connection_->Query("DELETE FROM reembed_lock WHERE place = ?1 AND owner = ?2",
                                          {Text(MarkPlace(place_)), Text(owner_)}, &rows));
  owner_.clear();
  return absl::OkStatus();
}

absl::Status LibsqlMark::Lost() {
  // Without the table the lease is lost, too, and then all is read back.
  if (absl::Status set = CountFrom(kLost); !set.ok() && !IsTableGone(set)) return set;
  return LostWritesError(
      absl::StrCat(server_, ": the database was put back to an older state, and may have lost what was written"));
}

}  // namespace reembed
