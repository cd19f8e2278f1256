// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_scratch.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr const char* kBesideAFile[] = {"", "-wal", "-shm", "-journal"};

Location TableLike(const Location& target, absl::string_view table) {
  Location scratch = target;
  scratch.parameters = {{"table", std::string(table)}, {"key", "id"}, {"text", "text"}, {"vector", "embedding"}};
  for (const char* const same : {"encoding", "tls"}) {
    if (!target.Get(same).empty()) scratch.parameters[same] = target.Get(same);
  }
  if (target.Get("mode") == "upsert") scratch.parameters["mode"] = "upsert";
  return scratch;
}

// Rows that the sink adds itself are not there before.
absl::Status MakeRows(const SqlDb& db, const Location& scratch, int64_t rows) {
  const std::string table = QuoteName(scratch.Get("table"));
  ABSL_RETURN_IF_ERROR(
      db.Exec(absl::StrCat("CREATE TABLE ", table, " (id INTEGER PRIMARY KEY, text TEXT NOT NULL ", "DEFAULT '')")));
  if (scratch.Get("mode") == "upsert" || rows == 0) return absl::OkStatus();
  return db.Exec(absl::StrCat("INSERT INTO ", table,
                              " (id, text) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + ",
                              "1 FROM n WHERE i + 1 < ", rows, ") SELECT i, '", kScratchText, "' FROM n"));
}

absl::StatusOr<Location> FileLike(const Location& target, absl::string_view name) {
  Location scratch = TableLike(target, name);
  const fs::path path = target.path;
  scratch.path = (path.parent_path() / absl::StrCat(name, path.extension().string())).string();
  return scratch;
}

// What decides how a file is written, and is kept in it.
absl::Status TakeOver(const SqliteDb& from, absl::string_view pragma, const SqliteDb& to) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement asked, from.Prepare(absl::StrCat("PRAGMA ", pragma)));
  ABSL_ASSIGN_OR_RETURN(const bool known, asked.Step());
  if (!known) return absl::OkStatus();
  return to.Exec(absl::StrCat("PRAGMA ", pragma, " = ", asked.Text(0)));
}

absl::Status CheckIsPlain(const SqliteDb& db, const Location& target) {
  const std::string name = target.Get("table");
  ABSL_ASSIGN_OR_RETURN(SqliteStatement asked,
                        db.Prepare("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1 COLLATE NOCASE"));
  asked.BindText(1, name);
  ABSL_ASSIGN_OR_RETURN(const bool known, asked.Step());
  if (!known || !absl::StartsWithIgnoreCase(asked.Text(0), "CREATE VIRTUAL")) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      target.path, ": table `", name,
      "` is a virtual one, of which nothing like it can be made for a measure; measure a table of your own like it"));
}

absl::Status RemoveFile(const Location& scratch) {
  for (const char* const beside : kBesideAFile) {
    std::error_code failed;
    fs::remove(absl::StrCat(scratch.path, beside), failed);
    if (failed) {
      return absl::UnavailableError(absl::StrCat(scratch.path, beside, ": cannot be removed: ", failed.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status FillFile(const Location& scratch, const Location& target, int64_t rows) {
  std::unique_ptr<SqliteDb> like;
  if (fs::exists(target.path)) {
    ABSL_ASSIGN_OR_RETURN(like, SqliteDb::Open(target.path, SqliteAccess::kReadOnly));
    ABSL_RETURN_IF_ERROR(CheckIsPlain(*like, target));
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> made, SqliteDb::Open(scratch.path, SqliteAccess::kCreate));
  if (like != nullptr) {
    ABSL_RETURN_IF_ERROR(TakeOver(*like, "page_size", *made));
    ABSL_RETURN_IF_ERROR(TakeOver(*like, "journal_mode", *made));
  }
  return MakeRows(*made, scratch, rows);
}

absl::Status MakeFile(const Location& scratch, const Location& target, int, int64_t rows) {
  std::error_code ignored;
  if (fs::exists(scratch.path, ignored)) {
    return absl::AlreadyExistsError(absl::StrCat(scratch.path, ": is there already"));
  }
  absl::Status made = FillFile(scratch, target, rows);
  if (!made.ok()) RemoveFile(scratch).IgnoreError();
  return made;
}

absl::StatusOr<Location> ServersTableLike(const Location& target, absl::string_view name) {
  return TableLike(target, name);
}

absl::Status RemoveTable(const Location& scratch) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db, OpenLibsqlDb(scratch, kPatience));
  return db->Exec(absl::StrCat("DROP TABLE IF EXISTS ", QuoteName(scratch.Get("table"))));
}

absl::Status MakeTable(const Location& scratch, const Location&, int, int64_t rows) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db, OpenLibsqlDb(scratch, kPatience));
  ABSL_ASSIGN_OR_RETURN(const bool occupied, HasSqliteTable(*db, scratch.Get("table")));
  if (occupied) {
    return absl::AlreadyExistsError(
        absl::StrCat(db->path(), ": a table `", scratch.Get("table"), "` is there already"));
  }
  absl::Status made = MakeRows(*db, scratch, rows);
  if (!made.ok()) RemoveTable(scratch).IgnoreError();
  return made;
}

}  // namespace

constinit const ScratchWays kSqliteScratch = {.place = FileLike, .make = MakeFile, .remove = RemoveFile};
constinit const ScratchWays kLibsqlScratch = {.place = ServersTableLike, .make = MakeTable, .remove = RemoveTable};

}  // namespace reembed
