// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_DASHBOARD_H_
#define REEMBED_TOOLS_LIVE_DASHBOARD_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/live/listen_address.h"

namespace reembed {

class HttpServer;

// What a dashboard shows, called on its server's thread.
struct DashboardFeed {
  std::function<std::string()> look;    // LookJson(), or "" while there is nothing to see
  std::function<std::string()> points;  // PointsJson() of the run so far
  // What a button asks for, see LiveRun::Obey(); null: nothing is to be steered.
  std::function<absl::StatusOr<std::string>(absl::string_view words)> obey;
};

// One page that shows a run and steers it:
//
//   GET  /        the page, which fetches nothing from elsewhere
//   GET  /events  server-sent events: `points` first, then `look` every second
//   GET  /look    one look
//   POST /obey    words in the body
//
// All want the token of the address, ?token=..., which is made anew for each server. Without it, or with a Host that is
// a foreign name, or an Origin that is not the page's own, the answer is 403.
class DashboardServer {
 public:
  // Errors: as HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<DashboardServer>> Start(const ListenAddress& listen, DashboardFeed feed);
  DashboardServer(const DashboardServer&) = delete;
  DashboardServer& operator=(const DashboardServer&) = delete;
  // Whoever listens to events gets the last look first.
  ~DashboardServer();

  // "http://127.0.0.1:41234/"
  const std::string& place() const { return place_; }
  // Likewise, with the token: for the eyes of the user, never for a file.
  std::string url() const;

 private:
  class Service;
  DashboardServer(std::string place, std::unique_ptr<Service> service, std::unique_ptr<HttpServer> http);

  const std::string place_;
  const std::unique_ptr<Service> service_;
  const std::unique_ptr<HttpServer> http_;  // last: its thread uses the service
};

// The page itself; made from dashboard.html when the program is built.
absl::string_view DashboardPage();

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_DASHBOARD_H_
