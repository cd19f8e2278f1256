// SPDX-License-Identifier: Apache-2.0
#include "tools/live/live_services.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "io/embed/embedding_server.h"
#include "tools/format.h"
#include "tools/live/job_report.h"

namespace reembed {
namespace {

constexpr absl::Duration kBetweenLooks = absl::Seconds(1);
constexpr absl::Duration kBetweenMetrics = absl::Seconds(15);
// A crash loses so much of the course of a run, and nothing else.
constexpr absl::Duration kBetweenKeeping = absl::Seconds(10);

void ShowStatus(const LiveRun& live) {
  // Over the line of progress, if there is one.
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const std::string line = LookLine(live.Look(), std::numeric_limits<size_t>::max());
  std::fprintf(stderr, "%s%s\n", terminal ? "\r\033[K" : "", line.c_str());
}

}  // namespace

std::string ControlSocketOf(const std::string& job) { return absl::StrCat(job, "/control.sock"); }

absl::Status CheckLiveOptions(const CommandOptions& options) {
  if (!options.dashboard.empty()) {
    ABSL_RETURN_IF_ERROR(ParseListenAddress("--dashboard", options.dashboard).status());
  }
  if (!options.metrics.empty()) ABSL_RETURN_IF_ERROR(ParseListenAddress("--metrics", options.metrics).status());
  for (const std::string& report : options.reports) {
    if (absl::Status checked = CheckReportPath(report); !checked.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--report ", checked.message()));
    }
  }
  return absl::OkStatus();
}

LiveServices::LiveServices(const CommandOptions& options, const std::string& job, LiveRun* live, StatusSignal* signal,
                           std::function<void(const std::string&)> note)
    : job_(job),
      metrics_file_(options.metrics_file),
      live_(live),
      signal_(signal),
      note_(std::move(note)),
      started_(absl::Now()),
      start_(MonotonicNow()),
      series_(absl::ToDoubleSeconds(kBetweenLooks) * 0.9) {
  series_.AddLast({});  // the course of the shortest run has a beginning and an end
  OpenPages(options);
  OpenSocket();
  signal_->ShowBy([live] { ShowStatus(*live); });
  watcher_ = std::jthread([this](const std::stop_token& done) { Watch(done); });
}

LiveServices::~LiveServices() {
  signal_->ShowBy(nullptr);
  watcher_.request_stop();
  watcher_.join();
  const LiveLook look = live_->LookAtAll();
  {
    const MutexLock lock(&mutex_);
    series_.AddLast(PointOf(look.total, absl::ToDoubleSeconds(MonotonicNow() - start_)));
  }
  KeepCourse(look);
  if (!metrics_file_.empty()) WriteMetrics(look);
}

void LiveServices::OpenSocket() {
  absl::StatusOr<std::unique_ptr<LineSocket>> socket =
      LineSocket::Listen(ControlSocketOf(job_), [this](absl::string_view words) -> std::string {
        if (words == "dashboard") {
          if (dashboard_ == nullptr) {
            return JsonLine("error").Add("message", "this run was started without --dashboard").ToString();
          }
          return JsonLine("dashboard").Add("url", dashboard_->url()).ToString();
        }
        const absl::StatusOr<std::string> answer = live_->Obey(words);
        return answer.ok() ? *answer : JsonLine("error").Add("message", answer.status().message()).ToString();
      });
  if (socket.ok()) {
    socket_ = *std::move(socket);
  } else {
    note_(absl::StrCat("`reembed ctl` cannot reach this run: ", socket.status().message()));
  }
}

void LiveServices::OpenPages(const CommandOptions& options) {
  const auto warn = [this](absl::string_view flag, absl::string_view what, const ListenAddress& listen) {
    if (EmbeddingServer::IsLoopback(listen.address)) return;
    note_(absl::StrCat(flag, ": whoever reaches ", listen.address, " can read ", what,
                       ", over a connection that is not encrypted"));
  };
  if (!options.metrics.empty()) {
    // Checked before: CheckLiveOptions().
    const ListenAddress listen = *ParseListenAddress("--metrics", options.metrics);
    absl::StatusOr<std::unique_ptr<MetricsServer>> server =
        MetricsServer::Start(listen, [live = live_] { return live->Look(); });
    if (server.ok()) {
      metrics_ = *std::move(server);
      note_(absl::StrCat("metrics are at ", metrics_->url()));
      warn("--metrics", "them", listen);
    } else {
      note_(absl::StrCat("there are no metrics of this run: ", server.status().message()));
    }
  }
  if (options.dashboard.empty()) return;
  const ListenAddress listen = *ParseListenAddress("--dashboard", options.dashboard);
  absl::StatusOr<std::unique_ptr<DashboardServer>> server =
      DashboardServer::Start(listen, {.look = [live = live_] { return LookJson(live->Look()); },
                                      .points = [this] { return Points(); },
                                      .obey = [live = live_](absl::string_view words) { return live->Obey(words); }});
  if (!server.ok()) return note_(absl::StrCat("there is no dashboard of this run: ", server.status().message()));
  dashboard_ = *std::move(server);
  // What is no terminal may be a log, where a token has no place.
  if (isatty(STDERR_FILENO) == 1 && !options.json) {
    note_(absl::StrCat("the dashboard is at ", dashboard_->url()));
  } else {
    note_(absl::StrCat("the dashboard is at ", dashboard_->place(), "; its address with the token: reembed ctl ", job_,
                       " dashboard"));
  }
  warn("--dashboard", "what goes to and from it", listen);
}

std::string LiveServices::Points() {
  const MutexLock lock(&mutex_);
  return PointsJson(series_.points());
}

void LiveServices::Watch(const std::stop_token& done) {
  Moment next_metrics = start_;
  Moment next_keeping = start_ + kBetweenKeeping;
  Mutex mutex;
  std::condition_variable_any never;
  MutexLock lock(&mutex);
  while (!never.wait_for(lock, done, absl::ToChronoNanoseconds(kBetweenLooks), [] { return false; })) {
    if (done.stop_requested()) return;
    const LiveLook look = live_->LookAtAll();
    const Moment now = MonotonicNow();
    {
      const MutexLock series_lock(&mutex_);
      series_.Add(PointOf(look.total, absl::ToDoubleSeconds(now - start_)));
    }
    if (!metrics_file_.empty() && now >= next_metrics) {
      WriteMetrics(look);
      next_metrics = now + kBetweenMetrics;
    }
    if (now >= next_keeping) {
      KeepCourse(look);
      next_keeping = now + kBetweenKeeping;
    }
  }
}

void LiveServices::WriteMetrics(const LiveLook& look) {
  const absl::Status written = WriteMetricsFile(metrics_file_, look);
  if (!written.ok() && !std::exchange(metrics_failed_, true)) {
    note_(absl::StrCat("--metrics-file: ", written.message(), "; the run continues"));
  }
}

void LiveServices::KeepCourse(const LiveLook& look) {
  RunCourse run{.started = started_, .look = LookJson(look)};
  {
    const MutexLock lock(&mutex_);
    run.points = series_.points();
  }
  const absl::Status kept = reembed::KeepCourse(job_, run);
  if (!kept.ok() && !std::exchange(course_failed_, true)) {
    note_(absl::StrCat("the history of this run is not stored for reports: ", kept.message()));
  }
}

}  // namespace reembed
