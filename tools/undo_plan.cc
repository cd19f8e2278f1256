// SPDX-License-Identifier: Apache-2.0
#include "tools/undo_plan.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "tools/format.h"
#include "tools/place.h"
#include "tools/registry.h"

namespace reembed {
namespace {

// A row of the undo log without the bytes of its vector, with its place in the index.
constexpr int64_t kUndoBytesPerRow = 80;

// Of an undo log in which there is nearly nothing: its tables and indexes, in pages of 32 KiB.
constexpr int64_t kUndoFileBytes = int64_t{6} * 32768;

// Of vectors that are text in any kind of table: Python and JavaScript print a float32 with the digits of a double.
constexpr int64_t kTextNumberBytes = 22;

// What a number takes in a cell.
int64_t BytesPerNumber(const Store& target) {
  return absl::StartsWith(target.location.Get("encoding"), "json") ? kTextNumberBytes : target.kind->old_number_bytes;
}

bool IsSelected(const ResolvedJob& job, int dim) {
  return job.selection.rows == Selection::Rows::kAll || dim != job.client.model.dim;
}

// The rows of the source's own table that have something where the vector goes, and the numbers in it.
void CountOwn(const ResolvedJob& job, const Survey& survey, UndoPlan* plan, int64_t* numbers) {
  plan->rows = survey.rows_selected - survey.rows_null;
  if (job.selection.rows != Selection::Rows::kAll) plan->rows -= survey.rows_with_vector;
  for (const Survey::WidthCount& width : survey.widths) {
    if (IsSelected(job, static_cast<int>(width.dim))) *numbers += std::max<int64_t>(0, width.dim) * width.rows;
  }
}

absl::StatusOr<UndoPlan> PlanTarget(const ResolvedJob& job, const Preflight& preflight, size_t target, int64_t rows) {
  const Store& store = job.targets[target];
  const Location& location = store.location;
  UndoPlan plan{.target = PlaceText(location)};
  Overwriting overwriting;
  if (store.kind->overwriting != nullptr) {
    ABSL_ASSIGN_OR_RETURN(overwriting, store.kind->overwriting(location, job.client.model));
  }
  if (overwriting.kind == Overwriting::Kind::kSwitch && !overwriting.keeps_old) {
    plan.way_back = UndoPlan::WayBack::kNone;
    plan.rows = rows;
    plan.at_most = true;
    return plan;
  }
  if (overwriting.kind == Overwriting::Kind::kSwitch) {
    plan.way_back = KeepsUndo(job, store) ? UndoPlan::WayBack::kSwitch : UndoPlan::WayBack::kNone;
    if (plan.way_back == UndoPlan::WayBack::kNone) return plan;
    plan.bytes = kUndoFileBytes + (location.Get("model_column").empty() ? 0 : rows * kUndoBytesPerRow);
    return plan;
  }
  int64_t numbers = 0;
  if (overwriting.kind == Overwriting::Kind::kRows && job.in_place && target == 0) {
    CountOwn(job, *preflight.survey, &plan, &numbers);
  } else if (overwriting.kind == Overwriting::Kind::kRows) {
    // Another table than the source's was not looked at: at most every row has a vector there.
    plan.rows = overwriting.rows < 0 ? rows : std::min(rows, overwriting.rows);
    plan.at_most = plan.rows > 0;
    numbers = plan.rows * job.client.model.dim;
  }
  plan.bytes = kUndoFileBytes + rows * kUndoBytesPerRow + numbers * BytesPerNumber(store);
  if (KeepsUndo(job, store)) return plan;
  plan.way_back = UndoPlan::WayBack::kNone;
  plan.bytes = 0;
  return plan;
}

}  // namespace

absl::StatusOr<std::vector<UndoPlan>> PlanUndo(const ResolvedJob& job, const Preflight& preflight, int64_t rows) {
  std::vector<UndoPlan> plans;
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const StoreKind& kind = *job.targets[i].kind;
    if (!kind.is_table() && kind.roll_back == nullptr) continue;
    ABSL_ASSIGN_OR_RETURN(UndoPlan plan, PlanTarget(job, preflight, i, rows));
    plans.push_back(std::move(plan));
  }
  return plans;
}

std::string WithoutWayBack(const ResolvedJob& job) {
  if (!job.options.force_recreate || job.recreated_tables.empty()) return "";
  return absl::StrCat("--force-recreate drops the tables ", absl::StrJoin(job.recreated_tables, ", "),
                      " with all that is in them: no rollback brings that back");
}

std::string UndoText(const UndoPlan& plan, const std::string& job_directory) {
  const std::string rollback = absl::StrCat("`reembed rollback ", job_directory, "`");
  if (plan.way_back == UndoPlan::WayBack::kSwitch) {
    return absl::StrCat("nothing in ", plan.target,
                        ": new vectors are built beside the old ones and take their place at the end; ", rollback,
                        " switches back");
  }
  const std::string what = plan.rows == 0
                               ? "nothing"
                               : absl::StrCat(plan.at_most ? "at most " : "", Counted(plan.rows, "vector", "vectors"));
  if (plan.way_back == UndoPlan::WayBack::kNone) {
    return absl::StrCat(what, " in ", plan.target,
                        plan.rows == 0 ? "" : ": what is overwritten cannot be brought back");
  }
  return absl::StrCat(
      what, " in ", plan.target,
      plan.rows == 0 ? absl::StrCat("; ", rollback, " takes away what the run adds")
                     : absl::StrCat(": what is overwritten is kept, and ", rollback, " puts it back"),
      plan.bytes == 0 ? "" : absl::StrCat(" (", plan.at_most ? "at most" : "about", " ", BytesText(plan.bytes), ")"));
}

std::string UndoJson(absl::Span<const UndoPlan> plans) {
  std::vector<std::string> objects;
  for (const UndoPlan& plan : plans) {
    objects.push_back(JsonWriter()
                          .Add("target", plan.target)
                          .Add("rows", plan.rows)
                          .AddRaw("rows_exact", plan.at_most ? "false" : "true")
                          .Add("undo_bytes", plan.bytes)
                          .Add("way_back", plan.way_back == UndoPlan::WayBack::kKept     ? "kept"
                                           : plan.way_back == UndoPlan::WayBack::kSwitch ? "switch"
                                                                                         : "none")
                          .ToString());
  }
  return JsonArray(objects);
}

}  // namespace reembed
