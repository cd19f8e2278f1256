// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_UNDO_PLAN_H_
#define REEMBED_TOOLS_UNDO_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tools/preflight.h"
#include "tools/resolve.h"

namespace reembed {

// What a run overwrites in one of its targets, and how that comes back.
struct UndoPlan {
  std::string target;  // as people see it
  enum class WayBack { kKept, kSwitch, kNone } way_back = WayBack::kKept;
  int64_t rows = 0;      // vectors that are replaced
  bool at_most = false;  // nobody has counted them
  int64_t bytes = 0;     // of JOB/undo.db, about
};

// One for each target that has rows; files are made anew. Reads only. `rows`: that a run will write to each target.
absl::StatusOr<std::vector<UndoPlan>> PlanUndo(const ResolvedJob& job, const Preflight& preflight, int64_t rows);

// What --force-recreate drops, for which there is no way back; empty: nothing.
std::string WithoutWayBack(const ResolvedJob& job);

// For people, in one line; as an array of JSON objects.
std::string UndoText(const UndoPlan& plan, const std::string& job_directory);
std::string UndoJson(absl::Span<const UndoPlan> plans);

}  // namespace reembed

#endif  // REEMBED_TOOLS_UNDO_PLAN_H_
