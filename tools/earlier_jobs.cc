// SPDX-License-Identifier: Apache-2.0
#include "tools/earlier_jobs.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/ledger_tables.h"
#include "io/job/target_record.h"
#include "tools/job_at_work.h"
#include "tools/registry.h"
#include "tools/streams.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The same folder has one name, through links.
std::string FileOf(const std::string& path) {
  std::error_code failed;
  const fs::path canonical = fs::weakly_canonical(fs::absolute(path, failed), failed);
  return failed ? path : canonical.string();
}

bool IsBelow(const std::string& path, const std::string& folder) {
  return path == folder || absl::StartsWith(path, absl::StrCat(folder, "/"));
}

// The folders with a ledger in one of `folders`, each once.
std::vector<std::string> LedgerFolders(absl::Span<const std::string> folders) {
  std::vector<std::string> found;
  const auto add = [&found](const std::string& folder) {
    const absl::StatusOr<std::vector<std::string>> streams = JobFolders(folder);
    if (!streams.ok()) return false;
    for (const std::string& stream : *streams) found.push_back(FileOf(stream));
    return true;
  };
  for (const std::string& folder : folders) {
    if (fs::exists(fs::path(folder) / "ledger.db")) {
      add(folder);
      continue;
    }
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.is_directory(ignored)) add(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

// When a file was written to last; never, if it is not there.
absl::Time ChangedAt(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? absl::TimeFromTimespec(info.st_mtim) : absl::InfinitePast();
}

// The job in `folder` for each of its targets that is `place`.
absl::Status AddJobs(const std::string& folder, const VectorPlace& place, std::vector<EarlierJob>* jobs) {
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> ledger =
      OpenLedgerReadOnly(absl::StrCat(folder, "/ledger.db"));
  if (absl::IsNotFound(ledger.status())) return absl::OkStatus();  // killed before it had begun
  ABSL_RETURN_IF_ERROR(ledger.status());
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, ReadStats(ledger->get()));
  std::map<std::string, int64_t> positions(stats.sinks.begin(), stats.sinks.end());
  // One that was killed may have written before it could say how far it was.
  const absl::StatusOr<TargetRecords> records = ReadTargetRecords(folder);
  if (records.ok() && stats.rows > 0) {
    for (const auto& [name, record] : *records) positions.try_emplace(name, 0);
  }
  for (const auto& [name, position] : positions) {
    const absl::StatusOr<Location> target = ParseLocation(name);
    if (!target.ok() || PlaceOf(*target) != place) continue;
    ABSL_ASSIGN_OR_RETURN(const LedgerHead head, ReadHead(ledger->get()));
    EarlierJob job{.directory = folder,
                   .identity = head.identity,
                   .keep_vectors = head.keep_vectors,
                   .target = name,
                   .rows = stats.rows,
                   .position = position,
                   .rolled_back = stats.rolled_back};
    if (!stats.receipts.empty()) job.began = stats.receipts.front().started;
    if (!stats.receipts.empty()) job.ended = stats.receipts.back().ended;
    job.bought = LastBought(stats);
    ABSL_ASSIGN_OR_RETURN(const int64_t clean, ReadMetaNumber(ledger->get(), kMetaClean));
    if (clean == 0 && stats.rows > 0 && !IsAtWork(folder)) {
      // It has no receipt of a run that was killed, but has written to its files then. Of one that is at work its locks
      // tell.
      const bool has_vectors = head.keep_vectors == KeepVectors::kAlways;
      const absl::Time written = ChangedAt(absl::StrCat(folder, has_vectors ? "/vectors.f32" : "/ledger.db"));
      job.bought = std::max(job.bought.value_or(written), written);
    }
    jobs->push_back(std::move(job));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<VectorPlace> PlaceOf(const Location& target) {
  const StoreKind& kind = KindOf(target);
  if (kind.is_stream) return std::nullopt;
  return kind.vector_place != nullptr ? kind.vector_place(target) : VectorPlace{.store = FileStoreName(target)};
}

std::optional<absl::Time> LastBought(const JobStats& stats) {
  std::optional<absl::Time> bought;
  for (const Receipt& receipt : stats.receipts) {
    if (receipt.rows_embedded > 0) bought = receipt.ended;
  }
  return bought;
}

EarlierJobs FindEarlierJobs(const Location& target, absl::Span<const std::string> folders, const std::string& except) {
  EarlierJobs found;
  const std::optional<VectorPlace> place = PlaceOf(target);
  if (!place.has_value()) return found;
  const std::string left_out = except.empty() ? "" : FileOf(except);
  for (const std::string& folder : LedgerFolders(folders)) {
    if (!left_out.empty() && IsBelow(folder, left_out)) continue;
    if (absl::Status read = AddJobs(folder, *place, &found.jobs); !read.ok()) {
      found.unreadable.emplace_back(read.message());
    }
  }
  std::stable_sort(found.jobs.begin(), found.jobs.end(), [](const EarlierJob& a, const EarlierJob& b) {
    return a.ended.value_or(absl::InfinitePast()) > b.ended.value_or(absl::InfinitePast());
  });
  return found;
}

absl::StatusOr<std::unique_ptr<WrittenRows>> WrittenRows::Open(const EarlierJob& job) {
  std::unique_ptr<WrittenRows> written(new WrittenRows);
  ABSL_ASSIGN_OR_RETURN(written->reader_, JobReader::Open(job.directory));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects,
                        written->reader_->ListRejects(written->reader_->rows() * 2 + 1));
  for (const RejectedRow& row : rejects) {
    if (row.sink == job.target) written->refused_.insert(row.ordinal);
  }
  ABSL_ASSIGN_OR_RETURN(written->rows_, written->reader_->Scan(0));
  written->end_ = job.position;
  return written;
}

absl::StatusOr<std::optional<WrittenRow>> WrittenRows::Next() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows_->Next());
    if (!row.has_value() || row->ordinal >= end_) return std::nullopt;
    if (row->state != SlotState::kKept || refused_.contains(row->ordinal)) continue;
    return WrittenRow{.key = row->key, .hash = row->hash, .slot = row->slot};
  }
}

}  // namespace reembed
