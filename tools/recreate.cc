// SPDX-License-Identifier: Apache-2.0
#include "tools/recreate.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_import_undo.h"
#include "io/store/postgres/postgres_lookup.h"
#include "tools/consent.h"
#include "tools/preflight.h"

namespace reembed {

absl::Status RecreateTables(const CommandOptions& options, std::vector<ResolvedJob>* jobs) {
  if (!options.force_recreate) return absl::OkStatus();
  ResolvedJob& first = jobs->front();
  const Location* target = nullptr;
  for (const Location& location : first.targets) {
    if (location.Get("mode") == "insert") target = &location;
  }
  if (target == nullptr || first.recreated_tables.empty()) {
    return absl::InvalidArgumentError(
        "--force-recreate: only where a system's rows are brought into a PostgreSQL server, as with --system "
        "espressobot --db FILE");
  }
  ABSL_RETURN_IF_ERROR(AskConsent(
      absl::StrCat("--force-recreate drops the tables ", absl::StrJoin(first.recreated_tables, ", "), " of ",
                   target->scheme, ":", target->path, " with all that is in them, and no rollback brings that back"),
      "make a backup with pg_dump first, then say --yes", options.yes));
  // Not before it is known that they can be filled again.
  ABSL_RETURN_IF_ERROR(ProbeEmbedder(&first).status());
  first.dropped_tables = first.recreated_tables;
  return DropPostgresTables(*target, first.recreated_tables);
}

absl::Status KeepRecreated(const ResolvedJob& job, const Location& target, UndoLog* log) {
  if (log == nullptr || job.dropped_tables.empty() || target.Get("mode") != "insert") return absl::OkStatus();
  return KeepPostgresTablesDropped(job.dropped_tables, log);
}

}  // namespace reembed
