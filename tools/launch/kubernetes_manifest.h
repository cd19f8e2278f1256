// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_KUBERNETES_MANIFEST_H_
#define REEMBED_TOOLS_LAUNCH_KUBERNETES_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The manifest of an Indexed Job, as YAML. Pure.
namespace reembed {

// Something that is known to the cluster by name, and a folder of the containers; empty: none.
struct NamedMount {
  std::string name;
  std::string path;
};

struct KubernetesManifestParts {
  std::string name;
  std::string name_space;  // empty: not said
  std::string image;
  std::vector<NamedMount> claims;   // persistent volume claims, at least one; the command runs in the first
  std::vector<NamedMount> secrets;  // without a path: each key is a variable; with one: each key is a file
  int64_t shards = 1;
  int64_t at_once = 0;  // 0: all
  int64_t retries = 0;
  double cpus = 0;           // 0: not said
  int64_t memory_bytes = 0;  // 0: not said
  absl::Duration grace;      // from TERM until KILL
  std::vector<std::string> command;
};

// Job, batch/v1, for Kubernetes 1.29 and later (backoffLimitPerIndex). What a pod's exit code means is its
// podFailurePolicy, made of CodesThat(). Errors: kInvalidArgument (a name that Kubernetes does not take, no UTF-8).
absl::StatusOr<std::string> KubernetesManifest(const KubernetesManifestParts& parts);

// A name for a job of so many shards, made of any text: small letters, digits and dashes.
std::string KubernetesName(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_KUBERNETES_MANIFEST_H_
