// SPDX-License-Identifier: Apache-2.0
#include "index/index_merge.h"

#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "tools/format.h"
#include "tools/index_commands.h"
#include "tools/index_place.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"

namespace reembed {
namespace {

absl::StatusOr<BuiltIndex> Merge(const IndexMergeCommandOptions& options, const Environment& environment,
                                 std::string* path) {
  IndexBuildOptions build;
  build.spec.factory.clear();
  if (!options.factory.empty()) {
    ABSL_ASSIGN_OR_RETURN(build.spec.factory, ParseFactory(options.factory));
  }
  build.version = REEMBED_VERSION;
  build.threads = options.common.threads;
  ABSL_ASSIGN_OR_RETURN(const Store output, IndexPlace(options.output, environment));
  *path = output.location.path;
  std::vector<std::string> parts;
  for (const std::string& index : options.indexes) {
    ABSL_ASSIGN_OR_RETURN(const Store part, IndexPlace(index, environment));
    if (part.location.path == *path) {
      return absl::InvalidArgumentError(
          absl::StrCat(*path, ": is one of the indexes to merge, and cannot be the output, too"));
    }
    parts.push_back(part.location.path);
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PlaceLock> lock, LockIndex(output));
  ABSL_RETURN_IF_ERROR(lock->Claim());
  StageProgress progress(ProgressStyleOf(options.common.progress, options.common.quiet));
  build.progress = [&progress](const BuildProgress& at) { progress.Set(BuildStageName(at.stage), at.done, at.total); };
  absl::StatusOr<BuiltIndex> merged = MergeIndexes(parts, *path, build);
  if (merged.ok()) lock->GiveUp();
  return merged;
}

}  // namespace

ExitCode IndexMergeCommand(const IndexMergeCommandOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  const StopSignals signals({.command = "index merge", .left = "run the same command again", .json = json});
  std::string path;
  const absl::StatusOr<BuiltIndex> merged = Merge(options, environment, &path);
  if (!merged.ok()) return Fail("index merge", merged.status(), json);
  const IndexDescription& d = merged->description;
  if (json) {
    JsonLine line("summary");
    line.Add("index", path)
        .Add("factory", d.factory)
        .Add("rows", d.rows)
        .Add("bytes", merged->bytes)
        .Add("exit_code", 0);
    std::cout << line.ToString() << std::endl;
  } else if (!options.common.quiet) {
    std::cout << path << ": " << d.factory << ", " << Counted(d.rows, "row", "rows") << " of "
              << Counted(static_cast<int64_t>(options.indexes.size()), "index", "indexes") << ", "
              << BytesText(merged->bytes) << std::endl;
  }
  return kExitDone;
}

}  // namespace reembed
