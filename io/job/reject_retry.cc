// SPDX-License-Identifier: Apache-2.0
#include "io/job/reject_retry.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"
#include "io/job/job_lock.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"

namespace reembed {
namespace {

// A row that no target gets (sink '') concerns all of them.
constexpr char kTakeBack[] =
    "UPDATE sinks SET position = min(position, coalesce((SELECT min(ordinal) FROM rejects WHERE sink IN ('', name)),"
    " position));"
    "DELETE FROM rejects;"
    "DELETE FROM rejected_texts";

}  // namespace

absl::StatusOr<RejectRetry> TakeBackRejects(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/ledger.db");
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, JobLock::Acquire(absl::StrCat(dir, "/lock")));
  // Looked at first: opening for writing would make a ledger where there is none.
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerConnection> found, OpenLedgerReadOnly(path));
  ABSL_ASSIGN_OR_RETURN(const LedgerHead head, ReadHead(found.get()));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerConnection> ledger, OpenLedger(path, head));
  ABSL_RETURN_IF_ERROR(ledger->Execute("BEGIN IMMEDIATE"));
  ABSL_ASSIGN_OR_RETURN(const int64_t rejected, ledger->QueryInteger("SELECT count(*) FROM rejects WHERE sink = ''"));
  ABSL_ASSIGN_OR_RETURN(const int64_t refused, ledger->QueryInteger("SELECT count(*) FROM rejects WHERE sink <> ''"));
  ABSL_RETURN_IF_ERROR(ledger->Execute(kTakeBack));
  KillPoint("retry: before the commit");
  ABSL_RETURN_IF_ERROR(ledger->Execute("COMMIT"));
  KillPoint("retry: committed");
  return RejectRetry{.rejected_rows = rejected, .refused_rows = refused};
}

}  // namespace reembed
