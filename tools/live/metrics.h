// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_METRICS_H_
#define REEMBED_TOOLS_LIVE_METRICS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/live/listen_address.h"
#include "tools/live/live_run.h"

namespace reembed {

class HttpServer;

// A run in Prometheus's text form, version 0.0.4. All names begin with reembed_; data/manual/running.md lists them.
// Every sample has the label reembed_job, the name of the job's folder, so that files of several jobs go together.
// Source: prometheus.io/docs/instrumenting/exposition_formats, and /practices/naming for the names.
std::string MetricsText(const LiveLook& look);

// Replaces the file in one step, readable to everybody, as the collector is mostly another user. Not durably: the next
// one comes soon. Errors: of the file.
absl::Status WriteMetricsFile(const std::string& path, const LiveLook& look);

// Serves GET /metrics to whoever reaches the address; on loopback only to who names this machine as its host.
class MetricsServer {
 public:
  // `look` is called on the server's thread. Errors: as HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const ListenAddress& listen,
                                                              std::function<LiveLook()> look);
  ~MetricsServer();

  const std::string& url() const { return url_; }

 private:
  MetricsServer(std::string url, std::unique_ptr<HttpServer> http);

  const std::string url_;
  const std::unique_ptr<HttpServer> http_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_METRICS_H_
