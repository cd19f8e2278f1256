// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_LIVE_SERVICES_H_
#define REEMBED_TOOLS_LIVE_LIVE_SERVICES_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "io/net/line_socket.h"
#include "tools/live/dashboard.h"
#include "tools/live/live_run.h"
#include "tools/live/metrics.h"
#include "tools/live/run_series.h"
#include "tools/live/status_signal.h"
#include "tools/options.h"

namespace reembed {

// The socket of a job, in its directory.
std::string ControlSocketOf(const std::string& job);

// What --dashboard, --metrics and --metrics-file say must make sense. Errors: kInvalidArgument (names the flag).
absl::Status CheckLiveOptions(const CommandOptions& options);

// Everything that shows a run to somebody and takes his word, from threads of its own: the socket of the job, and
// what was asked for of dashboard, metrics and metrics file; and the course of the run, which is kept in the job.
// What cannot be had (a port that is taken, a path too long for a socket) is said, and the run goes on without it.
class LiveServices {
 public:
  // `live` and `signal` are borrowed. `note` gets what people should know; from any thread.
  LiveServices(const CommandOptions& options, const std::string& job, LiveRun* live, StatusSignal* signal,
               std::function<void(const std::string&)> note);
  LiveServices(const LiveServices&) = delete;
  LiveServices& operator=(const LiveServices&) = delete;
  // Shows the end to whoever looks, writes it down, and closes everything.
  ~LiveServices();

 private:
  void OpenSocket();
  void OpenPages(const CommandOptions& options);
  void Watch(const std::stop_token& done);
  std::string Points();
  void WriteMetrics(const LiveLook& look);
  void KeepCourse(const LiveLook& look);

  const std::string job_;
  const std::string metrics_file_;
  LiveRun* const live_;
  StatusSignal* const signal_;
  const std::function<void(const std::string&)> note_;
  const absl::Time started_;
  const Moment start_;
  bool metrics_failed_ = false;  // has been said
  bool course_failed_ = false;   // likewise
  Mutex mutex_;
  RunSeries series_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<LineSocket> socket_;
  std::unique_ptr<MetricsServer> metrics_;
  std::unique_ptr<DashboardServer> dashboard_;
  std::jthread watcher_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_LIVE_SERVICES_H_
