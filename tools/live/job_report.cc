// SPDX-License-Identifier: Apache-2.0
#include "tools/live/job_report.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/reject_meter.h"
#include "engine/status_macros.h"
#include "index/index_files.h"
#include "io/job/job_reader.h"
#include "tools/endpoints.h"
#include "tools/eval_page.h"
#include "tools/exit_code.h"
#include "tools/format.h"
#include "tools/live/run_series.h"
#include "tools/registry.h"
#include "tools/reject_file.h"
#include "tools/run_summary.h"
#include "tools/streams.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPlottedRuns = 4;
constexpr int64_t kRejectsRead = 200'000;  // beyond them reasons are not counted

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::LocalTimeZone()); }

std::string NameOf(const std::string& directory) {
  const fs::path path(directory);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

ReportSection Asked(const JobReader& job) {
  const JobIdentity& id = job.identity();
  return {.title = "What was asked",
          .rows = {{"source", id.source},
                   {"rows", id.selection},
                   {"model", absl::StrCat(id.model, ", ", id.dim, " dimensions")},
                   {"vectors", id.normalization}}};
}

ReportSection Result(const JobStats& stats) {
  ReportSection section{.title = "Result"};
  section.rows = {{"rows", WithCommas(stats.rows)},
                  {"with a vector", WithCommas(DoneRows(stats))},
                  {"rejected", WithCommas(RejectedRows(stats))},
                  {"still to do", WithCommas(stats.rows_pending)},
                  {"different texts", WithCommas(stats.texts)},
                  {"vectors kept", WithCommas(stats.kept_texts)},
                  {"bought twice, at most", WithCommas(stats.texts_possibly_rebought)}};
  if (stats.rows_gone > 0) section.rows.push_back({"gone from the source", WithCommas(stats.rows_gone)});
  return section;
}

ReportSection Targets(const std::string& folder, const JobStats& stats) {
  ReportSection section{.title = "Targets", .head = {"target", "state"}};
  const absl::StatusOr<TargetRecords> records = ReadTargetRecords(folder);
  std::vector<std::string> names;
  for (const auto& [name, position] : stats.sinks) names.push_back(name);
  for (const TargetState& target : TargetStates(stats, records.ok() ? *records : TargetRecords(), names)) {
    section.rows.push_back({target.name, TargetStateText(target)});
  }
  return section;
}

// The targets that are indexes, as their own descriptions have them; of others there is none.
ReportSection Indexes(const JobStats& stats) {
  ReportSection section{.title = "Indexes",
                        .head = {"index", "factory", "metric", "rows", "size", "search", "recall@10"}};
  for (const auto& [name, position] : stats.sinks) {
    const absl::StatusOr<Location> location = ParseLocation(name, StoreKinds());
    if (!location.ok() || !KindOf(*location).is_held_in_memory) continue;
    const absl::StatusOr<IndexDescription> found = ReadDescription(IndexPaths(location->path).description);
    if (!found.ok()) continue;  // it is not built yet, or was moved: the table of targets says so
    section.rows.push_back(
        {location->path, found->factory, std::string(MetricName(found->metric)), WithCommas(found->rows),
         BytesText(found->index_file.bytes), SearchText({.nprobe = found->nprobe, .ef_search = found->ef_search}),
         found->recall_queries > 0
             ? absl::StrFormat("%.4f, of %s", found->recall_at_10, Counted(found->recall_queries, "query", "queries"))
             : absl::StrCat("not measured: reembed index eval ", location->path)});
  }
  return section;
}

// Receipts: what was done and paid.
ReportSection Runs(const JobStats& stats) {
  ReportSection section{
      .title = "Runs",
      .head = {"run", "began", "took", "ended", "rows", "requests", "again", "429", "tokens", "money", "by"}};
  for (const Receipt& receipt : stats.receipts) {
    const std::vector<std::string> endpoints = EndpointNames(receipt.endpoints);
    section.rows.push_back({absl::StrCat(receipt.run), TimeText(receipt.started),
                            DurationText(std::max(absl::ZeroDuration(), receipt.ended - receipt.started)),
                            OutcomeWord(receipt.outcome), WithCommas(receipt.rows_embedded),
                            WithCommas(receipt.requests), WithCommas(receipt.requests_retried),
                            WithCommas(receipt.http_429), WithCommas(receipt.tokens), MoneyText(receipt.cost_usd),
                            absl::StrJoin(endpoints, ", ")});
  }
  if (stats.unreceipted_usd > 0) {
    section.text = absl::StrCat("Beside these at most ", MoneyText(stats.unreceipted_usd),
                                ", of runs that were killed and of requests without an answer.");
  }
  return section;
}

absl::StatusOr<ReportSection> Rejects(JobReader* job, const std::string& folder, int64_t rejected) {
  ReportSection section{.title = "Rows without a vector", .head = {"rows", "class", "reason", "for example"}};
  if (rejected == 0) {
    section.head.clear();
    section.text = "There are none.";
    return section;
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rows, job->ListRejects(kRejectsRead));
  RejectMeter general, of_targets;
  for (const RejectedRow& row : rows) {
    (row.sink.empty() ? general : of_targets).Note(ViewOf(row.key), row.reason);
  }
  for (const auto& [meter, by_target] : {std::pair(&general, false), {&of_targets, true}}) {
    for (const RejectedFor& each : meter->List()) {
      section.rows.push_back({WithCommas(each.rows), RejectWord(each.reason.code(), by_target),
                              std::string(each.reason.message()), absl::StrCat("row ", KeyText(ViewOf(each.example)))});
    }
  }
  section.text = absl::StrCat("Each is named in ", folder, "/", kRejectFile,
                              "; to try them again: reembed retry-rejects ", folder);
  return section;
}

Plot PlotOf(const RunCourse& course, const char* title, const char* unit, double SeriesPoint::*value,
            double SeriesPoint::*limit = nullptr) {
  Plot plot{.title = title, .unit = unit, .lines = {{.name = title}}};
  PlotLine quota{.name = "quota", .is_limit = true};
  for (const SeriesPoint& point : course.points) {
    plot.lines[0].seconds.push_back(point.seconds);
    plot.lines[0].values.push_back(point.*value);
    if (limit == nullptr || point.*limit <= 0) continue;
    quota.seconds.push_back(point.seconds);
    quota.values.push_back(point.*limit);
  }
  if (!quota.values.empty()) plot.lines.push_back(std::move(quota));
  return plot;
}

ReportSection Course(const RunCourse& course) {
  ReportSection section{.title = absl::StrCat("The run of ", TimeText(course.started))};
  section.plots = {
      PlotOf(course, "Rows a second", "", &SeriesPoint::rows_per_second),
      PlotOf(course, "Requests a minute", "", &SeriesPoint::requests_per_minute,
             &SeriesPoint::quota_requests_per_minute),
      PlotOf(course, "Tokens a minute", "", &SeriesPoint::tokens_per_minute, &SeriesPoint::quota_tokens_per_minute),
      PlotOf(course, "Latency", " s", &SeriesPoint::latency_seconds),
      PlotOf(course, "Requests in the air", "", &SeriesPoint::in_the_air, &SeriesPoint::concurrency)};
  const bool paid = std::any_of(course.points.begin(), course.points.end(),
                                [](const SeriesPoint& point) { return point.cost_usd > 0; });
  section.plots.push_back(paid ? PlotOf(course, "Money", " US dollars", &SeriesPoint::cost_usd)
                               : PlotOf(course, "Rows", "", &SeriesPoint::rows));
  return section;
}

}  // namespace

absl::StatusOr<ReportPage> ReportOf(const std::string& job) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> folders, JobFolders(job));
  ReportPage page{.title = absl::StrCat("reembed: ", NameOf(job))};
  int64_t rows = 0, done = 0;
  double money = 0;
  for (const std::string& folder : folders) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> reader, JobReader::Open(folder));
    ABSL_ASSIGN_OR_RETURN(const JobStats stats, reader->Stats());
    rows += stats.rows;
    done += DoneRows(stats);
    for (const Receipt& receipt : stats.receipts) money += receipt.cost_usd;
    ABSL_ASSIGN_OR_RETURN(ReportSection rejects, Rejects(reader.get(), folder, RejectedRows(stats)));
    for (ReportSection& section : std::vector<ReportSection>{Asked(*reader), Result(stats), Targets(folder, stats),
                                                             Indexes(stats), Runs(stats), std::move(rejects)}) {
      if (section.rows.empty() && section.text.empty()) continue;
      if (folders.size() > 1) section.title = absl::StrCat(NameOf(folder), ": ", section.title);
      page.sections.push_back(std::move(section));
    }
  }
  const std::vector<RunCourse> courses = CoursesOf(job);
  for (size_t i = courses.size() - std::min(courses.size(), kPlottedRuns); i < courses.size(); ++i) {
    page.sections.push_back(Course(courses[i]));
  }
  page.text = absl::StrCat(WithCommas(done), " of ", Counted(rows, "row has its vector", "rows have their vectors"),
                           "; all runs together cost ", MoneyText(money), ". Written on ", TimeText(absl::Now()),
                           " by reembed ", REEMBED_VERSION, " from ", job, ".");
  return page;
}

absl::Status WriteJobReport(const std::string& job, const std::string& path) {
  ABSL_RETURN_IF_ERROR(CheckReportPath(path));
  ABSL_ASSIGN_OR_RETURN(const ReportPage page, ReportOf(job));
  return WriteReport(page, path);
}

}  // namespace reembed
