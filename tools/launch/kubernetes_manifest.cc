// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/kubernetes_manifest.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/launch/exit_rules.h"
#include "tools/launch/quoting.h"

namespace reembed {
namespace {

constexpr char kContainer[] = "reembed";
constexpr size_t kLongestHostName = 63;  // that of a pod is the job's name, a dash and the index

// Of a label of a domain, which is what most names are. `dots`: of several, as those of secrets and claims may be.
absl::Status CheckName(absl::string_view what, absl::string_view name, size_t longest, bool dots) {
  bool good =
      !name.empty() && name.size() <= longest && absl::ascii_isalnum(name.front()) && absl::ascii_isalnum(name.back());
  for (const char c : name) {
    good = good && (absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || (dots && c == '.'));
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " ", name, ": expected at most ", longest,
                                                 " small letters, digits and dashes, a letter or digit at both ends"));
}

absl::Status CheckNames(const KubernetesManifestParts& parts) {
  const size_t index_digits = absl::StrCat(parts.shards - 1).size();
  ABSL_RETURN_IF_ERROR(CheckName("--name", parts.name, kLongestHostName - 1 - index_digits, /*dots=*/false));
  if (!parts.name_space.empty()) {
    ABSL_RETURN_IF_ERROR(CheckName("--namespace", parts.name_space, kLongestHostName, /*dots=*/false));
  }
  for (const NamedMount& claim : parts.claims) {
    ABSL_RETURN_IF_ERROR(CheckName("--claim", claim.name, 253, /*dots=*/true));
  }
  for (const NamedMount& secret : parts.secrets) {
    ABSL_RETURN_IF_ERROR(CheckName("--secret", secret.name, 253, /*dots=*/true));
  }
  for (const std::vector<NamedMount>* const mounts : {&parts.claims, &parts.secrets}) {
    for (const NamedMount& mount : *mounts) {
      if (mount.path.empty() || mount.path[0] == '/') continue;
      return absl::InvalidArgumentError(
          absl::StrCat(mount.name, "=", mount.path, ": expected an absolute path, at which the containers mount it"));
    }
  }
  return absl::OkStatus();
}

// Lines of YAML. The first string that cannot be written is the error of all.
class YamlLines {
 public:
  // A line that is written as it stands.
  void Add(absl::string_view line) { absl::StrAppend(&text_, line, "\n"); }
  // `before`, and a string of the user's.
  void Add(absl::string_view before, absl::string_view what, absl::string_view value) {
    absl::StatusOr<std::string> quoted = YamlQuoted(what, value);
    if (!quoted.ok()) status_.Update(quoted.status());
    Add(absl::StrCat(before, quoted.value_or("")));
  }
  absl::StatusOr<std::string> Text() && {
    if (!status_.ok()) return status_;
    return std::move(text_);
  }

 private:
  std::string text_;
  absl::Status status_;
};

void AddRule(absl::string_view action, const std::vector<int>& codes, YamlLines* out) {
  if (codes.empty()) return;
  out->Add(absl::StrCat("    - action: ", action));
  out->Add("      onExitCodes:");
  out->Add(absl::StrCat("        containerName: ", kContainer));
  out->Add("        operator: In");
  out->Add(absl::StrCat("        values: [", absl::StrJoin(codes, ", "), "]"));
}

// Codes that no rule has count as failures of their index: started again, retries times.
void AddFailurePolicy(YamlLines* out) {
  out->Add("  podFailurePolicy:");
  out->Add("    rules:");
  // A node that is drained, or a pod that makes room, is nobody's failure.
  out->Add("    - action: Ignore");
  out->Add("      onPodConditions:");
  out->Add("      - type: DisruptionTarget");
  out->Add("        status: \"True\"");
  AddRule("Ignore", CodesThat(AfterExit::kTimeIsUp), out);
  AddRule("FailJob", CodesThat(AfterExit::kJobEnds), out);
  AddRule("FailIndex", CodesThat(AfterExit::kShardEnds), out);
}

void AddVariables(const KubernetesManifestParts& parts, YamlLines* out) {
  const bool any = std::any_of(parts.secrets.begin(), parts.secrets.end(),
                               [](const NamedMount& secret) { return secret.path.empty(); });
  if (any) out->Add("        envFrom:");
  for (const NamedMount& secret : parts.secrets) {
    if (!secret.path.empty()) continue;
    out->Add("        - secretRef:");
    out->Add("            name: ", "--secret", secret.name);
  }
}

void AddResources(const KubernetesManifestParts& parts, YamlLines* out) {
  if (parts.cpus <= 0 && parts.memory_bytes <= 0) return;
  constexpr int64_t kMiB = 1 << 20;
  const std::string memory = absl::StrCat((parts.memory_bytes + kMiB - 1) / kMiB, "Mi");
  out->Add("        resources:");
  // A limit of processors would only slow a shard down; one of memory protects the node.
  out->Add("          requests:");
  if (parts.cpus > 0)
    out->Add(absl::StrCat("            cpu: ", static_cast<int64_t>(std::ceil(parts.cpus * 1000)), "m"));
  if (parts.memory_bytes > 0) out->Add(absl::StrCat("            memory: ", memory));
  if (parts.memory_bytes > 0) out->Add(absl::StrCat("          limits:\n            memory: ", memory));
}

void AddVolumes(const KubernetesManifestParts& parts, YamlLines* out) {
  out->Add("        volumeMounts:");
  for (size_t i = 0; i < parts.claims.size(); ++i) {
    out->Add(absl::StrCat("        - name: claim-", i));
    out->Add("          mountPath: ", "--claim", parts.claims[i].path);
  }
  for (size_t i = 0; i < parts.secrets.size(); ++i) {
    if (parts.secrets[i].path.empty()) continue;
    out->Add(absl::StrCat("        - name: secret-", i));
    out->Add("          mountPath: ", "--secret", parts.secrets[i].path);
    out->Add("          readOnly: true");
  }
  out->Add("      volumes:");
  for (size_t i = 0; i < parts.claims.size(); ++i) {
    out->Add(absl::StrCat("      - name: claim-", i, "\n        persistentVolumeClaim:"));
    out->Add("          claimName: ", "--claim", parts.claims[i].name);
  }
  for (size_t i = 0; i < parts.secrets.size(); ++i) {
    if (parts.secrets[i].path.empty()) continue;
    out->Add(absl::StrCat("      - name: secret-", i, "\n        secret:"));
    out->Add("          secretName: ", "--secret", parts.secrets[i].name);
  }
}

void AddPod(const KubernetesManifestParts& parts, YamlLines* out) {
  out->Add("    spec:\n      restartPolicy: Never");
  out->Add(absl::StrCat("      terminationGracePeriodSeconds: ", absl::ToInt64Seconds(parts.grace)));
  // A service of this name would set variables that look like flags of ours.
  out->Add("      enableServiceLinks: false\n      automountServiceAccountToken: false\n      containers:");
  out->Add(absl::StrCat("      - name: ", kContainer));
  out->Add("        image: ", "--image", parts.image);
  out->Add("        workingDir: ", "--claim", parts.claims.front().path);
  out->Add("        command:");
  for (size_t i = 0; i < parts.command.size(); ++i) {
    if (i == 1) out->Add("        args:");
    const std::string& word = parts.command[i];
    out->Add("        - ", word.substr(0, word.find('=')), ContainerWord(word));
  }
  AddVariables(parts, out);
  AddResources(parts, out);
  out->Add("        securityContext:\n          allowPrivilegeEscalation: false");
  AddVolumes(parts, out);
}

}  // namespace

absl::StatusOr<std::string> KubernetesManifest(const KubernetesManifestParts& parts) {
  ABSL_RETURN_IF_ERROR(CheckNames(parts));
  YamlLines out;
  out.Add("# Made by `reembed launch kubernetes`.\napiVersion: batch/v1\nkind: Job\nmetadata:");
  out.Add("  name: ", "--name", parts.name);
  if (!parts.name_space.empty()) out.Add("  namespace: ", "--namespace", parts.name_space);
  out.Add("  labels:\n    app.kubernetes.io/name: reembed");
  out.Add("    app.kubernetes.io/instance: ", "--name", parts.name);
  out.Add("spec:\n  completionMode: Indexed");
  out.Add(absl::StrCat("  completions: ", parts.shards));
  out.Add(absl::StrCat("  parallelism: ", parts.at_once > 0 ? std::min(parts.at_once, parts.shards) : parts.shards));
  out.Add(absl::StrCat("  backoffLimitPerIndex: ", parts.retries));
  // The next pod of a shard comes when the one before has ended, and left its lock.
  out.Add("  podReplacementPolicy: Failed");
  AddFailurePolicy(&out);
  out.Add("  template:\n    metadata:\n      labels:\n        app.kubernetes.io/name: reembed");
  out.Add("        app.kubernetes.io/instance: ", "--name", parts.name);
  AddPod(parts, &out);
  return std::move(out).Text();
}

std::string KubernetesName(absl::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool taken = absl::ascii_isalnum(c);
    if (taken) name += absl::ascii_tolower(c);
    if (!taken && !name.empty() && name.back() != '-') name += '-';
  }
  constexpr size_t kLongest = 50;
  name = name.substr(0, kLongest);
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "reembed" : name;
}

}  // namespace reembed
