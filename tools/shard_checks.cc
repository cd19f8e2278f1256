// SPDX-License-Identifier: Apache-2.0
#include "tools/shard_checks.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "engine/vector_reader.h"
#include "tools/format.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/shard_parent.h"
#include "tools/shards_resolved.h"

namespace reembed {
namespace {

// Whether a file that was merged is its parts, one behind the other, to the bit where it keeps all bits.
absl::Status CheckMerged(const Store& whole, size_t number, const Shards& shards, const Environment& environment,
                         int dim, absl::FunctionRef<void(std::string)> problem, std::vector<std::string>* notes) {
  absl::StatusOr<std::unique_ptr<VectorReader>> merged = OpenReader(whole, dim);
  if (absl::IsNotFound(merged.status())) return absl::OkStatus();  // nobody has merged yet
  ABSL_RETURN_IF_ERROR(merged.status());
  const std::string place = PlaceText(whole.location);
  int64_t compared = 0, in_parts = 0;
  for (const std::string& folder : shards.folders) {
    ABSL_ASSIGN_OR_RETURN(const ResolvedJob job, ResolveShare(folder, environment));
    absl::StatusOr<std::unique_ptr<VectorReader>> part = OpenReader(job.targets[number], dim);
    if (absl::IsNotFound(part.status())) return absl::OkStatus();  // said elsewhere
    ABSL_RETURN_IF_ERROR(part.status());
    in_parts += (*part)->rows();
    if (whole.kind->least_cosine != 0) continue;
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> theirs, (*part)->Next());
      if (!theirs.has_value()) break;
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> ours, (*merged)->Next());
      ++compared;
      if (ours.has_value() && ours->key == theirs->key && ours->vector == theirs->vector) continue;
      problem(absl::StrCat(place, ": row ", KeyText(theirs->key), ": is not as in the part of ", folder));
      if (!ours.has_value()) break;
    }
  }
  if ((*merged)->rows() != in_parts) {
    problem(absl::StrCat(place, ": has ", Counted((*merged)->rows(), "row", "rows"), ", and its parts ", in_parts));
  }
  if (compared > 0) notes->push_back(absl::StrCat(place, ": ", Counted(compared, "row", "rows"), " as in the parts"));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckShards(const std::string& parent, const Environment& environment,
                         absl::FunctionRef<void(std::string)> problem, std::vector<std::string>* notes) {
  const absl::StatusOr<Shards> shards = FindShards(parent);
  if (absl::IsNotFound(shards.status())) return absl::OkStatus();  // it was not
  ABSL_RETURN_IF_ERROR(shards.status());
  for (const int missing : shards->missing) {
    problem(absl::StrCat("shard ", missing, " of ", shards->plan.shards, ": is not complete; run it with --shard ",
                         missing, "/", shards->plan.shards));
  }
  if (!shards->missing.empty()) return absl::OkStatus();
  if (absl::Status one_plan = CheckAllComplete(parent, *shards); !one_plan.ok()) {
    problem(std::string(one_plan.message()));
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob first, ResolveShare(shards->folders.front(), environment));
  const bool has_tables =
      std::any_of(first.targets.begin(), first.targets.end(), [](const Store& t) { return t.kind->is_table(); });
  if (has_tables && !IsPublished(parent)) {
    problem(absl::StrCat(parent, ": all shards are complete, and the targets are not published; `reembed publish ",
                         parent, "` does it"));
  }
  for (size_t i = 0; i < first.targets.size(); ++i) {
    const Store& whole = first.share->whole_targets[i];
    if (whole.kind->whole_file == nullptr) continue;
    ABSL_RETURN_IF_ERROR(CheckMerged(whole, i, *shards, environment, first.client.model.dim, problem, notes));
  }
  return absl::OkStatus();
}

}  // namespace reembed
