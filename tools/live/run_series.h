// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_RUN_SERIES_H_
#define REEMBED_TOOLS_LIVE_RUN_SERIES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/run_snapshot.h"

namespace reembed {

// One look at a run, as plots want it: sums since it began, and how it went just then.
struct SeriesPoint {
  double seconds = 0;  // since the run began
  double rows = 0;     // that it was through with
  double rejected = 0;
  double requests = 0;
  double http_429 = 0;
  double tokens = 0;
  double cost_usd = 0;
  double rows_per_second = 0;
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
  double quota_requests_per_minute = 0;  // 0: nobody has named one
  double quota_tokens_per_minute = 0;
  double latency_seconds = 0;
  double in_the_air = 0;
  double concurrency = 0;
};

SeriesPoint PointOf(const RunSnapshot& run, double seconds);

// The course of one run in at most kMostPoints looks at even distances: when there are more, every second one goes, and
// the distance doubles. Not thread-safe.
class RunSeries {
 public:
  static constexpr size_t kMostPoints = 240;

  explicit RunSeries(double every_seconds) : every_(every_seconds) {}

  // What comes sooner than the distance wants is left out.
  void Add(const SeriesPoint& point);
  // Kept whatever the distance is.
  void AddLast(const SeriesPoint& point);

  const std::vector<SeriesPoint>& points() const { return points_; }

 private:
  double every_;
  std::vector<SeriesPoint> points_;
};

// One run of a job, as it is kept in the job's folder: a file series-START.json each, of some 80 kB at most.
struct RunCourse {
  absl::Time started;
  std::vector<SeriesPoint> points;
  std::string look;  // the last LookJson() of the run
};

// Writes the run over what there was of it; of more than kMostCourses the oldest go. Errors: those of
// ReplaceOwnFileForNow().
inline constexpr size_t kMostCourses = 16;
absl::Status KeepCourse(const std::string& job, const RunCourse& run);

// All that are kept, the oldest first; none: an empty list. What cannot be read is left out.
std::vector<RunCourse> CoursesOf(const std::string& job);

// [{"seconds":1,"rows":200,...},...]
std::string PointsJson(const std::vector<SeriesPoint>& points);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_RUN_SERIES_H_
