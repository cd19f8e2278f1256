// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/net/line_socket.h"
#include "tools/commands.h"
#include "tools/live/json_member.h"
#include "tools/live/live_services.h"
#include "tools/output.h"
#include "tools/streams.h"

namespace reembed {
namespace {

absl::StatusOr<std::string> AskRun(const std::string& job, const std::string& words) {
  const std::string path = ControlSocketOf(job);
  absl::StatusOr<std::string> answer = AskLineSocket(path, words);
  if (absl::IsNotFound(answer.status())) {
    ABSL_RETURN_IF_ERROR(JobFolders(job).status());
    return absl::NotFoundError(
        absl::StrCat(job, ": no run of this job is active; `reembed status ", job, "` shows what the job contains"));
  }
  ABSL_RETURN_IF_ERROR(answer.status());
  if (JsonMember(*answer, "message_type") == "error") {
    return absl::InvalidArgumentError(JsonMember(*answer, "message"));
  }
  return answer;
}

// The answer for people.
std::string Text(const std::string& answer) {
  const std::string type = JsonMember(answer, "message_type");
  if (type == "run") return JsonMember(answer, "line");
  if (type == "dashboard") return JsonMember(answer, "url");
  const std::string said = JsonMember(answer, "said");
  if (said == "stop") return "the run stops: no new request is sent, and requests in flight are finished";
  if (said == "abort") return "the run ends: requests in flight are dropped, and the same command resumes";
  std::string text = JsonMember(answer, "paused") == "true" ? "paused: no request is sent until `resume`" : "running";
  for (const char* const limit : {"rpm", "tpm", "concurrency"}) {
    const std::string value = JsonMember(answer, limit);
    if (!value.empty() && value != "null") absl::StrAppend(&text, ", ", limit, " ", value);
  }
  return text;
}

}  // namespace

ExitCode CtlCommand(const CtlOptions& options) {
  const absl::StatusOr<std::string> answer = AskRun(options.job, absl::StrJoin(options.words, " "));
  if (!answer.ok()) return Fail("ctl", answer.status(), options.json);
  std::cout << (options.json ? *answer : Text(*answer)) << std::endl;
  return kExitDone;
}

}  // namespace reembed
