// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <memory>
#include <vector>

#include "engine/locked_sink.h"
#include "engine/publish_targets.h"
#include "engine/status_macros.h"
#include "io/job/undo_store.h"
#include "tools/column_locks.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/preflight.h"
#include "tools/prepare_run.h"
#include "tools/registry.h"
#include "tools/shard_parent.h"
#include "tools/shards_resolved.h"
#include "tools/signals.h"

namespace reembed {
namespace {

// Returns what was done, for people.
absl::StatusOr<std::string> Publish(const ParentOptions& options, const Environment& environment,
                                    const StopSignals& signals) {
  ABSL_ASSIGN_OR_RETURN(const Shards shards, FindShards(options.parent));
  ABSL_RETURN_IF_ERROR(CheckAllComplete(options.parent, shards));
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob job, ResolveShare(shards.folders.front(), environment));
  ColumnLocks columns([&options](const std::string& note) { Note(note, options.json); });
  UndoStore undo(job.directory);
  std::vector<std::unique_ptr<VectorSink>> sinks;
  std::vector<std::unique_ptr<UndoLog>> logs;
  std::vector<NamedSink> named;
  for (const Store& target : job.targets) {
    if (target.kind->whole_file != nullptr) continue;
    ABSL_ASSIGN_OR_RETURN(TargetLock* const lock,
                          columns.LockShared(target, absl::StrCat("in shares, plan ", shards.plan.id), "publish"));
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorSink> sink, MakeSink(target, job.client.model, job.source));
    sinks.push_back(Locked(std::move(sink), lock));
    logs.push_back(KeepsUndo(job, target) ? undo.LogOf(target.location.ToString()) : nullptr);
    named.push_back({target.location.ToString(), sinks.back().get(), logs.back().get()});
  }
  RunCounters counters;
  bool published = false;
  const auto publish = [&] { return PublishTargets(named, job.client.model, &counters, signals.token()); };
  return CompleteShare(job, publish, &published);
}

}  // namespace

ExitCode PublishCommand(const ParentOptions& options, const Environment& environment) {
  const StopSignals signals(
      {.command = "publish", .left = "run the same command again to complete it", .json = options.json});
  const absl::StatusOr<std::string> done = Publish(options, environment, signals);
  if (!done.ok()) return Fail("publish", done.status(), options.json);
  if (options.json) {
    JsonLine line("summary");
    std::cout << line.Add("job", options.parent).Add("exit_code", 0).ToString() << std::endl;
  } else {
    std::cout << *done << std::endl;
  }
  return kExitDone;
}

}  // namespace reembed
