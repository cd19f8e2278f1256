// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/status_macros.h"
#include "tools/byte_size.h"
#include "tools/command_output.h"
#include "tools/format.h"
#include "tools/launch/kubernetes_manifest.h"
#include "tools/launch/launch.h"
#include "tools/output.h"

namespace reembed {
namespace {

constexpr absl::Duration kLongestAnswer = absl::Minutes(5);  // of a cluster; replacing waits for pods that end
constexpr char kJobFolder[] = "/data";                       // where the image works
constexpr absl::Duration kTimeToEnd = absl::Seconds(20);     // behind --stop-wait

// NAME or NAME=PATH.
NamedMount MountOf(const std::string& word) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(word, absl::MaxSplits('=', 1));
  return {.name = parts.first, .path = parts.second};
}

absl::StatusOr<KubernetesManifestParts> PartsOf(const KubernetesOptions& options) {
  const LaunchOptions& launch = options.launch;
  ABSL_RETURN_IF_ERROR(CheckLaunch(launch, "Kubernetes"));
  KubernetesManifestParts parts;
  if (options.image.empty()) {
    return absl::InvalidArgumentError(
        "--image: name an image that has reembed, as tools/packaging/Containerfile makes");
  }
  if (options.claims.empty()) {
    return absl::InvalidArgumentError(
        "--claim: name the persistent volume claim for the job; all nodes must be able to write to it (ReadWriteMany)");
  }
  parts.name = launch.name.empty() ? KubernetesName(NameOfFolder(launch.run.job)) : launch.name;
  parts.name_space = options.name_space;
  parts.image = options.image;
  for (const std::string& word : options.claims) parts.claims.push_back(MountOf(word));
  for (const std::string& word : options.secrets) parts.secrets.push_back(MountOf(word));
  if (parts.claims.front().path.empty()) parts.claims.front().path = kJobFolder;
  for (const NamedMount& claim : parts.claims) {
    if (!claim.path.empty()) continue;
    return absl::InvalidArgumentError(absl::StrCat("--claim ", claim.name, ": say where, as ", claim.name, "=/texts"));
  }
  if (const std::string& mount = parts.claims.front().path;
      launch.run.job[0] == '/' && !absl::StartsWith(launch.run.job, mount + "/")) {
    return absl::InvalidArgumentError(absl::StrCat("--job ", launch.run.job, ": expected a folder of the claim ",
                                                   parts.claims.front().name, ", which is at ", mount));
  }
  parts.shards = launch.shards;
  parts.at_once = launch.at_once;
  parts.retries = launch.retries;
  parts.cpus = launch.cpus;
  ABSL_ASSIGN_OR_RETURN(parts.memory_bytes, ParseBytes("--memory", launch.memory));
  parts.grace = absl::Ceil(StopWait(launch.run), absl::Seconds(1)) + kTimeToEnd;
  parts.command = ShardCommand(launch);
  parts.command.insert(parts.command.begin(), "reembed");
  return parts;
}

absl::StatusOr<std::string> Kubectl(const KubernetesManifestParts& parts, std::vector<std::string> words,
                                    const std::string& input) {
  words.insert(words.begin(), "kubectl");
  if (!parts.name_space.empty()) words.push_back("--namespace=" + parts.name_space);
  absl::StatusOr<ProgramResult> asked = RunProgram(words, input, kLongestAnswer);
  if (absl::IsNotFound(asked.status())) {
    return absl::NotFoundError(
        "kubectl: there is no such program in $PATH; `--print` shows the manifest, for `kubectl create -f -` "
        "elsewhere");
  }
  ABSL_RETURN_IF_ERROR(asked.status());
  const std::string said(absl::StripAsciiWhitespace(asked->exit_code == 0 ? asked->out : asked->err));
  if (asked->exit_code == 0) return said;
  return absl::UnavailableError(
      absl::StrCat("kubectl ", words[1], " ended with exit code ", asked->exit_code, said.empty() ? "" : ": ", said));
}

// What there is under the job's name: nothing, "running", "failed" or "complete".
absl::StatusOr<std::string> StateOfJob(const KubernetesManifestParts& parts) {
  ABSL_ASSIGN_OR_RETURN(const std::string said,
                        Kubectl(parts,
                                {"get", "job", parts.name, "--ignore-not-found",
                                 "--output=jsonpath={.metadata.name} {.status.conditions[?(@.status==\"True\")].type}"},
                                ""));
  if (said.empty()) return "";
  const std::vector<std::string> words = absl::StrSplit(said, ' ', absl::SkipEmpty());
  for (const std::string& word : words) {
    if (word == "Complete") return "complete";
    if (word == "Failed") return "failed";
  }
  return "running";
}

void Report(const LaunchOptions& launch, const KubernetesManifestParts& parts, absl::string_view done) {
  if (launch.run.json) {
    JsonLine line("launch");
    line.Add("scheduler", "kubernetes").Add("job", launch.run.job).Add("shards", launch.shards);
    line.Add("kubernetes_job", parts.name).Add("namespace", parts.name_space).Add("done", done).Add("exit_code", 0);
    std::cout << line.ToString() << std::endl;
    return;
  }
  const std::string in = parts.name_space.empty() ? "" : absl::StrCat(" --namespace=", parts.name_space);
  std::cout << "job " << parts.name << ": " << done << "\nwatch: kubectl get job " << parts.name << in
            << "\nlogs: kubectl logs --prefix --selector=job-name=" << parts.name << in << std::endl;
}

// Returns what was done, in words.
absl::StatusOr<std::string> Apply(const KubernetesOptions& options, const KubernetesManifestParts& parts,
                                  const std::string& manifest) {
  ABSL_ASSIGN_OR_RETURN(const std::string state, StateOfJob(parts));
  if (state == "running") return "is running, and is not changed";
  if (state == "complete" && !options.launch.complete) return "is complete; --complete starts it again";
  if (state.empty()) {
    ABSL_RETURN_IF_ERROR(Kubectl(parts, {"create", "--filename=-"}, manifest).status());
    return absl::StrCat("created, ", parts.shards, " shards");
  }
  // Its pods have ended; shards that are complete find nothing to do.
  ABSL_RETURN_IF_ERROR(Kubectl(parts, {"replace", "--force", "--filename=-"}, manifest).status());
  return absl::StrCat("had ", state == "failed" ? "failed" : "come to its end", ", and is started again");
}

}  // namespace

ExitCode LaunchKubernetesCommand(const KubernetesOptions& options, const Environment&) {
  const bool json = options.launch.run.json;
  const auto fail = [json](const absl::Status& status) { return Fail("launch kubernetes", status, json); };
  const absl::StatusOr<KubernetesManifestParts> parts = PartsOf(options);
  if (!parts.ok()) return fail(parts.status());
  const absl::StatusOr<std::string> manifest = KubernetesManifest(*parts);
  if (!manifest.ok()) return fail(manifest.status());
  if (options.launch.print) {
    std::cout << *manifest << std::flush;
    return kExitDone;
  }
  const absl::StatusOr<std::string> done = Apply(options, *parts, *manifest);
  if (!done.ok()) return fail(done.status());
  Report(options.launch, *parts, *done);
  return kExitDone;
}

}  // namespace reembed
