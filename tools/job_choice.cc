// SPDX-License-Identifier: Apache-2.0
#include "tools/job_choice.h"

#include <filesystem>
#include <iostream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "tools/consent.h"
#include "tools/output.h"
#include "tools/resolve.h"
#include "tools/streams.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// When somebody wrote to one of its ledgers last.
fs::file_time_type LastWrite(const std::vector<std::string>& folders) {
  fs::file_time_type last = fs::file_time_type::min();
  for (const std::string& folder : folders) {
    // Not the log beside the ledger: who only reads makes that, too.
    for (const char* const file : {"ledger.db", "lock"}) {
      std::error_code none;
      const fs::file_time_type time = fs::last_write_time(fs::path(folder) / file, none);
      if (!none) last = std::max(last, time);
    }
  }
  return last;
}

}  // namespace

absl::StatusOr<std::string> NewestJob(const Environment& environment) {
  ABSL_RETURN_IF_ERROR(CheckJobsFolder(environment));
  const std::string all = JobsFolder(environment);
  std::string newest;
  fs::file_time_type time = fs::file_time_type::min();
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(all, none)) {
    const absl::StatusOr<std::vector<std::string>> folders = JobFolders(entry.path().string());
    if (!folders.ok()) continue;
    const fs::file_time_type written = LastWrite(*folders);
    if (!newest.empty() && written <= time) continue;
    newest = entry.path().string();
    time = written;
  }
  if (!newest.empty()) return newest;
  return absl::NotFoundError(absl::StrCat("no jobs in ", all, "; name the job's directory"));
}

ExitCode ForEachJob(const JobChoice& choice, const std::vector<std::string>& jobs, const Environment& environment,
                    const std::function<ExitCode(const std::string& job)>& run) {
  if (!jobs.empty()) {
    ExitCode code = kExitDone;
    for (const std::string& job : jobs) code = WorseOf(code, run(job));
    return code;
  }
  const auto fail = [&](const absl::Status& status) { return Fail(choice.command, status, choice.json); };
  const absl::StatusOr<std::string> newest = NewestJob(environment);
  if (!newest.ok()) return fail(newest.status());
  if (!choice.changes) {
    const std::string said = absl::StrCat("the newest job: ", *newest);
    if (choice.json) {
      Note(said, /*json=*/true);
    } else {
      std::cerr << said << std::endl;
    }
    return run(*newest);
  }
  const std::string name_it = absl::StrCat("name it: reembed ", choice.command, " ", *newest);
  if (choice.yes) {
    return fail(absl::InvalidArgumentError(
        absl::StrCat("--yes without a job; the newest is ", *newest, ", if that is meant, ", name_it, " --yes")));
  }
  const absl::Status consent =
      AskConsent(absl::StrCat("no job is named; the newest is ", *newest), name_it, {.no_input = choice.no_input});
  return consent.ok() ? run(*newest) : fail(consent);
}

}  // namespace reembed
