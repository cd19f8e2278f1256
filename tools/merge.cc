// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/batch.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "engine/vector_reader.h"
#include "io/file/own_file.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/shards_resolved.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"
#include "tools/target_files.h"

namespace reembed {
namespace {

constexpr int kRowsOfBatch = 512;

// The vectors of one part, behind those that are in the sink. `rows`: how many these are; `added` is told of each
// batch.
absl::Status AddPart(VectorReader* reader, VectorSink* sink, Batch* batch, int64_t* rows,
                     absl::FunctionRef<void()> added) {
  const int dim = batch->dim();
  const auto write = [&]() -> absl::Status {
    if (batch->rows().empty()) return absl::OkStatus();
    batch->set_range({batch->rows().front().ordinal, *rows});
    std::vector<RefusedRow> refused;
    const Batch* const full = batch;
    ABSL_RETURN_IF_ERROR(sink->Write({&full, 1}, &refused));
    if (!refused.empty()) return refused.front().reason;
    batch->Clear();
    added();
    return absl::OkStatus();
  };
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> stored, reader->Next());
    if (!stored.has_value()) return write();
    if (static_cast<int>(stored->vector.size()) != dim) {
      return absl::DataLossError(absl::StrCat("row ", KeyText(stored->key), ": expected a vector of ", dim,
                                              " numbers, got one of ", stored->vector.size()));
    }
    const auto* const text = std::get_if<absl::string_view>(&stored->key);
    if (!batch->Fits(text == nullptr ? 0 : text->size(), 0)) {
      ABSL_RETURN_IF_ERROR(write());
    }
    BatchRow* const row = batch->AddRow((*rows)++, stored->key, /*slot=*/0);
    const absl::Span<float> room = batch->TakeLoadSpace(1);
    std::copy(stored->vector.begin(), stored->vector.end(), room.begin());
    row->vector = room.data();
  }
}

// The part of the target `number` in a share's folder.
absl::StatusOr<Store> FindPart(const std::string& folder, const Environment& environment, size_t number) {
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob job, ResolveShare(folder, environment));
  return job.targets[number];
}

struct MergedTarget {
  int64_t rows = 0;
  bool was_merged = false;  // before, by the same command
};

std::string MarkPath(const std::string& parent, size_t number) { return absl::StrCat(parent, "/merged-", number); }

// What is kept there once a target is merged: its rows, and the parts and its files as they were then.
std::string MarkText(const Store& whole, absl::Span<const Store> parts, int64_t rows) {
  std::string text = absl::StrCat(rows, "\n");
  for (const Store& part : parts) absl::StrAppend(&text, FileMark(part.location.path), "\n");
  for (const std::string& file : FilesOf(whole)) absl::StrAppend(&text, FileMark(file), " ", file, "\n");
  return text;
}

// How many rows the target has if it is as a merge of these parts left it.
std::optional<int64_t> RowsMerged(const std::string& parent, const Store& whole, absl::Span<const Store> parts,
                                  size_t number) {
  std::ifstream file(MarkPath(parent, number));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  int64_t rows = 0;
  if (!absl::SimpleAtoi(text.substr(0, text.find('\n')), &rows) || text != MarkText(whole, parts, rows))
    return std::nullopt;
  return rows;
}

absl::StatusOr<MergedTarget> MergeTarget(const std::string& parent, const Shards& shards, const ResolvedJob& job,
                                         size_t number, const ParentOptions& options, const Environment& environment) {
  const Store& whole = job.share->whole_targets[number];
  const std::string& path = whole.location.path;
  ABSL_ASSIGN_OR_RETURN(const TargetLocks locks, LockTargets({&whole, 1}, parent));
  const std::unique_ptr<PlaceLock>& lock = locks.front();
  std::vector<Store> parts;
  for (const std::string& folder : shards.folders) {
    ABSL_ASSIGN_OR_RETURN(parts.emplace_back(), FindPart(folder, environment, number));
  }
  if (const std::optional<int64_t> rows = RowsMerged(parent, whole, parts, number); rows.has_value()) {
    return MergedTarget{.rows = *rows, .was_merged = true};
  }
  const bool ours = PlaceLock::OwnerOf(path).left_by == AbsolutePath(parent);
  ABSL_RETURN_IF_ERROR(CheckGrowingFiles(whole, parent, /*is_new=*/!ours));
  for (const std::string& file : FilesOf(whole)) {
    if (ours || !std::filesystem::exists(file)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        file, " exists already, and is not as a merge of these shards left it; move it away and merge again"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorSink> sink, MakeSink(whole, job.client.model, job.source));
  int64_t expected = 0;
  for (const Store& part : parts) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader, OpenReader(part, job.client.model.dim));
    expected += reader->rows();
  }
  if (whole.kind->check_rows != nullptr) {
    ABSL_RETURN_IF_ERROR(whole.kind->check_rows(whole.location, expected));
  }
  ABSL_RETURN_IF_ERROR(lock->Claim());
  const SinkContext context{.model = job.client.model, .expected_rows = expected};
  ABSL_RETURN_IF_ERROR(PrepareAndOpen(sink.get(), context, {}).status());
  Batch batch({.max_texts = 1, .max_rows = kRowsOfBatch}, job.client.model.dim);
  int64_t rows = 0;
  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  progress.At(PlaceName(whole.location));
  for (const Store& part : parts) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<VectorReader> reader, OpenReader(part, job.client.model.dim));
    const absl::Status added =
        AddPart(reader.get(), sink.get(), &batch, &rows, [&] { progress.Set("merging", rows, expected); });
    if (!added.ok()) return absl::Status(added.code(), absl::StrCat(part.location.path, ": ", added.message()));
  }
  ABSL_RETURN_IF_ERROR(CompleteAndPublish(sink.get(), context));
  // While the place is still this job's: a merge that is killed before is made again.
  ABSL_RETURN_IF_ERROR(ReplaceOwnFile(MarkPath(parent, number), MarkText(whole, parts, rows)));
  lock->GiveUp();
  return MergedTarget{.rows = rows};
}

absl::Status Merge(const ParentOptions& options, const Environment& environment) {
  const std::string parent = AbsolutePath(options.parent);
  ABSL_ASSIGN_OR_RETURN(const Shards shards, FindShards(parent));
  ABSL_RETURN_IF_ERROR(CheckAllComplete(parent, shards));
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob job, ResolveShare(shards.folders.front(), environment));
  int files = 0;
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& whole = job.share->whole_targets[i];
    if (whole.kind->whole_file == nullptr) continue;
    ++files;
    ABSL_ASSIGN_OR_RETURN(const MergedTarget merged, MergeTarget(parent, shards, job, i, options, environment));
    if (options.json) {
      JsonLine line("target");
      std::cout << line.Add("target", whole.location.ToString()).Add("rows", merged.rows).ToString() << "\n";
    } else if (!options.quiet) {
      std::cout << PlaceText(whole.location) << ": " << Counted(merged.rows, "row", "rows") << " of "
                << Counted(shards.plan.shards, "shard", "shards") << (merged.was_merged ? ", merged before" : "")
                << "\n";
    }
  }
  if (files > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      parent, ": no target of this job is a file, so there is nothing to merge; tables were filled in place"));
}

}  // namespace

ExitCode MergeCommand(const ParentOptions& options, const Environment& environment) {
  const StopSignals signals({.command = "merge", .left = "run the same command again", .json = options.json});
  const absl::Status merged = Merge(options, environment);
  if (!merged.ok()) return Fail("merge", merged, options.json);
  if (options.json) {
    JsonLine line("summary");
    std::cout << line.Add("job", options.parent).Add("exit_code", 0).ToString() << std::endl;
  }
  return kExitDone;
}

}  // namespace reembed
