// SPDX-License-Identifier: Apache-2.0
#include "tools/shared_flags.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "tools/api_key.h"
#include "tools/output.h"
#include "tools/resolve_preset.h"
#include "tools/streams.h"

namespace reembed {
namespace {

absl::StatusOr<CommandOptions> WithJobFile(CommandOptions options) {
  ABSL_RETURN_IF_ERROR(ReadJobFile(&options));
  return options;
}

}  // namespace

ExitCode WithEnvFile(const char* name, const CommandOptions& options, const absl::StatusOr<CommandOptions>& job,
                     const Environment& environment, const Command& run) {
  if (!job.ok()) return Fail(name, job.status(), options.json);
  Environment with_file = environment;
  absl::Status read = AddEnvFile(*job, &with_file);
  if (read.ok()) read = AskForApiKey(options, &with_file);
  if (!read.ok()) return Fail(name, read, options.json);
  return run(with_file);
}

ExitCode WithEnvFile(const char* name, const CommandOptions& options, const Environment& environment,
                     const Command& run) {
  return WithEnvFile(name, options, options, environment, run);
}

absl::StatusOr<CommandOptions> OptionsOfJob(const std::string& directory, CommandOptions options) {
  const absl::StatusOr<std::vector<std::string>> folders = JobFolders(directory);
  if (!folders.ok()) return options;
  const std::string description = folders->front() + "/job.toml";
  if (std::filesystem::exists(description)) options.job_file = description;
  return WithJobFile(std::move(options));
}

}  // namespace reembed
