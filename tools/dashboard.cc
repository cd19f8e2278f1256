// SPDX-License-Identifier: Apache-2.0
#include "tools/live/dashboard.h"

#include <iostream>
#include <latch>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/net/line_socket.h"
#include "tools/commands.h"
#include "tools/live/json_member.h"
#include "tools/live/live_services.h"
#include "tools/live/run_series.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/streams.h"

namespace reembed {
namespace {

// The last run that left its course; of one that was killed nobody has written down how it ended.
std::string LastLook(const std::string& job) {
  const std::vector<RunCourse> courses = CoursesOf(job);
  if (courses.empty()) return "";
  std::string look = courses.back().look;
  const std::string state = JsonMember(look, "state");
  const std::string member = absl::StrCat("\"state\":\"", state, "\"");
  if (const size_t at = look.find(member); state != "finished" && at != std::string::npos) {
    look.replace(at, member.size(), "\"state\":\"finished\"");
  }
  return look;
}

std::string LookAt(const std::string& job) {
  const absl::StatusOr<std::string> live = AskLineSocket(ControlSocketOf(job), "status");
  return live.ok() ? *live : LastLook(job);
}

std::string PointsOf(const std::string& job) {
  const std::vector<RunCourse> courses = CoursesOf(job);
  return courses.empty() ? "[]" : PointsJson(courses.back().points);
}

absl::StatusOr<std::string> Tell(const std::string& job, absl::string_view words) {
  absl::StatusOr<std::string> answer = AskLineSocket(ControlSocketOf(job), words);
  if (!answer.ok()) return absl::FailedPreconditionError("the run is over; it cannot be controlled any more");
  if (JsonMember(*answer, "message_type") == "error") {
    return absl::InvalidArgumentError(JsonMember(*answer, "message"));
  }
  return answer;
}

absl::Status Show(const DashboardOptions& options, std::stop_token stop) {
  const std::string& job = options.job;
  ABSL_RETURN_IF_ERROR(JobFolders(job).status());
  if (LookAt(job).empty()) {
    return absl::NotFoundError(absl::StrCat(
        job,
        ": no run of this job is active, and none has left a history; `reembed status` shows what the job contains"));
  }
  ABSL_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress("--listen", options.listen));
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<DashboardServer> server,
      DashboardServer::Start(listen, {.look = [&job] { return LookAt(job); },
                                      .points = [&job] { return PointsOf(job); },
                                      .obey = [&job](absl::string_view words) { return Tell(job, words); }}));
  std::cout << "the dashboard is at " << server->url() << " (until Ctrl-C)" << std::endl;
  std::latch stopped(1);
  const std::stop_callback on_stop(std::move(stop), [&stopped] { stopped.count_down(); });
  stopped.wait();
  return absl::OkStatus();
}

}  // namespace

ExitCode DashboardCommand(const DashboardOptions& options) {
  StopSignals signals({.command = "dashboard", .left = "the page was closed; nothing else has changed"});
  const StopSignals::Work work(&signals, {});
  const absl::Status shown = Show(options, signals.token());
  return shown.ok() ? kExitDone : Fail("dashboard", shown, false);
}

}  // namespace reembed
