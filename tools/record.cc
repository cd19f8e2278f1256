// SPDX-License-Identifier: Apache-2.0
#include "tools/record.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/key.h"
#include "engine/ledger.h"
#include "engine/owed_rows.h"
#include "engine/status_macros.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/registry.h"
#include "tools/spending.h"

namespace reembed {
namespace {

// All runs of a job together.
struct Totals {
  int64_t rows = 0;
  int64_t requests = 0;
  int64_t tokens = 0;
  double cost_usd = 0;
  absl::Time ended;
  std::optional<absl::Time> switched;
  std::vector<std::string> endpoints;  // of the last run
};

Totals TotalsOf(const JobStats& stats) {
  Totals totals{.rows = stats.rows - stats.rows_pending - stats.rejected_rows};
  for (const Receipt& receipt : stats.receipts) {
    totals.requests += receipt.requests;
    totals.tokens += receipt.tokens;
    totals.cost_usd += receipt.cost_usd;
    totals.ended = receipt.ended;
    if (receipt.switched.has_value()) totals.switched = receipt.switched;
    totals.endpoints = EndpointNames(receipt.endpoints);
  }
  return totals;
}

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone()); }

std::string FactsOf(const ResolvedJob& job, const Totals& totals) {
  std::string endpoints = "[";
  for (const std::string& name : totals.endpoints) {
    absl::StrAppend(&endpoints, endpoints.size() > 1 ? "," : "", KeyJson(KeyView(absl::string_view(name))));
  }
  JsonLine facts("receipt");
  facts.Add("program", "reembed " REEMBED_VERSION)
      .Add("selection", job.identity.selection)
      .Add("model", job.client.model.name)
      .Add("dimensions", job.client.model.dim)
      .Add("rows", totals.rows)
      .Add("requests", totals.requests)
      .Add("tokens", totals.tokens)
      .Add("cost_usd", totals.cost_usd)
      .AddRaw("switched",
              totals.switched.has_value() ? absl::StrCat("\"", absl::FormatTime(*totals.switched), "\"") : "null")
      .AddRaw("endpoints", endpoints + "]");
  return facts.ToString();
}

// Whether the row with this id is one of the job's; whatever it lacked, the run that has ended has made it.
absl::StatusOr<bool> HasRow(JobStore* store, const std::string& id) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<LedgerCursor> rows, store->Scan(0));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows->Next());
    if (!row.has_value()) return false;
    if (row->key == KeyView(absl::string_view(id))) return true;
  }
}

}  // namespace

RunRecord RecordOf(const ResolvedJob& job, const JobStats& stats) {
  const Totals totals = TotalsOf(stats);
  const JobIdentity& identity = job.identity;
  const int64_t begun = stats.receipts.empty() ? 0 : absl::ToUnixMillis(stats.receipts.front().started);
  const TextHash hash = HashText(absl::StrCat(identity.source, "\n", identity.selection, "\n", identity.recipe, "\n",
                                              identity.model, "\n", identity.dim, "\n", begun));
  const bool priced = UsdPerToken(job).value_or(0) > 0;
  return {.id = absl::StrFormat("ffffffff-ffff-8fff-bfff-%012x", hash.lo & 0xffffffffffff),
          .text = absl::StrCat(
              job.selection.rows == Selection::Rows::kAll ? "Re-embedded " : "Embedded ",
              Counted(totals.rows, "memory", "memories"),
              job.selection.rows == Selection::Rows::kAll ? "" : " that had no vector", " with ", job.client.model.name,
              ", ", job.client.model.dim, " dimensions, by reembed (", absl::StrJoin(totals.endpoints, ", "),
              "); the vectors were complete at ", TimeText(totals.switched.value_or(totals.ended)), ". ",
              Counted(totals.requests, "request", "requests"), ", ", Counted(totals.tokens, "token", "tokens"),
              priced ? absl::StrCat(", ", MoneyText(totals.cost_usd)) : "", "."),
          .facts = FactsOf(job, totals),
          .time = totals.ended};
}

absl::StatusOr<std::string> SaveRecord(const ResolvedJob& job, JobStore* store, const PipelineOptions& options,
                                       PipelineParts run, std::stop_token stop) {
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, store->Stats());
  if (stats.rows == 0) return "";
  const RunRecord record = RecordOf(job, stats);
  ABSL_ASSIGN_OR_RETURN(const bool there, HasRow(store, record.id));
  if (there) return "";
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> row, job.source.kind->save_record(job.source.location, record));
  // New ones: those of the run are through, and a target of another width is in its place only now.
  std::vector<std::unique_ptr<VectorSink>> made;
  std::vector<NamedSink> sinks;
  for (size_t i = 0; i < job.targets.size(); ++i) {
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorSink> sink, MakeSink(job.targets[i], job.client.model, job.source));
    made.push_back(std::move(sink));
    sinks.push_back({run.sinks[i].name, made.back().get(), run.sinks[i].undo});
  }
  run.source = row.get();
  run.lookup = nullptr;
  const NewRows new_rows;  // it is the one row of its source
  run.new_rows = &new_rows;
  run.sinks = sinks;
  run.expected_rows = stats.rows + 1;
  ABSL_RETURN_IF_ERROR(RunPipeline(options, run, std::move(stop)));
  ABSL_ASSIGN_OR_RETURN(const JobStats after, store->Stats());
  if (after.rejected_rows + after.refused_rows > stats.rejected_rows + stats.refused_rows) {
    return absl::FailedPreconditionError(absl::StrCat("memory ", record.id, " was rejected, and why: reembed status ",
                                                      job.directory, "; then reembed retry-rejects ", job.directory));
  }
  return record.id;
}

}  // namespace reembed
