#include "io/job/reject_retry.h"

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
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
  const absl::StatusOr<std::unique_ptr<JobLock>> lock = JobLock::Acquire(absl::StrCat(dir, "/lock"));
  if (!lock.ok()) return lock.status();
  // Looked at first: opening for writing would make a ledger where there is none.
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> found = OpenLedgerReadOnly(path);
  if (!found.ok()) return found.status();
  const absl::StatusOr<LedgerHead> head = ReadHead(found->get());
  if (!head.ok()) return head.status();
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> ledger = OpenLedger(path, *head);
  if (!ledger.ok()) return ledger.status();
  if (absl::Status begun = (*ledger)->Execute("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  const absl::StatusOr<int64_t> rejected = (*ledger)->QueryInteger("SELECT count(*) FROM rejects WHERE sink = ''");
  if (!rejected.ok()) return rejected.status();
  const absl::StatusOr<int64_t> refused = (*ledger)->QueryInteger("SELECT count(*) FROM rejects WHERE sink <> ''");
  if (!refused.ok()) return refused.status();
  if (absl::Status taken = (*ledger)->Execute(kTakeBack); !taken.ok()) return taken;
  KillPoint("retry: before the commit");
  if (absl::Status committed = (*ledger)->Execute("COMMIT"); !committed.ok()) return committed;
  KillPoint("retry: committed");
  return RejectRetry{.rejected_rows = *rejected, .refused_rows = *refused};
}

}  // namespace reembed
