// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/launch.h"

#include <filesystem>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "tools/api_key.h"
#include "tools/secret_form.h"
#include "tools/shard_plan.h"

namespace reembed {
namespace {

bool IsStream(const std::string& uri) { return uri == "-" || absl::StrContains(uri, ":-"); }

absl::Status CheckNumberOfShards(const LaunchOptions& options) {
  const absl::StatusOr<ShardPlan> plan = ReadShardPlan(options.run.job);
  if (plan.ok() && plan->shards != options.shards) {
    return absl::InvalidArgumentError(absl::StrCat(options.run.job, ": is planned in ", plan->shards,
                                                   " shards, and --shards says ", options.shards, "; say --shards ",
                                                   plan->shards, ", or name another job"));
  }
  return absl::OkStatus();
}

absl::Status NotInWords(absl::string_view flag, absl::string_view where, absl::string_view instead) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": has a secret in it, and ", where, " would keep it where others read; ", instead));
}

}  // namespace

absl::Status CheckShellLine(absl::string_view flag, absl::string_view line, absl::string_view where) {
  for (const absl::string_view word : absl::StrSplit(line, absl::ByAnyChar(" \t\n=;'\""), absl::SkipEmpty())) {
    // A path may look like anything.
    if (absl::StrContains(word, "/") || !LooksLikeSecret(word)) continue;
    return NotInWords(flag, where, "put it into a file, or into an environment variable, and name that");
  }
  return absl::OkStatus();
}

namespace {

// `word` is --FLAG=VALUE. A login with a password in it is one wherever it stands.
absl::Status CheckWord(absl::string_view word, absl::string_view where) {
  absl::ConsumePrefix(&word, "--");
  const size_t equals = word.find('=');
  if (equals == absl::string_view::npos) return absl::OkStatus();
  const absl::string_view flag = word.substr(0, equals), value = word.substr(equals + 1);
  constexpr absl::string_view kInstead = "put it into an environment variable and name that";
  for (size_t at = value.find("://"); at != absl::string_view::npos; at = value.find("://", at + 3)) {
    const absl::string_view rest = value.substr(at + 3);
    // A user alone is no secret, but behind http:// it may be a token.
    const bool is_web = absl::EndsWith(value.substr(0, at), "http") || absl::EndsWith(value.substr(0, at), "https");
    const bool has_user = absl::StrContains(rest.substr(0, rest.find_first_of("/?# \n")), "@");
    if (UrlLoginBytes(rest) > 0 || (is_web && has_user)) return NotInWords(flag, where, kInstead);
  }
  if (absl::StrContains(value, "://") && !SecretParameter(value).empty()) return NotInWords(flag, where, kInstead);
  if (flag == "header") {
    const size_t colon = value.find(':');
    const absl::string_view name = absl::StripAsciiWhitespace(value.substr(0, colon));
    const absl::string_view content =
        colon == absl::string_view::npos ? "" : absl::StripAsciiWhitespace(value.substr(colon + 1));
    if (IsCredentialHeader(name) || LooksLikeSecret(content)) {
      return NotInWords(flag, where, "put it into a variable and say --header-env `name: VARIABLE`");
    }
  }
  if (flag == "api-key-cmd") return CheckShellLine("api-key-cmd", value, where);
  // The name of a variable is asked for, and the key itself is given.
  for (const absl::string_view named : {"api-key-env", "db-token-env", "db-password-env", "header-env", "body-field"}) {
    const absl::string_view last = value.substr(value.find_last_of(named == "body-field" ? "=" : ":") + 1);
    if (flag == named && LooksLikeSecret(absl::StripAsciiWhitespace(last))) return NotInWords(flag, where, kInstead);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLaunch(const LaunchOptions& options, absl::string_view where) {
  if (options.run.job.empty()) {
    return absl::InvalidArgumentError(
        "--job: name the folder that all shards share, on a file system that all machines reach");
  }
  if (options.shards < 1) return absl::InvalidArgumentError("--shards: expected how many shards the job has");
  if (IsStream(options.run.source) || absl::c_any_of(options.run.targets, IsStream)) {
    return absl::InvalidArgumentError(
        "`-` is this process's input or output, which no other machine has; name a file or a server");
  }
  if (options.run.api_key_file == kStandardInput) {
    return absl::InvalidArgumentError(
        "--api-key-file -: shards have no standard input; name a file that all machines reach, or a variable");
  }
  if (options.run.force_recreate) {
    return absl::InvalidArgumentError(
        "--force-recreate: every shard would drop what the others have made; drop the tables before, or leave it out");
  }
  for (const std::string& word : WordsOf(options.run)) ABSL_RETURN_IF_ERROR(CheckWord(word, where));
  return CheckNumberOfShards(options);
}

std::vector<std::string> ShardCommand(const LaunchOptions& options) {
  CommandOptions run = options.run;
  run.no_input = true;
  run.accept_rejects = true;
  run.json = false;  // that is what this command prints
  std::vector<std::string> words = {"run", absl::StrCat("--shard=/", options.shards)};
  for (std::string& word : WordsOf(run)) words.push_back(std::move(word));
  return words;
}

std::string NameOfFolder(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

}  // namespace reembed
