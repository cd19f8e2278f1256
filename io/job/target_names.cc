// SPDX-License-Identifier: Apache-2.0
#include "io/job/target_names.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/job_lock.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"

namespace reembed {
namespace {

using Renames = std::vector<std::pair<std::string, std::string>>;  // from, to

absl::StatusOr<Renames> FindRenames(LedgerConnection* ledger, absl::Span<const std::string> targets) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query,
                        ledger->Prepare("SELECT name FROM sinks UNION SELECT sink FROM rejects WHERE sink <> ''"));
  Renames renames;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    const std::string name(query.Text(0));
    if (std::find(targets.begin(), targets.end(), name) != targets.end()) continue;
    for (const std::string& target : targets) {
      const absl::StatusOr<Location> place = ParseLocation(target);
      if (!place.ok() || !IsNameOf(name, *place)) continue;
      renames.emplace_back(name, target);
      break;
    }
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return renames;
}

absl::Status Rename(LedgerConnection* ledger, const std::string& from, const std::string& to) {
  // Where both names are there, the target's own is the newer.
  for (const absl::string_view sql :
       {"UPDATE OR IGNORE sinks SET name = ?1 WHERE name = ?2", "DELETE FROM sinks WHERE name <> ?1 AND name = ?2",
        "UPDATE OR IGNORE rejects SET sink = ?1 WHERE sink = ?2", "DELETE FROM rejects WHERE sink <> ?1 AND sink = ?2",
        "UPDATE OR REPLACE attempts SET sink = ?1 WHERE sink = ?2"}) {
    ABSL_ASSIGN_OR_RETURN(LedgerStatement change, ledger->Prepare(sql));
    change.BindText(1, to);
    change.BindText(2, from);
    ABSL_RETURN_IF_ERROR(change.Run());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AdoptTargetNames(const std::string& dir, absl::Span<const std::string> targets) {
  const std::string path = absl::StrCat(dir, "/ledger.db");
  absl::StatusOr<LedgerHead> head;
  {
    const absl::StatusOr<std::unique_ptr<LedgerConnection>> found = OpenLedgerReadOnly(path);
    if (absl::IsNotFound(found.status())) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(found.status());
    ABSL_ASSIGN_OR_RETURN(const Renames renames, FindRenames(found->get(), targets));
    if (renames.empty()) return absl::OkStatus();
    head = ReadHead(found->get());
    ABSL_RETURN_IF_ERROR(head.status());
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, JobLock::Acquire(absl::StrCat(dir, "/lock")));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerConnection> ledger, OpenLedger(path, *head));
  ABSL_RETURN_IF_ERROR(ledger->Execute("BEGIN IMMEDIATE"));
  ABSL_ASSIGN_OR_RETURN(const Renames renames, FindRenames(ledger.get(), targets));
  for (const auto& [from, to] : renames) {
    ABSL_RETURN_IF_ERROR(Rename(ledger.get(), from, to));
  }
  return ledger->Execute("COMMIT");
}

}  // namespace reembed
