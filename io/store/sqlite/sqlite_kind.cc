// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_kind.h"

#include <filesystem>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/file/open_elsewhere.h"
#include "io/store/file_lock.h"
#include "io/store/sqlite/libsql_backup.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_sink.h"
#include "io/store/sqlite/sqlite_backup.h"
#include "io/store/sqlite/sqlite_cut.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_lock.h"
#include "io/store/sqlite/sqlite_lookup.h"
#include "io/store/sqlite/sqlite_reader.h"
#include "io/store/sqlite/sqlite_scratch.h"
#include "io/store/sqlite/sqlite_sink.h"
#include "io/store/sqlite/sqlite_source.h"

namespace reembed {
namespace {

using Parts = std::vector<BackupPart>;

constexpr const char* kTokenVariables[] = {"TURSO_AUTH_TOKEN", "LIBSQL_AUTH_TOKEN", "DATABASE_AUTH_TOKEN"};
constexpr const char* kAnyEnding[] = {""};
// An extension without a slash is looked for where libraries are.
constexpr PathParameter kPathParameters[] = {{"extension", /*only_with_slash=*/true}};

absl::StatusOr<std::unique_ptr<VectorReader>> OpenReader(const Location& place, int dim) {
  return OpenSqliteReader(place, {.dim = dim});
}

// SQLite takes names in any case for the same.
VectorPlace PlaceIn(std::string store, const Location& target) {
  return {.store = std::move(store),
          .table = absl::AsciiStrToLower(target.Get("table")),
          .column = absl::AsciiStrToLower(target.Get("vector"))};
}

// file:PATH and, in variables, SQLAlchemy's sqlite:///PATH, where three slashes stand before a relative path.
absl::StatusOr<std::optional<Location>> ReadDatabase(absl::string_view text, bool in_variable) {
  bool is_url = false;
  for (const absl::string_view prefix : {"sqlite:///", "sqlite+aiosqlite:///", "sqlite+pysqlite:///"}) {
    is_url = is_url || (in_variable && absl::ConsumePrefix(&text, prefix));
  }
  if (is_url) text = text.substr(0, text.find('?'));
  if (!absl::ConsumePrefix(&text, "file:")) {
    if (!is_url) return std::nullopt;
    return Location{.scheme = kSqliteKind.name, .path = std::string(text)};
  }
  if (absl::StartsWith(text, "///")) text.remove_prefix(2);
  // What other programs take for a URL is one.
  ABSL_ASSIGN_OR_RETURN(std::string path, PercentDecode(text.substr(0, text.find('?'))));
  return Location{.scheme = kSqliteKind.name, .path = std::move(path)};
}

// The URLs of its servers go without a scheme of its own.
absl::StatusOr<std::optional<Location>> ReadServer(absl::string_view text, bool) {
  static constexpr const StoreKind* kSelf[] = {&kLibsqlKind};
  for (const absl::string_view scheme : {"http://", "https://", "ws://", "wss://"}) {
    if (absl::StartsWith(text, scheme)) return ParseLocation(absl::StrCat(kLibsqlKind.name, ":", text), kSelf);
  }
  return std::nullopt;
}

constexpr TableCatalog kCatalog = {
    .has_table = [](const Location& source) { return DatabaseHasTable(source, source.Get("table")); },
    .vector_columns = SqliteVectorColumns,
    .check_value = CheckSqliteValueExists,
};

// The answer of a restore that has nothing to say.
absl::StatusOr<std::string> Silent(const absl::Status& status) {
  ABSL_RETURN_IF_ERROR(status);
  return "";
}

absl::StatusOr<Parts> BackUpFile(const Location& place, const BackupFiles& files) {
  BackupPart part{.file = std::filesystem::path(place.path).filename().string()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, files.path_of(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpSqlite(place.path, path));
  return Parts{std::move(part)};
}

absl::StatusOr<std::string> OccupantOfFile(const std::string&, const Location& place, const Parts&) {
  // Before another place of the backup is replaced.
  ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(place.path));
  const absl::StatusOr<std::unique_ptr<SqliteDb>> db = SqliteDb::Open(place.path, SqliteAccess::kReadOnly);
  if (!db.ok()) return absl::StrCat(place.path, " (it cannot be read)");
  const absl::StatusOr<RowCounts> rows = CountSqliteRows(**db);
  if (!rows.ok()) return absl::StrCat(place.path, " (it is damaged)");
  const int64_t all = std::accumulate(rows->begin(), rows->end(), int64_t{0},
                                      [](int64_t sum, const auto& row) { return sum + row.second; });
  return absl::StrCat(place.path, " (", Counted(all, "row", "rows"), ")");
}

absl::StatusOr<std::string> RestoreFile(const std::string& dir, const Location& place, const Parts& parts,
                                        RestoreProgress told) {
  const BackupPart& part = parts.front();
  return Silent(RestoreSqlite(absl::StrCat(dir, "/", part.file), place.path, part.rows, told));
}

absl::StatusOr<Parts> BackUpServer(const Location& place, const BackupFiles& files) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(place));
  BackupPart part{.file = "libsql.db"};
  ABSL_ASSIGN_OR_RETURN(const std::string path, files.path_of(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpLibsql(server, path));
  return Parts{std::move(part)};
}

absl::StatusOr<std::string> OccupantOfServer(const std::string&, const Location& place, const Parts&) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(place));
  return Silent(CheckLibsqlIsEmpty(server));
}

absl::StatusOr<std::string> RestoreServer(const std::string& dir, const Location& place, const Parts& parts,
                                          RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(place));
  const BackupPart& part = parts.front();
  return Silent(RestoreLibsql(absl::StrCat(dir, "/", part.file), server, part.rows, told));
}

}  // namespace

constinit const StoreKind kSqliteKind = {
    .name = "sqlite",
    .example = "sqlite:PATH?table=T&key=K&text=C&vector=V",
    .title = "SQLite",
    .file_endings = kAnyEnding,
    .is_file = true,
    .is_database = true,
    .read_database = ReadDatabase,
    .path_parameters = kPathParameters,
    .open_source = OpenSqliteSource,
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeSqliteSink(target, model); },
    .open_reader = OpenReader,
    .cut = CutSqlite,
    .survey = SurveySqlite,
    .changes = [](const Location& target, const Model& model) { return SqliteChanges(target, model.dim); },
    .catalog = kCatalog,
    .vector_place = [](const Location& target) { return PlaceIn(FileStoreName(target), target); },
    .scratch = &kSqliteScratch,
    .lock = LockSqliteColumn,
    .shares_lock = true,
    .roll_back = RollBackSqlite,
    .backup = {.back_up = BackUpFile,
               .occupant = OccupantOfFile,
               .restore = RestoreFile,
               .lock = [](const Location& place, const LockAsker& asker) { return LockWholeFile(place.path, asker); },
               .example = "sqlite:PATH"},
};

constinit const StoreKind kLibsqlKind = {
    .name = "libsql",
    .example = "libsql://HOST?table=T&key=K&text=C&vector=V",
    .title = "libSQL",
    .is_database = true,
    .read_database = ReadServer,
    .secret = SecretKind::kToken,
    .secret_variables = kTokenVariables,
    .open_source = OpenSqliteSource,
    .make_sink = [](const Location& target, const Model& model,
                    const Location&) { return MakeLibsqlSink(target, model); },
    .open_reader = OpenReader,
    .cut = CutSqlite,
    .survey = SurveySqlite,
    .changes = LibsqlChanges,
    .catalog = kCatalog,
    .vector_place =
        [](const Location& target) { return PlaceIn(ServerStoreName("libsql", target.path, "localhost", ""), target); },
    .scratch = &kLibsqlScratch,
    .lock = LockLibsqlColumn,
    .shares_lock = true,
    .roll_back = RollBackLibsql,
    .backup = {.back_up = BackUpServer,
               .occupant = OccupantOfServer,
               .restore = RestoreServer,
               .example = "libsql://HOST"},
};

}  // namespace reembed
