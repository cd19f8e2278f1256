// SPDX-License-Identifier: Apache-2.0
#include "tools/streams.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "tools/registry.h"

namespace reembed {

namespace fs = std::filesystem;

namespace {

constexpr char kUnknownTableAdvice[] =
    "this version of the system's description does not know: say with --source URI what they are made from, or in a "
    "file of your own (reembed systems NAME > MINE.toml, then --system MINE.toml)";

const TableCatalog& CatalogOf(const ResolvedJob& job) { return job.source.kind->catalog; }

bool HasCatalog(const ResolvedJob& job) { return CatalogOf(job).has_table != nullptr; }

// The database with the rows of `source`, for people.
std::string DatabaseName(const Store& source) {
  const char* const rows = source.kind->rows_parameter;
  return rows == nullptr ? PlaceName(source.location) : source.location.Get(rows);
}

// "the column embedding of memu_x", of all tables with vectors that the preset of `job` does not know; empty: none, or
// nobody can say.
absl::StatusOr<std::string> UnknownTables(const ResolvedJob& job) {
  if (job.known_tables.empty() || !HasCatalog(job)) return std::string();
  ABSL_ASSIGN_OR_RETURN(const std::vector<VectorColumnName> columns,
                        CatalogOf(job).vector_columns(job.source.location));
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
    if (!job.users.has_value() || !HasCatalog(job)) return absl::OkStatus();
    std::vector<std::string> columns = {job.users->name};
    if (job.users->id != job.users->name) columns.push_back(job.users->id);
    last = CatalogOf(job).check_value(job.source.location, job.users->table, columns, job.options.user);
    if (last.ok()) return last;
  }
  return last;
}

absl::Status DropAbsentStreams(std::vector<ResolvedJob>* jobs) {
  std::vector<ResolvedJob> kept;
  std::vector<std::string> absent;
  std::string path;
  for (ResolvedJob& job : *jobs) {
    path = DatabaseName(job.source);
    if (job.optional && HasCatalog(job)) {
      ABSL_ASSIGN_OR_RETURN(const bool there, CatalogOf(job).has_table(job.source.location));
      if (!there) {
        absent.push_back(job.source.location.Get("table"));
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
