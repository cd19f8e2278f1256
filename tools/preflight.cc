// SPDX-License-Identifier: Apache-2.0
#include "tools/preflight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "tools/format.h"
#include "tools/registry.h"
#include "tools/same_model.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

constexpr double kUnitNormTolerance = 1e-3;  // float32 and bfloat16 models stay well within it

// Looks at the first row, as keys are of one kind mostly: better before the first text is bought than row by row.
absl::Status CheckFirstKey(const ResolvedJob& job, const Store& target) {
  const StoreKind& kind = *target.kind;
  if (kind.check_key == nullptr || job.source.kind->is_stream) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenSource(job.source, job.selection));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, source->Next());
    if (!row.has_value()) return absl::OkStatus();
    // One that is rejected may have a key that only says where it is.
    if (row->text.has_value()) return kind.check_key(target.location, row->key);
  }
}

// `selected`: rows that the run will read; -1: not known.
absl::Status CheckRowCounts(const ResolvedJob& job, int64_t selected) {
  const bool asks = std::any_of(job.targets.begin(), job.targets.end(),
                                [](const Store& target) { return target.kind->check_rows != nullptr; });
  if (selected < 0 || !asks) return absl::OkStatus();
  int64_t before = 0;
  const absl::StatusOr<std::unique_ptr<JobReader>> reader = JobReader::Open(job.directory);
  if (!absl::IsNotFound(reader.status())) {
    ABSL_RETURN_IF_ERROR(reader.status());
    before = (*reader)->rows();
  }
  // A table that is filled in place selects what it lacks; other sources select again what the job has.
  int64_t rows = job.in_place ? before + selected : std::max(before, selected);
  if (job.options.limit > 0) rows = std::min(rows, before + job.options.limit);
  for (const Store& target : job.targets) {
    if (target.kind->check_rows == nullptr) continue;
    ABSL_RETURN_IF_ERROR(target.kind->check_rows(target.location, rows));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LiveProbe> ProbeEmbedder(ResolvedJob* job) {
  if (job->embedder == Embedder::kBuiltin) return LiveProbe();
  // Of several endpoints the first that answers; the canary looks at all of them.
  absl::StatusOr<ApiProbe> probe = ProbeApi(job->client);
  std::string where = job->client.api_base;
  for (size_t i = 1; i < job->endpoints.size() && !probe.ok(); ++i) {
    absl::StatusOr<ApiProbe> other = ProbeApi(job->endpoints[i].client);
    if (!other.ok()) continue;
    probe = std::move(other);
    where = job->endpoints[i].client.api_base;
  }
  ABSL_RETURN_IF_ERROR(probe.status());
  const Model& model = job->client.model;
  if (probe->width != model.dim) {
    return absl::FailedPreconditionError(absl::StrCat(
        where, ": expected vectors of ", model.dim, " dimensions, as the targets get them, ", model.name, " answered ",
        probe->width, "; nothing was written to them: use --dimensions ", probe->width, " or another model"));
  }
  job->client.encoding = probe->encoding;
  const bool unit = std::abs(probe->norm - 1) < kUnitNormTolerance;
  const bool scale = !unit && job->pipeline.normalization == Normalization::kAsReceived;
  return LiveProbe{
      .note = absl::StrFormat("%s answers: %s, %d dimensions, length %.3f%s, %s, %d ms", where, model.name,
                              probe->width, probe->norm, scale ? " (--normalize unit makes that 1)" : "",
                              probe->base64 ? "base64" : "numbers", absl::ToInt64Milliseconds(probe->elapsed)),
      .stats = probe->stats};
}

bool KeepsUndo(const ResolvedJob& job, const Store& target) {
  return !job.options.no_undo && target.kind->roll_back != nullptr;
}

absl::StatusOr<Survey> SurveyTable(const ResolvedJob& job) {
  return job.source.kind->survey(job.source.location, job.selection);
}

absl::StatusOr<Preflight> Check(const ResolvedJob& job) {
  Preflight preflight;
  ABSL_RETURN_IF_ERROR(CheckFileTargets(job));
  ABSL_ASSIGN_OR_RETURN(preflight.source, OpenSource(job.source, job.selection));
  for (const Store& target : job.targets) {
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorSink> sink, MakeSink(target, job.client.model, job.source));
    preflight.sinks.push_back(std::move(sink));
    const bool own = job.in_place && &target == &job.targets[0];  // its keys are the source's
    ABSL_RETURN_IF_ERROR(own ? absl::OkStatus() : CheckFirstKey(job, target));
    const StoreKind& kind = *target.kind;
    if (!kind.is_table()) continue;
    ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> changes, kind.changes(target.location, job.client.model));
    preflight.changes.insert(preflight.changes.end(), changes.begin(), changes.end());
  }
  if (job.options.record) preflight.changes.push_back("adds one memory with the job's receipt to the source");
  if (job.in_place) {
    ABSL_ASSIGN_OR_RETURN(Survey survey, SurveyTable(job));
    if (survey.orphans > 0) {
      preflight.changes.push_back(absl::StrCat("nothing of ", Counted(survey.orphans, "vector", "vectors"), " in ",
                                               PlaceName(job.source.location), " whose rows are gone; they stay"));
    }
    preflight.remarks = survey.remarks;
    ABSL_RETURN_IF_ERROR(CheckRecordedModel(job, survey));
    if (job.selection.rows == Selection::Rows::kAll && survey.rows_selected > survey.rows_null) {
      preflight.changes.push_back(
          absl::StrCat("replaces ", Counted(survey.rows_selected - survey.rows_null, "vector", "vectors")));
    }
    if (survey.rows_needed > 0) {
      preflight.changes.push_back(absl::StrCat("gives ", Counted(survey.rows_needed, "row", "rows"), " of ",
                                               job.source.location.Get("table"),
                                               " a vector, without which the system's search fails now"));
    }
    const int64_t broken = survey.rows_selected - survey.rows_null - survey.rows_with_vector;
    if (job.selection.rows != Selection::Rows::kAll && broken > 0) {
      preflight.changes.push_back(
          absl::StrCat("replaces ", WithCommas(broken), " values that are no vector of ", job.client.model.dim));
    }
    preflight.rows_selected = job.selection.rows == Selection::Rows::kAll
                                  ? survey.rows_selected
                                  : survey.rows_selected - survey.rows_with_vector;
    preflight.survey = std::move(survey);
  } else {
    const absl::StatusOr<int64_t> rows = preflight.source->CountRows();
    if (rows.ok()) preflight.rows_selected = *rows;
  }
  ABSL_RETURN_IF_ERROR(CheckRowCounts(job, preflight.rows_selected));
  return preflight;
}

}  // namespace reembed
