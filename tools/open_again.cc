// SPDX-License-Identifier: Apache-2.0
#include "tools/open_again.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "tools/changed_rows.h"
#include "tools/preflight.h"
#include "tools/take_stock.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

// A server that is started anew again and again is nobody's fault here.
constexpr int kMaxServings = 20;

}  // namespace

absl::Status OpenAgain(Prepared* prepared) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  ABSL_ASSIGN_OR_RETURN(Preflight again, Check(job));
  prepared->preflight.sinks.clear();
  prepared->preflight.source = std::move(again.source);
  prepared->preflight.rows_selected = again.rows_selected;
  ABSL_ASSIGN_OR_RETURN(prepared->preflight.lookup, OpenAllRows(job));
  for (size_t i = 0; i < again.sinks.size(); ++i) {
    prepared->preflight.sinks.push_back(Locked(std::move(again.sinks[i]), prepared->columns[i]));
  }
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, store->Stats());
  return ClaimTargets(job, stats, std::max(again.rows_selected, stats.rows), prepared->locks, store);
}

absl::Status ServeAgain(const absl::Status& lost, Prepared* prepared, RunWatch* watch, RunOutcome* outcome) {
  const ResolvedJob& job = prepared->job;
  // Rows of standard input that were read are gone, and those of a limit would be counted twice.
  if (job.source.kind->is_stream || job.options.limit > 0 || ++outcome->servings > kMaxServings) return lost;
  PrintNote(job, absl::StrCat(lost.message(), "; those rows are written again, without buying"));
  // New rows are others by now.
  ABSL_ASSIGN_OR_RETURN(prepared->changed,
                        MarkChanged(job, "", /*written=*/0, prepared->store.get(), [](const LedgerRow&) {}));
  watch->NoteChanged(prepared->changed.rows_changed);
  ABSL_RETURN_IF_ERROR(prepared->store->Sync());
  return OpenAgain(prepared);
}

}  // namespace reembed
