// SPDX-License-Identifier: Apache-2.0
#include "tools/job_folder.h"

#include <filesystem>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/location.h"
#include "io/job/owed_table.h"
#include "tools/place.h"
#include "tools/resolve.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string DefaultDirectory(const std::string& name, absl::string_view identity, const Environment& environment) {
  return absl::StrFormat("%s/%s-%08x", JobsFolder(environment), name, static_cast<uint32_t>(HashText(identity).lo));
}

// The source as versions wrote it down that left paths in parameters as they were given.
std::string FormerSource(const CommandOptions& options, const ResolvedJob& job) {
  absl::StatusOr<Location> before = ParseLocation(job.identity.source);
  const absl::StatusOr<Location> given = ParseLocation(options.source);
  if (!before.ok() || !given.ok()) return job.identity.source;
  for (auto& [name, value] : before->parameters) {
    const auto found = given->parameters.find(name);
    if (found != given->parameters.end()) value = found->second;
  }
  return before->ToString();
}

// The directory by default of what is asked for, as programs named it that took --all for a job of its own.
std::string NamedDirectory(const CommandOptions& options, const ResolvedJob& first, bool all,
                           const Environment& environment) {
  const JobIdentity& id = first.identity;
  const absl::string_view rows_of = all || !first.in_place ? kEveryRow : kRowsWithoutVector;
  const auto directory = [&](const std::string& source) {
    const std::string rows = first.stream.empty()
                                 ? absl::StrCat(source, "\n", rows_of, ConditionOf(id.selection), "\n", id.recipe)
                                 : absl::StrCat(first.source.location.path, "\n", options.user, "\n", options.agent,
                                                "\n", options.where, "\n", options.recipe, "\n", all);
    return DefaultDirectory(first.name, absl::StrCat(rows, "\n", id.model, "\n", id.dim, "\n", id.normalization),
                            environment);
  };
  const std::string former = directory(FormerSource(options, first));
  return fs::exists(former) ? former : directory(id.source);
}

}  // namespace

std::string JobsFolder(const Environment& environment) {
  const std::string state = environment.Get("XDG_STATE_HOME");
  const std::string home = environment.Home();
  if (state.empty() && home.empty()) return "";
  return AbsolutePath(absl::StrCat(state.empty() ? home + "/.local/state" : state, "/reembed/jobs"));
}

absl::Status CheckJobsFolder(const Environment& environment) {
  if (!JobsFolder(environment).empty()) return absl::OkStatus();
  const std::string home = environment.Get("HOME");
  return absl::NotFoundError(absl::StrCat(
      "there is no folder for jobs: HOME ", home.empty() ? "is not set" : absl::StrCat("(", home, ") is no folder"),
      ", and this user's account has none either; say where the job goes with --job DIR, or set "
      "XDG_STATE_HOME"));
}

std::string DirectoryOf(const CommandOptions& options, const ResolvedJob& first, const Environment& environment) {
  if (!options.job.empty()) return AbsolutePath(ExpandHome(options.job, environment));
  if (JobsFolder(environment).empty()) return "";
  for (const bool all : {options.all, !options.all}) {
    std::string directory = NamedDirectory(options, first, all, environment);
    if (fs::exists(directory)) return directory;
  }
  return NamedDirectory(options, first, false, environment);
}

}  // namespace reembed
