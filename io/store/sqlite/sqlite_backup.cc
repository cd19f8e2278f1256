// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_backup.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/open_elsewhere.h"
#include "io/store/sqlite/sqlite_db.h"

namespace reembed {
namespace {

// Tables with rows of their own. A virtual table's shadows have its name and an underscore in front.
constexpr char kTables[] =
    "SELECT name FROM sqlite_schema t WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND sql NOT LIKE 'CREATE VIRTUAL%' AND NOT EXISTS (SELECT 1 FROM sqlite_schema v WHERE v.sql LIKE"
    " 'CREATE VIRTUAL%' AND substr(t.name, 1, length(v.name) + 1) = v.name || '_') ORDER BY name";

absl::Status CheckIntegrity(const SqlDb& db) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement check, db.Prepare("PRAGMA integrity_check(1)"));
  ABSL_ASSIGN_OR_RETURN(const bool row, check.Step());
  if (row && check.Text(0) == "ok") return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(db.path(), ": is damaged: ", row ? check.Text(0) : "no answer",
                                          "; see `sqlite3 ", db.path(), " .recover`"));
}

// What lies beside a database that is not there belongs to another one, and SQLite would put it into the new one.
absl::Status CheckNothingBeside(const std::string& path) {
  for (const char* const suffix : {"-wal", "-journal"}) {
    ABSL_ASSIGN_OR_RETURN(const bool there, PathExists(path + suffix));
    if (!there) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        path, suffix, ": is there without its database, and would spoil a new one; move it away, then run this again"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RowCounts> CountSqliteRows(const SqlDb& db) {
  std::vector<std::string> tables;
  {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement names, db.Prepare(kTables));
    absl::StatusOr<bool> row = names.Step();
    for (; row.ok() && *row; row = names.Step()) tables.emplace_back(names.Text(0));
    ABSL_RETURN_IF_ERROR(row.status());
  }
  RowCounts counts;
  for (const std::string& table : tables) {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement count, db.Prepare(absl::StrCat("SELECT count(*) FROM ", QuoteName(table))));
    ABSL_ASSIGN_OR_RETURN(const bool row, count.Step());
    counts.emplace_back(table, row ? count.Int(0) : 0);
  }
  return counts;
}

std::string RowCountsDifference(const RowCounts& expected, const RowCounts& found) {
  const auto count = [](const RowCounts& counts, const std::string& name) -> int64_t {
    const auto row = std::find_if(counts.begin(), counts.end(), [&](const auto& each) { return each.first == name; });
    return row == counts.end() ? -1 : row->second;
  };
  for (const RowCounts* const side : {&expected, &found}) {
    for (const auto& [name, ignored] : *side) {
      const int64_t wanted = count(expected, name), got = count(found, name);
      if (wanted == got) continue;
      const auto words = [](int64_t rows) { return rows < 0 ? std::string("nothing") : Counted(rows, "row", "rows"); };
      return absl::StrCat("expected ", words(wanted), " in ", name, ", got ", words(got));
    }
  }
  return "";
}

absl::StatusOr<RowCounts> BackUpSqlite(const std::string& from, const std::string& to) {
  // Without a write-ahead log there is hardly a moment between the commits of one who writes all the time.
  constexpr absl::Duration kPatience = absl::Minutes(2);
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> source,
                        SqliteDb::Open(from, SqliteAccess::kReadOnly, kPatience));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> copy, SqliteDb::Open(to, SqliteAccess::kCreate));
  ABSL_RETURN_IF_ERROR(source->CopyTo(copy.get()));
  if (absl::Status checked = CheckIntegrity(*copy); !checked.ok()) {
    return absl::Status(checked.code(), absl::StrCat(from, ": its copy fails SQLite's check: ", checked.message()));
  }
  return CountSqliteRows(*copy);
}

absl::Status RestoreSqlite(const std::string& from, const std::string& to, const RowCounts& rows,
                           RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const bool there, PathExists(to));
  if (there) {
    ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(to));
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> copy, SqliteDb::Open(from, SqliteAccess::kUnchanging));
    const absl::StatusOr<std::unique_ptr<SqliteDb>> target = SqliteDb::Open(to, SqliteAccess::kReadWrite);
    const absl::Status copied = target.ok() ? copy->CopyTo(target->get(),
                                                           [&told](int64_t bytes, int64_t total) {
                                                             told(kPuttingBack, bytes, total, RestoreUnit::kBytes);
                                                           })
                                            : target.status();
    if (absl::IsDataLoss(copied) || absl::IsInvalidArgument(copied)) {
      return absl::FailedPreconditionError(absl::StrCat(
          copied.message(), "; what is there cannot be replaced in one transaction: move it away (with its ",
          "-wal and -journal, if there are any), then run this again"));
    }
    ABSL_RETURN_IF_ERROR(copied);
  } else {
    ABSL_RETURN_IF_ERROR(CheckNothingBeside(to));
    ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(from));
    ABSL_ASSIGN_OR_RETURN(const int64_t bytes, file.Size());
    if (absl::Status copied = CopyDurably(from, to, bytes); !copied.ok()) {
      unlink((to + ".copy").c_str());
      return copied;
    }
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> restored, SqliteDb::Open(to, SqliteAccess::kReadWrite));
  ABSL_RETURN_IF_ERROR(CheckIntegrity(*restored));
  ABSL_ASSIGN_OR_RETURN(const RowCounts found, CountSqliteRows(*restored));
  const std::string difference = RowCountsDifference(rows, found);
  if (difference.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(to, ": ", difference, ", as another program changed it meanwhile; stop it, ",
                                          "then run this again"));
}

}  // namespace reembed
