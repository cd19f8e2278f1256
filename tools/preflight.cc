#include "tools/preflight.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/store/sqlite_sink.h"
#include "tools/format.h"

namespace reembed {
namespace {

// Rows of one column that are compared with each other must be of one width and one model: refuse to mix, unless all
// are replaced.
absl::Status CheckExistingVectors(const ResolvedJob& job, const SqliteSurvey& survey) {
  if (job.selection.rows == Selection::Rows::kAll) return absl::OkStatus();
  const Model& model = job.client.model;
  const std::string column = absl::StrCat(job.source.path, ": column ", job.source.Get("vector"));
  for (const SqliteSurvey::WidthCount& width : survey.widths) {
    // Some of another width among more of ours are broken rows: they are repaired like missing ones.
    if (width.dim == model.dim || width.dim == 0 || width.rows < survey.rows_with_vector) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        column, " holds ", WithCommas(width.rows), " vectors of ", width.dim, " dimensions, and this job makes ",
        model.dim, "; use --all to replace them, or --dimensions ", width.dim, " to go with them"));
  }
  for (const SqliteSurvey::ModelCount& other : survey.models) {
    if (other.model == model.name || other.model.empty()) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        column, " holds ", WithCommas(other.rows), " vectors of the model ", other.model, ", and this job uses ",
        model.name, "; vectors of two models cannot be compared: use --all to replace them, or --model ", other.model));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t EstimateTokens(absl::string_view text) { return std::max<int64_t>(1, static_cast<int64_t>(text.size()) / 4); }

absl::StatusOr<SqliteSurvey> Survey(const ResolvedJob& job) {
  return SurveySqlite(job.source, SqliteSelectionOf(job.selection));
}

absl::StatusOr<Preflight> Check(const ResolvedJob& job) {
  Preflight preflight;
  absl::StatusOr<std::unique_ptr<Source>> source = OpenSource(job.source, job.selection);
  if (!source.ok()) return source.status();
  preflight.source = *std::move(source);
  for (const Location& target : job.targets) {
    absl::StatusOr<std::unique_ptr<VectorSink>> sink = MakeSink(target, job.client.model, job.source);
    if (!sink.ok()) return sink.status();
    preflight.sinks.push_back(*std::move(sink));
    if (target.scheme != "sqlite") continue;
    const absl::StatusOr<std::vector<std::string>> missing = SqliteMissingColumns(target);
    if (!missing.ok()) return missing.status();
    for (const std::string& column : *missing) {
      preflight.changes.push_back(absl::StrCat("adds the column ", column, " to ", target.Get("table")));
    }
  }
  if (job.in_place) {
    absl::StatusOr<SqliteSurvey> survey = Survey(job);
    if (!survey.ok()) return survey.status();
    if (absl::Status existing = CheckExistingVectors(job, *survey); !existing.ok()) return existing;
    if (job.selection.rows == Selection::Rows::kAll && survey->rows_selected > survey->rows_null) {
      preflight.changes.push_back(
          absl::StrCat("replaces ", WithCommas(survey->rows_selected - survey->rows_null), " vectors"));
    }
    const int64_t broken = survey->rows_selected - survey->rows_null - survey->rows_with_vector;
    if (job.selection.rows != Selection::Rows::kAll && broken > 0) {
      preflight.changes.push_back(
          absl::StrCat("replaces ", WithCommas(broken), " values that are no vector of ", job.client.model.dim));
    }
    preflight.rows_selected = job.selection.rows == Selection::Rows::kAll
                                  ? survey->rows_selected
                                  : survey->rows_selected - survey->rows_with_vector;
    preflight.survey = *std::move(survey);
  } else {
    const absl::StatusOr<int64_t> rows = preflight.source->CountRows();
    if (rows.ok()) preflight.rows_selected = *rows;
  }
  return preflight;
}

}  // namespace reembed
