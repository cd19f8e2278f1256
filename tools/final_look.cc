// SPDX-License-Identifier: Apache-2.0
#include "tools/final_look.h"

#include <cstdlib>  // __GLIBC__

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/status_macros.h"
#include "tools/changed_rows.h"
#include "tools/open_again.h"
#include "tools/preflight.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

// Whether the rows of the source can be others by now than those that were read.
bool MayHaveChanged(const Prepared& prepared, const RunCounters& counters) {
  const ResolvedJob& job = prepared.job;
  if (counters.rows_embedded + counters.rows_replayed == 0 || job.options.no_changed || job.options.limit > 0) {
    return false;
  }
  if (job.source.kind->is_stream || job.keep_vectors != KeepVectors::kAlways) return false;
  return job.source.kind->is_table() || FileStateOf(job.source) != prepared.source_file;
}

// The pipeline's batches are gone, but glibc keeps their memory for whoever asks next in the same arena, while the
// look's own threads take new memory: a run would be at its largest here.
void GiveMemoryBack() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

absl::Status EmbedWhatChanged(Prepared* prepared, const RunCounters& counters, absl::FunctionRef<absl::Status()> embed,
                              RunWatch* watch) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  if (!MayHaveChanged(*prepared, counters)) return absl::OkStatus();
  for (int pass = 0; pass < job.options.max_passes; ++pass) {
    GiveMemoryBack();
    prepared->source_file = FileStateOf(job.source);
    // What the table has lost of what was written is the last count's affair.
    ABSL_ASSIGN_OR_RETURN(prepared->changed, MarkChanged(job, "", /*written=*/0, store, [](const LedgerRow&) {}));
    ABSL_RETURN_IF_ERROR(store->Sync());
    watch->NoteChanged(prepared->changed.rows_changed);
    ABSL_ASSIGN_OR_RETURN(const bool has_new, HasNewRows(job, prepared->changed.new_rows));
    if (prepared->changed.rows_changed == 0 && !has_new) return absl::OkStatus();
    // Files are complete, and are built again beside.
    ABSL_RETURN_IF_ERROR(ReleaseTargets(job, store->rows(), prepared->locks));
    ABSL_RETURN_IF_ERROR(OpenAgain(prepared));
    ABSL_RETURN_IF_ERROR(embed());
    watch->NotePass();
  }
  return absl::OkStatus();
}

}  // namespace reembed
