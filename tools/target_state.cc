// SPDX-License-Identifier: Apache-2.0
#include "tools/target_state.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/number/json_writer.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/growing_file.h"
#include "io/job/job_reader.h"
#include "tools/format.h"
#include "tools/registry.h"
#include "tools/target_files.h"

namespace reembed {
namespace {

// Whether what is in the file that becomes the target is kept by a run that goes on; else it is made anew from the
// job's vectors.
bool GrowsOnDisk(const Store& target) {
  const WholeFile* const form = target.kind->whole_file;
  return form != nullptr && form->goes_on;
}

bool Exists(const std::string& path) {
  struct stat ignored;
  return lstat(path.c_str(), &ignored) == 0;
}

// 0: it is not there, or empty.
int64_t BytesOf(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

absl::Status ChangedFileError(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, " is not as this job left it: it was changed, or another job has made it; move it away, and the same ",
      "command writes it again from the job's vectors, or choose another target"));
}

// What the ledger says of a target; nullopt: the job has not come to it.
std::optional<int64_t> PositionOf(const JobStats& stats, const Location& target) {
  for (const auto& [name, position] : stats.sinks) {
    if (IsNameOf(name, target)) return position;
  }
  return std::nullopt;
}

const TargetRecord* RecordOf(const TargetRecords& records, const std::string& name) {
  const auto found = records.find(name);
  return found == records.end() ? nullptr : &found->second;
}

// Of a target that the job's ledger does not know.
absl::Status CheckIsFree(const Store& target, const std::vector<std::string>& files, const std::string& directory,
                         bool may_have_begun) {
  // A run of an older version that was killed early has left nothing but this.
  if (Exists(PartialPath(files[0])) && may_have_begun) return CheckGrowingFiles(target, directory, /*is_new=*/false);
  for (const std::string& file : files) {
    if (Exists(file)) return ForeignFileError(file);
  }
  return CheckGrowingFiles(target, directory, /*is_new=*/true);
}

// Whether a record of this name is of the same file, perhaps in another form, as an index of another kind.
bool IsSameFile(const std::string& name, const Location& target) {
  const absl::StatusOr<Location> other = ParseLocation(name);
  return other.ok() && other->scheme == target.scheme && other->path == target.path;
}

// The job may ask for its own file in another form.
bool IsMadeUnderAnotherName(const Location& target, const std::string& file, const TargetRecords& records) {
  return std::any_of(records.begin(), records.end(), [&](const auto& record) {
    return IsSameFile(record.first, target) && record.second.finished_rows >= 0 && record.second.mark == FileMark(file);
  });
}

absl::Status CheckFileTarget(const Store& target, const std::string& directory, const JobStats& stats,
                             const TargetRecords& records) {
  const std::vector<std::string> files = FilesOf(target);
  if (files.empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckTargetPath(files[0]));
  const std::optional<int64_t> position = PositionOf(stats, target.location);
  const TargetRecord* const record = RecordOf(records, target.location.ToString());
  if (!position.has_value() && record == nullptr) {
    if (!IsMadeUnderAnotherName(target.location, files[0], records)) {
      return CheckIsFree(target, files, directory, records.empty() && stats.rows > 0);
    }
  }
  ABSL_RETURN_IF_ERROR(CheckGrowingFiles(target, directory, /*is_new=*/false));
  if (record == nullptr || !Exists(files[0])) return absl::OkStatus();  // of an older version; or there is nothing
  if (!record->mark.empty()) {
    return record->mark == FileMark(files[0]) ? absl::OkStatus() : ChangedFileError(files[0]);
  }
  // Killed: the position of a target that was about to be finished is that of the last row.
  const bool about_to_be_finished = position.value_or(0) == stats.rows && stats.rows > 0;
  if (record->finished_rows < 0 && !about_to_be_finished && !Exists(PartialPath(files[0]))) {
    return ForeignFileError(files[0]);
  }
  return absl::OkStatus();
}

TargetState StateOf(const std::string& name, const Store& target, const JobStats& stats, const TargetRecord* record) {
  const std::optional<int64_t> position = PositionOf(stats, target.location);
  TargetState state{.name = name, .position = position.value_or(0), .of = stats.rows};
  if (record != nullptr) state.of = std::max(state.of, record->expected_rows);
  const std::vector<std::string> files = FilesOf(target);
  const bool there = files.empty() || Exists(files[0]);
  const bool grows = !files.empty() && BytesOf(PartialPath(files[0])) > 0;
  const bool finished = record != nullptr ? record->finished_rows == stats.rows : !grows;
  if (files.empty() || (grows && GrowsOnDisk(target))) {
    state.rows = state.position;
  } else if (there) {
    state.rows = record != nullptr ? std::max<int64_t>(record->finished_rows, 0) : state.position;
  }
  if (!position.has_value()) return state;
  if (!files.empty() && there && record != nullptr && !record->mark.empty() && record->mark != FileMark(files[0])) {
    state.kind = TargetState::Kind::kForeign;
  } else if (there && finished && *position == stats.rows) {
    state.kind = TargetState::Kind::kComplete;
  } else if (state.rows > 0) {
    state.kind = TargetState::Kind::kPartial;
  } else if (record != nullptr && record->finished_rows > 0 && !there) {
    state.kind = TargetState::Kind::kGone;
  }
  return state;
}

// Whether the job has made the same file under an older name, as with other parameters.
bool IsOlderNameOfFile(const Store& target, const TargetRecords& records, const TargetRecord* own) {
  if (own != nullptr || FilesOf(target).empty()) return false;
  return std::any_of(records.begin(), records.end(),
                     [&](const auto& record) { return IsSameFile(record.first, target.location); });
}

}  // namespace

std::vector<TargetState> TargetStates(const JobStats& stats, const TargetRecords& records,
                                      absl::Span<const std::string> names) {
  std::vector<TargetState> states;
  for (const std::string& name : names) {
    absl::StatusOr<Location> location = ParseLocation(name);
    if (!location.ok()) continue;
    const Store target = StoreOf(*std::move(location));
    const TargetRecord* const record = RecordOf(records, name);
    if (!IsOlderNameOfFile(target, records, record)) states.push_back(StateOf(name, target, stats, record));
  }
  return states;
}

std::string TargetStateText(const TargetState& state) {
  switch (state.kind) {
    case TargetState::Kind::kNotBegun:
      return "not begun";
    case TargetState::Kind::kPartial:
      return absl::StrCat("partial, ", WithCommas(state.rows), " of ", Counted(state.of, "row", "rows"),
                          "; the same command resumes");
    case TargetState::Kind::kComplete:
      return "complete";
    case TargetState::Kind::kGone:
      return "gone; `reembed run` writes it again, without buying";
    case TargetState::Kind::kForeign:
      return "changed since, or made by another job; once it is moved away `reembed run` writes it again";
  }
  return "";
}

const char* TargetStateWord(const TargetState& state) {
  switch (state.kind) {
    case TargetState::Kind::kNotBegun:
      return "not begun";
    case TargetState::Kind::kPartial:
      return "partial";
    case TargetState::Kind::kComplete:
      return "complete";
    case TargetState::Kind::kGone:
      return "gone";
    case TargetState::Kind::kForeign:
      return "changed";
  }
  return "";
}

std::string TargetStatesJson(absl::Span<const TargetState> states) {
  std::vector<std::string> objects;
  for (const TargetState& state : states) {
    objects.push_back(JsonWriter()
                          .Add("target", state.name)
                          .Add("state", TargetStateWord(state))
                          .Add("rows", state.rows)
                          .Add("of", state.of)
                          .ToString());
  }
  return JsonArray(objects);
}

absl::Status CheckFileTargets(const ResolvedJob& job) {
  // To look into a large job takes its time.
  if (std::all_of(job.targets.begin(), job.targets.end(), [](const Store& t) { return FilesOf(t).empty(); })) {
    return absl::OkStatus();
  }
  JobStats stats;
  TargetRecords records;
  // Not found: there is no job, or a run was killed before it had begun one.
  const absl::StatusOr<std::unique_ptr<JobReader>> reader = JobReader::Open(job.directory);
  if (!absl::IsNotFound(reader.status())) {
    ABSL_RETURN_IF_ERROR(reader.status());
    ABSL_ASSIGN_OR_RETURN(stats, (*reader)->Stats());
    ABSL_ASSIGN_OR_RETURN(records, ReadTargetRecords(job.directory));
  }
  for (const Store& target : job.targets) {
    ABSL_RETURN_IF_ERROR(CheckFileTarget(target, job.directory, stats, records));
  }
  return absl::OkStatus();
}

absl::Status ClaimTargets(const ResolvedJob& job, const JobStats& before, int64_t expected_rows,
                          const TargetLocks& locks, JobStore* store) {
  ABSL_ASSIGN_OR_RETURN(TargetRecords records, ReadTargetRecords(job.directory));
  const bool older_version = records.empty() && before.rows > 0;
  std::set<size_t> fresh;  // targets whose places this job has not noted before
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& target = job.targets[i];
    const std::string name = target.location.ToString();
    if (locks[i] != nullptr) {
      std::erase_if(records, [&](const auto& r) { return r.first != name && IsSameFile(r.first, target.location); });
      if (!PositionOf(before, target.location).has_value() && RecordOf(records, name) == nullptr) fresh.insert(i);
    }
    TargetRecord& record = records[name];
    record.expected_rows = expected_rows;
    record.mark.clear();
  }
  // First: a kill from here on leaves no file of which nobody knows whose it is.
  ABSL_RETURN_IF_ERROR(WriteTargetRecords(job.directory, records));
  std::set<size_t> made;
  const auto give_back = [&](const absl::Status& why) {
    for (const size_t i : fresh) records.erase(job.targets[i].location.ToString());
    for (const size_t i : made) {
      unlink(PartialPath(job.targets[i].location.path).c_str());
      locks[i]->GiveUp();
    }
    const absl::Status noted = WriteTargetRecords(job.directory, records);
    return noted.ok() ? why : noted;
  };
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& target = job.targets[i];
    if (locks[i] == nullptr) continue;
    const bool begins = PositionOf(before, target.location).value_or(0) == 0;
    // A file that grows at the place tells its sink that the place is the job's, and programs that do not look for a
    // lock that it is taken.
    const std::string partial = PartialPath(target.location.path);
    const int fd = begins ? open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (begins && fd < 0 && errno != EEXIST) return give_back(FileError(partial, "be made", errno));
    if (begins && fd < 0 && fresh.contains(i) && !older_version) {
      return give_back(CheckGrowingFiles(target, job.directory, /*is_new=*/true));
    }
    if (fd >= 0) {
      close(fd);
      made.insert(i);
    }
    if (absl::Status claimed = locks[i]->Claim(); !claimed.ok()) return give_back(claimed);
    if (begins) store->SavePosition(target.location.ToString(), 0);
  }
  return store->Sync();
}

absl::Status ReleaseTargets(const ResolvedJob& job, int64_t rows, const TargetLocks& locks) {
  ABSL_ASSIGN_OR_RETURN(TargetRecords records, ReadTargetRecords(job.directory));
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& target = job.targets[i];
    TargetRecord& record = records[target.location.ToString()];
    if (rows >= 0) record.finished_rows = record.expected_rows = rows;
    if (locks[i] == nullptr) continue;
    const std::string partial = PartialPath(target.location.path);
    if (Exists(partial) && BytesOf(partial) == 0) unlink(partial.c_str());  // nothing came
    const std::vector<std::string> growing = GrowingNamesOf(target);
    if (std::none_of(growing.begin(), growing.end(), Exists)) locks[i]->GiveUp();
    // What is there and was never finished is somebody else's.
    if (record.finished_rows >= 0) record.mark = FileMark(target.location.path);
  }
  return WriteTargetRecords(job.directory, records);
}

}  // namespace reembed
