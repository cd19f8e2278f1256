// SPDX-License-Identifier: Apache-2.0
// The small files of a job: what runs left of its targets, who has its lock, the canary's vectors, the course of a run.
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "io/job/canary_file.h"
#include "io/job/lock_owner.h"
#include "io/job/target_record.h"
#include "tests/fuzz/fuzz.h"
#include "tools/live/json_member.h"
#include "tools/live/run_series.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  for (const absl::StatusOr<LockOwner>& owner : {ParseLockOwner(text), ParsePlaceOwner(text)}) {
    Saw(owner.status());
    if (owner.ok()) (void)OwnerWords(*owner);
  }
  scratch.Write("targets", text);
  const absl::StatusOr<TargetRecords> records = ReadTargetRecords(scratch.dir());
  Saw(records.status());
  if (records.ok()) {
    for (const auto& [name, record] : *records) Require(name.find('\n') == std::string::npos, "a name is one line");
  }
  scratch.Write("canary.f32", text);
  Saw(ReadCanary(scratch.dir(), 4).status());
  scratch.Write("series-20261130T101500.000Z.json", text);
  for (const RunCourse& course : CoursesOf(scratch.dir())) {
    for (const SeriesPoint& point : course.points) Require(std::isfinite(point.rows), "what is plotted is finite");
    (void)JsonMember(course.look, "state");
  }
  return 0;
}
