// SPDX-License-Identifier: Apache-2.0
#include "index/index_build.h"

#include <cmath>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/job/place_lock.h"
#include "tools/byte_size.h"
#include "tools/eval_page.h"
#include "tools/format.h"
#include "tools/index_commands.h"
#include "tools/index_place.h"
#include "tools/output.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"

namespace reembed {
namespace {

absl::StatusOr<IndexBuildOptions> OptionsOfBuild(const IndexBuildCommandOptions& options) {
  IndexBuildOptions build;
  ABSL_ASSIGN_OR_RETURN(build.spec.factory,
                        ParseFactory(options.factory.empty() ? build.spec.factory : options.factory));
  ABSL_ASSIGN_OR_RETURN(build.spec.metric, ParseMetric(options.metric));
  ABSL_ASSIGN_OR_RETURN(build.simd, ParseGraphSimd(options.simd));
  ABSL_ASSIGN_OR_RETURN(build.storage, ParseGraphStorage(options.storage));
  ABSL_ASSIGN_OR_RETURN(build.memory, ParseBytes("--build-memory", options.build_memory));
  ABSL_ASSIGN_OR_RETURN(const int64_t memory, ParseBytes("--memory", options.memory));
  if (options.recall > 0 && !options.factory.empty()) {
    return absl::InvalidArgumentError(
        "--recall chooses the type of index, and --factory names it; give only one of them");
  }
  if ((memory > 0 || options.latency_ms > 0) && options.recall == 0) {
    return absl::InvalidArgumentError("--memory and --latency go with --recall, as --memory 4GiB --recall 0.95");
  }
  if (options.recall > 0) {
    build.wish = RecipeWish{.memory = memory, .recall = options.recall, .latency_ms = options.latency_ms};
  }
  build.spec.train_rows = options.train_rows;
  build.spec.ef_construction = options.ef_construction;
  build.version = REEMBED_VERSION;
  build.threads = options.common.threads;
  build.seed = options.seed;
  build.deterministic = options.deterministic;
  build.skip_unusable = options.skip_unusable;
  build.keep_every = absl::Seconds(options.keep_every_seconds);
  return build;
}

void Print(const BuiltIndex& built, const std::string& path, absl::Duration took, const IndexCommon& common) {
  const IndexDescription& d = built.description;
  if (common.json) {
    JsonLine line("summary");
    line.Add("index", path)
        .Add("factory", d.factory)
        .Add("metric", MetricName(d.metric))
        .Add("model", d.model.name)
        .Add("dim", d.model.dim)
        .Add("rows", d.rows)
        .Add("rows_passed_over", built.passed_over)
        .Add("rows_resumed", built.resumed_rows)
        .Add("trained_rows", d.trained_rows)
        .Add("bytes", built.bytes)
        .Add("nprobe", d.nprobe)
        .Add("ef_search", d.ef_search)
        .Add("recall_at_10", d.recall_queries > 0 ? d.recall_at_10 : std::nan(""))
        .Add("recall_queries", d.recall_queries)
        .Add("elapsed_seconds", absl::ToDoubleSeconds(took))
        .Add("exit_code", built.passed_over > 0 ? static_cast<int>(kExitRejectedRows) : 0);
    std::cout << line.ToString() << std::endl;
    return;
  }
  if (common.quiet) return;
  std::cout << path << ": " << d.factory << ", " << MetricName(d.metric) << ", " << Counted(d.rows, "row", "rows")
            << " of " << d.model.dim << " numbers, " << BytesText(built.bytes) << ", " << DurationText(took);
  if (d.trained_rows > 0) std::cout << ", trained on " << Counted(d.trained_rows, "row", "rows");
  if (d.recall_queries > 0) {
    const bool is_tuned = d.nprobe > 0 || d.ef_search > 0;
    std::cout << absl::StrFormat("; recall@10 %.4f", d.recall_at_10)
              << (is_tuned ? " with " + SearchText({.nprobe = d.nprobe, .ef_search = d.ef_search}) : "")
              << ", measured on " << Counted(d.recall_queries, "query", "queries");
  }
  if (built.resumed_rows > 0) {
    std::cout << "; gone on behind " << Counted(built.resumed_rows, "row", "rows") << " of a build before";
  }
  std::cout << "\nnext: reembed index eval " << path << std::endl;
}

absl::StatusOr<BuiltIndex> Build(const IndexBuildCommandOptions& options, const Environment& environment,
                                 std::string* path) {
  ABSL_ASSIGN_OR_RETURN(IndexBuildOptions build, OptionsOfBuild(options));
  const SecretVariables variables = {options.common.db_token_env, options.common.db_password_env};
  ABSL_ASSIGN_OR_RETURN(const Store index, IndexPlace(options.output, environment));
  *path = index.location.path;
  ABSL_ASSIGN_OR_RETURN(const OpenedVectors vectors,
                        OpenVectors(options.vectors, options.common.dimensions, variables, environment));
  build.model.name = options.model.empty() ? vectors.model : options.model;
  build.source = options.texts.empty() ? vectors.texts : options.texts;
  build.built_from = vectors.uri;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PlaceLock> lock, LockIndex(index));
  ABSL_RETURN_IF_ERROR(lock->Claim());
  StageProgress progress(ProgressStyleOf(options.common.progress, options.common.quiet));
  build.progress = [&progress](const BuildProgress& at) { progress.Set(BuildStageName(at.stage), at.done, at.total); };
  absl::StatusOr<BuiltIndex> built = BuildIndex(vectors.reader.get(), vectors.name, *path, build);
  if (built.ok()) lock->GiveUp();
  return built;
}

}  // namespace

ExitCode IndexBuildCommand(const IndexBuildCommandOptions& options, const Environment& environment) {
  const bool json = options.common.json;
  const StopSignals signals(
      {.command = "index build", .left = "run the same command again to resume it", .json = json});
  const absl::Time begin = absl::Now();
  std::string path;
  const absl::StatusOr<BuiltIndex> built = Build(options, environment, &path);
  if (!built.ok()) return Fail("index build", WithQuotingAdvice(built.status(), {options.vectors}), json);
  if (built->passed_over > 0) {
    Note(absl::StrCat(Counted(built->passed_over, "row was", "rows were"),
                      " passed over; the first: ", built->first_fault),
         json);
  }
  Print(*built, path, absl::Now() - begin, options.common);
  return built->passed_over > 0 ? kExitRejectedRows : kExitDone;
}

}  // namespace reembed
