// SPDX-License-Identifier: Apache-2.0
#include "tools/live/run_series.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "engine/number/json_reader.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "series-";
constexpr char kSuffix[] = ".json";
constexpr char kStartFormat[] = "%E4Y%m%dT%H%M%E3SZ";

// One table for writing and reading.
struct Column {
  const char* name;
  double SeriesPoint::*value;
};
constexpr Column kColumns[] = {{"seconds", &SeriesPoint::seconds},
                               {"rows", &SeriesPoint::rows},
                               {"rejected", &SeriesPoint::rejected},
                               {"requests", &SeriesPoint::requests},
                               {"http_429", &SeriesPoint::http_429},
                               {"tokens", &SeriesPoint::tokens},
                               {"cost_usd", &SeriesPoint::cost_usd},
                               {"rows_per_second", &SeriesPoint::rows_per_second},
                               {"requests_per_minute", &SeriesPoint::requests_per_minute},
                               {"tokens_per_minute", &SeriesPoint::tokens_per_minute},
                               {"quota_requests_per_minute", &SeriesPoint::quota_requests_per_minute},
                               {"quota_tokens_per_minute", &SeriesPoint::quota_tokens_per_minute},
                               {"latency_seconds", &SeriesPoint::latency_seconds},
                               {"in_the_air", &SeriesPoint::in_the_air},
                               {"concurrency", &SeriesPoint::concurrency}};

// Points as PointsJson() wrote them; names that are not known are passed over.
bool ReadPoints(absl::string_view json, std::vector<SeriesPoint>* points) {
  JsonScanner scanner(json);
  return ForEachElement(&scanner, [points](absl::string_view element) {
    SeriesPoint point;
    JsonScanner members(element);
    const bool good = ForEachMember(&members, [&point](absl::string_view name, absl::string_view value) {
      double number = 0;
      if (!absl::SimpleAtod(value, &number) || !std::isfinite(number)) return false;
      for (const Column& column : kColumns) {
        if (name == column.name) point.*column.value = number;
      }
      return true;
    });
    points->push_back(point);
    return good;
  });
}

std::optional<RunCourse> ReadRun(const fs::path& path) {
  std::ifstream file(path);
  const std::string json((std::istreambuf_iterator<char>(file)), {});
  RunCourse run;
  std::string ignored;
  const std::string stem = path.stem().string();
  if (!absl::ParseTime(kStartFormat, absl::StripPrefix(stem, kPrefix), &run.started, &ignored)) return std::nullopt;
  JsonScanner scanner(json);
  const bool good = ForEachMember(&scanner, [&run](absl::string_view name, absl::string_view value) {
    if (name == "points" && !ReadPoints(value, &run.points)) return false;
    if (name == "look") run.look = std::string(value);
    return true;
  });
  if (!good) return std::nullopt;
  return run;
}

// The files of runs, the oldest first: their names are times.
std::vector<fs::path> Files(const std::string& job) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(job, ignored)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, kPrefix) && absl::EndsWith(name, kSuffix)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

SeriesPoint PointOf(const RunSnapshot& run, double seconds) {
  return {.seconds = seconds,
          .rows = static_cast<double>(run.rows_done + run.rows_rejected),
          .rejected = static_cast<double>(run.rows_rejected),
          .requests = static_cast<double>(run.client.requests),
          .http_429 = static_cast<double>(run.client.http_429),
          .tokens = static_cast<double>(run.client.tokens),
          .cost_usd = run.cost_usd,
          .rows_per_second = run.recent.rows_per_second,
          .requests_per_minute = run.recent.requests_per_minute,
          .tokens_per_minute = run.recent.tokens_per_minute,
          .quota_requests_per_minute = run.client.requests_per_minute,
          .quota_tokens_per_minute = run.client.tokens_per_minute,
          .latency_seconds = absl::ToDoubleSeconds(run.client.latency),
          .in_the_air = static_cast<double>(run.client.in_the_air),
          .concurrency = static_cast<double>(run.client.concurrency)};
}

void RunSeries::Add(const SeriesPoint& point) {
  if (!points_.empty() && point.seconds < points_.back().seconds + every_) return;
  AddLast(point);
}

void RunSeries::AddLast(const SeriesPoint& point) {
  points_.push_back(point);
  if (points_.size() <= kMostPoints) return;
  size_t kept = 1;
  for (size_t i = 2; i < points_.size(); i += 2) points_[kept++] = points_[i];
  points_.resize(kept);
  every_ *= 2;
}

std::string PointsJson(const std::vector<SeriesPoint>& points) {
  std::string json = "[";
  for (const SeriesPoint& point : points) {
    json.append(json.size() > 1 ? ",{" : "{");
    for (const Column& column : kColumns) {
      absl::StrAppendFormat(&json, "%s\"%s\":%.7g", json.back() == '{' ? "" : ",", column.name, point.*column.value);
    }
    json.push_back('}');
  }
  return json + "]";
}

absl::Status KeepCourse(const std::string& job, const RunCourse& run) {
  const std::string name =
      absl::StrCat(kPrefix, absl::FormatTime(kStartFormat, run.started, absl::UTCTimeZone()), kSuffix);
  ABSL_RETURN_IF_ERROR(ReplaceOwnFileForNow(
      absl::StrCat(job, "/", name),
      absl::StrCat("{\"format\":1,\"points\":", PointsJson(run.points), ",\"look\":", run.look, "}\n")));
  std::vector<fs::path> files = Files(job);
  for (size_t i = 0; i + kMostCourses < files.size(); ++i) {
    std::error_code ignored;
    fs::remove(files[i], ignored);
  }
  return absl::OkStatus();
}

std::vector<RunCourse> CoursesOf(const std::string& job) {
  std::vector<RunCourse> runs;
  for (const fs::path& path : Files(job)) {
    if (std::optional<RunCourse> run = ReadRun(path); run.has_value()) runs.push_back(*std::move(run));
  }
  return runs;
}

}  // namespace reembed
