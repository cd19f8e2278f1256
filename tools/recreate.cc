// SPDX-License-Identifier: Apache-2.0
#include "tools/recreate.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "tools/consent.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/registry.h"

namespace reembed {
namespace {

bool IsImport(const Store& target) {
  return target.location.Get("mode") == "insert" && target.kind->imports.drop_tables != nullptr;
}

}  // namespace

absl::Status RecreateTables(const CommandOptions& options, std::vector<ResolvedJob>* jobs) {
  if (!options.force_recreate) return absl::OkStatus();
  ResolvedJob& first = jobs->front();
  const Store* target = nullptr;
  for (const Store& store : first.targets) {
    if (IsImport(store)) target = &store;
  }
  if (target == nullptr || first.recreated_tables.empty()) {
    return absl::InvalidArgumentError(
        "--force-recreate: only if a system's rows are imported into a PostgreSQL server, as with --system "
        "espressobot --db FILE");
  }
  ABSL_RETURN_IF_ERROR(
      AskName(absl::StrCat("--force-recreate drops the tables ", absl::StrJoin(first.recreated_tables, ", "), " of ",
                           target->location.scheme, ":", target->location.path,
                           " with all their rows, and no rollback can restore them"),
              LastNameOf(target->location), "make a backup with pg_dump first, then say --yes",
              {options.yes, options.no_input}));
  // Not before it is known that they can be filled again.
  ABSL_RETURN_IF_ERROR(ProbeEmbedder(&first).status());
  first.dropped_tables = first.recreated_tables;
  return target->kind->imports.drop_tables(target->location, first.recreated_tables);
}

absl::Status LogRecreated(const ResolvedJob& job, const Store& target, UndoLog* log) {
  if (log == nullptr || job.dropped_tables.empty() || !IsImport(target)) return absl::OkStatus();
  return target.kind->imports.log_dropped(job.dropped_tables, log);
}

}  // namespace reembed
