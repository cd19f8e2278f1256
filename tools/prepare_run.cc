// SPDX-License-Identifier: Apache-2.0
#include "tools/prepare_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/locked_sink.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "io/job/job_reader.h"
#include "io/job/owed_table.h"
#include "io/job/target_names.h"
#include "tools/consent.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/run_summary.h"
#include "tools/streams.h"

namespace reembed {
namespace {

// Overwriting vectors that are there needs a yes; a job that has begun has it, until it is put back.
absl::Status AskToReplace(const ResolvedJob& job, const Preflight& preflight, const JobStats& before, JobStore* store) {
  if (!preflight.survey.has_value() || job.selection.rows != Selection::Rows::kAll) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const JobIdentity begun, store->identity());
  const bool has_consent = before.rows > 0 && absl::StartsWith(begun.selection, kEveryRow);
  if (has_consent && !before.rolled_back.has_value()) return absl::OkStatus();
  const int64_t existing = preflight.survey->rows_selected - preflight.survey->rows_null;
  if (existing == 0) return absl::OkStatus();
  const bool has_way_back = KeepsUndo(job, job.targets.front());
  return AskConsent(
      absl::StrCat("--all replaces ", Counted(existing, "vector", "vectors"), " in ", PlaceName(job.source.location),
                   has_way_back ? absl::StrCat("; `reembed rollback ", job.directory, "` brings them back") : ""),
      has_way_back ? "to go on, say --yes" : "they cannot be restored: make a backup first, then say --yes",
      {job.options.yes, job.options.no_input});
}

// Marks what has changed since the last run, so that the pipeline embeds it again and serves it to the targets.
absl::Status TakeUpChanged(Prepared* prepared) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  const std::string own = job.in_place ? job.targets[0].location.ToString() : "";
  ABSL_ASSIGN_OR_RETURN(const JobIdentity begun, store->identity());
  const bool widens = job.selection.rows == Selection::Rows::kAll && !absl::StartsWith(begun.selection, kEveryRow);
  if (widens) {
    ABSL_RETURN_IF_ERROR(store->WidenSelection(own));
    ABSL_ASSIGN_OR_RETURN(prepared->before, store->Stats());
  }
  // Of what the job's own table has had; what it is still to get comes anyway.
  int64_t written = 0;
  for (const auto& [sink, position] : prepared->before.sinks) {
    if (sink == own) written = position;
  }
  JobStats* const before = &prepared->before;
  const auto changed = [&](const LedgerRow& row) {
    // Also one whose new text has a vector already is done by this run.
    if (row.state == SlotState::kRejected) --before->rejected_rows;
    ++before->rows_pending;
  };
  ABSL_ASSIGN_OR_RETURN(prepared->changed, MarkChanged(job, own, written, store, changed));
  ABSL_ASSIGN_OR_RETURN(prepared->preflight.lookup, OpenAllRows(job));
  return store->Sync();
}

// The lowest row of the job that a target will be served with.
absl::StatusOr<int64_t> LowestServed(const Prepared& prepared) {
  int64_t lowest = prepared.store->rows();
  for (size_t i = 0; i < prepared.job.targets.size() && lowest > 0; ++i) {
    const Store& target = prepared.job.targets[i];
    int64_t position = 0;
    for (const auto& [sink, reached] : prepared.before.sinks) {
      if (IsNameOf(sink, target.location)) position = reached;
    }
    lowest = std::min(lowest, position);
    if (prepared.preflight.sinks[i]->row_order() == RowOrder::kAny) continue;
    // It cannot replace rows, so it is built again for those that it is owed.
    ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> owed, prepared.store->Owed(target.location.ToString()));
    if (!owed.empty()) lowest = 0;
  }
  return lowest;
}

// What the job's targets will be served with is looked at before: a vector that is damaged is bought again.
absl::Status TakeUpDamaged(Prepared* prepared) {
  JobStore* const store = prepared->store.get();
  ABSL_ASSIGN_OR_RETURN(int64_t lowest, LowestServed(*prepared));
  ABSL_RETURN_IF_ERROR(store->DropDamaged(lowest));
  if (store->recovery().damaged_texts == 0) return absl::OkStatus();
  // Targets may have to be built again for what was found.
  ABSL_ASSIGN_OR_RETURN(const int64_t now, LowestServed(*prepared));
  if (now < lowest) {
    ABSL_RETURN_IF_ERROR(store->DropDamaged(now));
  }
  ABSL_ASSIGN_OR_RETURN(prepared->before, store->Stats());
  return absl::OkStatus();
}

// From now on nobody else fills what the job fills, or writes are refused.
absl::Status LockColumns(ColumnLocks* locks, Prepared* prepared) {
  const ResolvedJob& job = prepared->job;
  for (size_t i = 0; i < job.targets.size(); ++i) {
    // Shares of one plan are one job, wherever each has its folder.
    ABSL_ASSIGN_OR_RETURN(TargetLock* const lock,
                          job.share.has_value()
                              ? locks->LockShared(job.targets[i], absl::StrCat("in shares, plan ", job.share->plan->id),
                                                  job.share->shard.Folder())
                              : locks->Lock(job.targets[i], job.directory));
    prepared->columns.push_back(lock);
    prepared->preflight.sinks[i] = Locked(std::move(prepared->preflight.sinks[i]), lock);
  }
  return absl::OkStatus();
}

}  // namespace

void PrintNote(const ResolvedJob& job, const std::string& note) {
  if (!job.options.quiet) Note(note, job.options.json);
}

std::vector<std::string> TargetNames(const ResolvedJob& job) {
  std::vector<std::string> names;
  for (const Store& target : job.targets) names.push_back(target.location.ToString());
  return names;
}

absl::Status WriteJobDescription(const ResolvedJob& job) {
  return ReplaceOwnFile(job.directory + "/job.toml", WriteJobFile(DescribedOptions(job)));
}

std::unique_ptr<VectorSink> Locked(std::unique_ptr<VectorSink> sink, TargetLock* lock) {
  if (lock == nullptr) return sink;
  return std::make_unique<LockedSink>(std::move(sink), lock);
}

std::string FileStateOf(const Store& source) {
  struct stat file;
  if (!source.kind->is_file || source.kind->is_table() || stat(source.location.path.c_str(), &file) != 0) return "";
  return absl::StrCat(file.st_size, " ", file.st_mtim.tv_sec, " ", file.st_mtim.tv_nsec, " ", file.st_ino);
}

void Discard(Prepared* prepared) {
  prepared->store.reset();
  if (!prepared->new_directory || prepared->before.rows > 0) return;
  std::error_code ignored;
  const std::filesystem::path directory = prepared->job.directory;
  std::filesystem::remove_all(directory, ignored);
  if (prepared->new_parent_directory) std::filesystem::remove(directory.parent_path(), ignored);  // when it is empty
}

absl::StatusOr<Prepared> Prepare(ResolvedJob resolved, const Environment& environment, ColumnLocks* columns) {
  Prepared prepared{.job = std::move(resolved)};
  const ResolvedJob& job = prepared.job;
  const std::filesystem::path directory = job.directory;
  prepared.source_file = FileStateOf(job.source);
  prepared.new_directory = !std::filesystem::exists(directory);
  prepared.new_parent_directory = !job.stream.empty() && !std::filesystem::exists(directory.parent_path());
  if (job.share.has_value()) {
    ABSL_RETURN_IF_ERROR(MakeOwnFolder(job.directory));  // in which it has its parts of files
  }
  // First: what is looked at stays as it is then.
  ABSL_ASSIGN_OR_RETURN(prepared.locks, LockTargets(job.targets, job.directory));
  ABSL_ASSIGN_OR_RETURN(prepared.preflight, Check(job));
  ABSL_RETURN_IF_ERROR(AdoptTargetNames(job.directory, TargetNames(job)));
  ABSL_ASSIGN_OR_RETURN(prepared.store, JobStore::Open(job.directory, job.identity,
                                                       {.keep_vectors = job.keep_vectors,
                                                        .texts_in_flight = int64_t{job.pipeline.batches_in_flight} *
                                                                           job.pipeline.batch.max_texts}));
  ABSL_ASSIGN_OR_RETURN(prepared.before, prepared.store->Stats());
  if (prepared.preflight.survey.has_value()) {
    prepared.unknown = FindUnknownModel(job, *prepared.preflight.survey, prepared.before, JobsFolder(environment));
  }
  absl::Status ready = LockColumns(columns, &prepared);
  if (ready.ok()) ready = AskToReplace(job, prepared.preflight, prepared.before, prepared.store.get());
  if (ready.ok()) ready = TakeUpChanged(&prepared);
  if (ready.ok()) ready = TakeUpDamaged(&prepared);
  if (!ready.ok()) {
    Discard(&prepared);
    return ready;
  }
  return prepared;
}

absl::StatusOr<std::unique_ptr<Spending>> MakeSpending(std::vector<Prepared>* all) {
  const ResolvedJob& first = all->front().job;
  double spent = 0;
  std::vector<std::string> asked;
  for (const Prepared& prepared : *all) {
    spent += SpentBefore(prepared.before);
    asked.push_back(prepared.job.directory);
  }
  if (!first.stream.empty()) {
    const std::string parent = std::filesystem::path(first.directory).parent_path().string();
    const absl::StatusOr<std::vector<std::string>> folders = JobFolders(parent);
    for (const std::string& folder : folders.ok() ? *folders : asked) {
      if (std::find(asked.begin(), asked.end(), folder) != asked.end()) continue;
      const absl::StatusOr<std::unique_ptr<JobReader>> other = JobReader::Open(folder);
      if (absl::IsNotFound(other.status())) continue;  // killed before it had begun
      ABSL_RETURN_IF_ERROR(other.status());
      ABSL_ASSIGN_OR_RETURN(const JobStats stats, (*other)->Stats());
      spent += SpentBefore(stats);
    }
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Spending> spending,
                        Spending::Make(first, spent, [&first](const std::string& note) { PrintNote(first, note); }));
  for (Prepared& prepared : *all) {
    ResolvedJob& job = prepared.job;
    job.options.max_spend = spending->max_spend_text();
    job.client.spend = spending->cap();
    for (ResolvedEndpoint& endpoint : job.endpoints) endpoint.client.spend = spending->cap();
  }
  return spending;
}

absl::Status Probe(std::vector<Prepared>* all, Spending* spending) {
  const ResolvedJob* probed = nullptr;
  for (Prepared& prepared : *all) {
    if (prepared.before.rows > 0 || prepared.preflight.rows_selected == 0) continue;
    if (probed != nullptr) {
      prepared.job.client.encoding = probed->client.encoding;
      continue;
    }
    spending->ChargeTo(prepared.store.get());
    prepared.job.client.note = [&job = prepared.job](const std::string& note) { PrintNote(job, note); };
    absl::StatusOr<LiveProbe> probe = ProbeEmbedder(&prepared.job);
    prepared.job.client.note = nullptr;
    ABSL_RETURN_IF_ERROR(probe.status());
    prepared.probed = probe->stats;
    if (!probe->note.empty()) prepared.job.notes.push_back(probe->note);
    probed = &prepared.job;
  }
  return absl::OkStatus();
}

absl::Status CheckModels(const TokenCounting& counting, std::vector<Prepared>* all, Spending* spending) {
  for (Prepared& prepared : *all) {
    if (!prepared.unknown.would_mix()) continue;
    ResolvedJob& job = prepared.job;
    if (job.options.mix) {
      job.notes.push_back(UnknownModelText(job, prepared.unknown));
      ABSL_RETURN_IF_ERROR(AcceptUnknownModel(job, prepared.unknown));
      continue;
    }
    spending->ChargeTo(prepared.store.get());
    ABSL_ASSIGN_OR_RETURN(ModelSample sample, CompareWithStored(job, prepared.unknown, counting));
    Add(sample.stats, &prepared.probed);
    prepared.sample = sample.verdict;
    if (!sample.note.empty()) job.notes.push_back(std::move(sample.note));
  }
  return absl::OkStatus();
}

}  // namespace reembed
