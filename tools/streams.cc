// SPDX-License-Identifier: Apache-2.0
#include "tools/streams.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_lookup.h"
#include "io/store/sqlite/sqlite_lookup.h"
#include "tools/place.h"

namespace reembed {

namespace fs = std::filesystem;

namespace {

constexpr char kUnknownTableAdvice[] =
    "this version of the system's description does not know: say with --source URI what they are made from, or in a "
    "file of your own (reembed systems NAME > MINE.toml, then --system MINE.toml)";

// The database that speaks SQLite's SQL and holds the rows of `source`; nullopt: they are elsewhere.
std::optional<Location> DatabaseOf(const Location& source) {
  if (source.scheme == "sqlite" || source.scheme == "libsql") return source;
  if (source.scheme == "memu") return Location{.scheme = "sqlite", .path = source.Get("db")};
  return std::nullopt;
}

absl::StatusOr<bool> HasTable(const Location& source, const std::optional<Location>& database) {
  if (database.has_value()) return DatabaseHasTable(*database, source.Get("table"));
  ABSL_ASSIGN_OR_RETURN(const PostgresTableFacts facts, LookUpPostgresTable(source));
  return facts.exists;
}

// "the column embedding of memu_x", of all tables with vectors that the preset of `job` does not know; empty: none, or
// nobody can say.
absl::StatusOr<std::string> UnknownTables(const ResolvedJob& job) {
  const std::optional<Location> database = DatabaseOf(job.source);
  if (job.known_tables.empty() || !(database.has_value() || IsPostgres(job.source))) return std::string();
  ABSL_ASSIGN_OR_RETURN(const std::vector<VectorColumnName> columns,
                        database.has_value() ? SqliteVectorColumns(*database) : PostgresVectorColumns(job.source));
  std::vector<std::string> unknown;
  for (const VectorColumnName& found : columns) {
    const bool known = std::any_of(job.known_tables.begin(), job.known_tables.end(), [&](const std::string& table) {
      return absl::EqualsIgnoreCase(table, found.table);
    });
    if (!known) unknown.push_back(absl::StrCat(found.table, ".", found.column));
  }
  return absl::StrJoin(unknown, ", ");
}

}  // namespace

absl::Status CheckUser(const std::vector<ResolvedJob>& jobs) {
  absl::Status last;
  for (const ResolvedJob& job : jobs) {
    const std::optional<Location> database = DatabaseOf(job.source);
    const bool postgres = IsPostgres(job.source);
    if (!job.users.has_value() || !(database.has_value() || postgres)) return absl::OkStatus();
    std::vector<std::string> columns = {job.users->name};
    if (job.users->id != job.users->name) columns.push_back(job.users->id);
    if (postgres) {
      Location users = job.source;
      users.parameters["table"] = job.users->table;
      last = CheckPostgresValueExists(users, columns, job.options.user);
    } else {
      last = CheckSqliteValueExists(*database, job.users->table, columns, job.options.user);
    }
    if (last.ok()) return last;
  }
  return last;
}

absl::Status DropAbsentStreams(std::vector<ResolvedJob>* jobs) {
  std::vector<ResolvedJob> kept;
  std::vector<std::string> absent;
  std::string path;
  for (ResolvedJob& job : *jobs) {
    const std::optional<Location> database = DatabaseOf(job.source);
    path = database.has_value() ? database->path : PlaceName(job.source);
    if (job.optional && (database.has_value() || IsPostgres(job.source))) {
      ABSL_ASSIGN_OR_RETURN(const bool there, HasTable(job.source, database));
      if (!there) {
        absent.push_back(job.source.Get("table"));
        continue;
      }
    }
    kept.push_back(std::move(job));
  }
  ABSL_ASSIGN_OR_RETURN(const std::string unknown, UnknownTables(kept.empty() ? jobs->front() : kept.front()));
  if (kept.empty()) {
    return absl::NotFoundError(absl::StrCat(
        path, ": has none of the tables ", absl::StrJoin(absent, ", "),
        unknown.empty() ? "" : absl::StrCat("; its vectors are in ", unknown, ", which ", kUnknownTableAdvice)));
  }
  if (!unknown.empty()) {
    kept.front().notes.push_back(
        absl::StrCat("PASSED OVER: ", path, " has vectors in ", unknown, ", which ", kUnknownTableAdvice));
  }
  *jobs = std::move(kept);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> JobFolders(const std::string& directory) {
  if (fs::exists(fs::path(directory) / "ledger.db")) return std::vector<std::string>{directory};
  std::vector<std::string> folders;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (fs::exists(entry.path() / "ledger.db")) folders.push_back(entry.path().string());
  }
  if (folders.empty())
    return absl::NotFoundError(absl::StrCat(directory, ": holds no job; `reembed status` lists them"));
  std::sort(folders.begin(), folders.end());
  return folders;
}

ExitCode WorseOf(ExitCode a, ExitCode b) {
  const auto rank = [](ExitCode code) {
    return code == kExitDone ? 0 : code == kExitRejectedRows ? 1 : IsInterrupted(code) ? 3 : 2;
  };
  return rank(b) > rank(a) ? b : a;
}

}  // namespace reembed
