// SPDX-License-Identifier: Apache-2.0
#include "tools/recount.h"

#include <limits>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/ledger.h"
#include "engine/pipeline.h"
#include "engine/place_name.h"
#include "engine/row_reader.h"
#include "engine/status_macros.h"
#include "tools/format.h"
#include "tools/preflight.h"
#include "tools/registry.h"

namespace reembed {
namespace {

constexpr size_t kNamed = 5;

uint64_t PrintOf(KeyView key) { return HashText(KeyText(key)).lo; }

// Rows with a text that have no vector.
absl::StatusOr<absl::flat_hash_set<uint64_t>> FindLacking(const ResolvedJob& job) {
  Selection selection = job.selection;
  selection.rows = Selection::Rows::kWithoutVector;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, selection));
  absl::flat_hash_set<uint64_t> lacking;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) return lacking;
    if (CheckText(row->text, std::numeric_limits<size_t>::max()).ok()) lacking.insert(PrintOf(row->key));
  }
}

}  // namespace

absl::StatusOr<Recount> RecountTable(const ResolvedJob& job, int64_t rows_rejected, JobStore* store) {
  ABSL_ASSIGN_OR_RETURN(const Survey survey, SurveyTable(job));
  HiddenRows hidden;
  if (const StoreKind& kind = *job.source.kind; kind.find_hidden_rows != nullptr) {
    ABSL_ASSIGN_OR_RETURN(hidden, kind.find_hidden_rows(job.source.location));
  }
  Recount recount{.rows = survey.rows_selected, .rows_with_vector = survey.rows_with_vector, .hidden = hidden};
  if (job.options.limit > 0 || recount.rows - recount.rows_with_vector <= rows_rejected) return recount;
  ABSL_ASSIGN_OR_RETURN(absl::flat_hash_set<uint64_t> lacking, FindLacking(job));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects,
                        store->ListRejects(std::numeric_limits<int64_t>::max()));
  for (const RejectedRow& row : rejects) lacking.erase(PrintOf(ViewOf(row.key)));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, store->Scan(0));
  while (!lacking.empty()) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) break;
    if (row->state != SlotState::kKept || lacking.erase(PrintOf(row->key)) == 0) continue;
    if (recount.rows_emptied++ == 0) recount.first_emptied = row->ordinal;
    if (recount.emptied.size() < kNamed) recount.emptied.push_back(Own(row->key));
  }
  recount.rows_added = static_cast<int64_t>(lacking.size());
  return recount;
}

std::string RecountMessage(const ResolvedJob& job, const Recount& recount) {
  std::vector<std::string> sentences;
  if (recount.rows_emptied > 0) {
    const std::string keys = absl::StrJoin(
        recount.emptied, ", ", [](std::string* out, const Key& key) { absl::StrAppend(out, KeyText(ViewOf(key))); });
    const bool more = recount.rows_emptied > static_cast<int64_t>(recount.emptied.size());
    sentences.push_back(absl::StrCat(
        Counted(recount.rows_emptied, "row", "rows"), " of ", PlaceName(job.source.location), " had been written and ",
        recount.rows_emptied == 1 ? "is empty again (key " : "are empty again (keys ", keys, more ? ", ..." : "",
        "): a trigger of the table or another writer removes the vectors. Fix that first; ",
        "`reembed plan` names the triggers that a run fires, and how to keep them out",
        job.keep_vectors == KeepVectors::kAlways
            ? "; the same command then writes them from the vectors that this job has, and buys nothing"
            : ""));
  }
  if (recount.rows_added > 0) {
    sentences.push_back(absl::StrCat(Counted(recount.rows_added, "row", "rows"), " of ", PlaceName(job.source.location),
                                     " were added during this run and ", recount.rows_added == 1 ? "has" : "have",
                                     " no vector yet; run the same command again"));
  }
  return absl::StrJoin(sentences, "\n");
}

}  // namespace reembed
