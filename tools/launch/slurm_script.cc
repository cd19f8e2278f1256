// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/slurm_script.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "engine/status_macros.h"
#include "tools/launch/exit_rules.h"
#include "tools/launch/quoting.h"

namespace reembed {
namespace {

constexpr int kSecondsOfProgress = 600;  // who has worked for so long has not failed at the same again

absl::Status AddDirective(absl::string_view option, absl::string_view value, std::string* script) {
  ABSL_ASSIGN_OR_RETURN(const std::string quoted, SbatchQuoted(absl::StrCat("--", option), value));
  absl::StrAppend(script, "#SBATCH --", option, "=", quoted, "\n");
  return absl::OkStatus();
}

absl::StatusOr<std::string> Directives(const SlurmScriptParts& parts) {
  std::string text;
  ABSL_RETURN_IF_ERROR(AddDirective("job-name", parts.name, &text));
  ABSL_RETURN_IF_ERROR(AddDirective("comment", parts.comment, &text));
  const std::string all = absl::StrCat("0", parts.shards > 1 ? absl::StrCat("-", parts.shards - 1) : "");
  absl::StrAppend(&text, "#SBATCH --array=", ArrayWord(all, parts.at_once), "\n");
  absl::StrAppend(&text, "#SBATCH --ntasks=1\n#SBATCH --requeue\n#SBATCH --open-mode=append\n");
  if (absl::StrContains(parts.logs, "\\")) {
    return absl::InvalidArgumentError(absl::StrCat(
        parts.logs, ": expected no backslash in the path, as Slurm then takes the pattern of a log for its name"));
  }
  // %4a is the number of the task in four digits.
  const std::string log = absl::StrCat(absl::StrReplaceAll(parts.logs, {{"%", "%%"}}), "/shard-%4a.log");
  ABSL_RETURN_IF_ERROR(AddDirective("output", log, &text));
  if (!parts.partition.empty()) ABSL_RETURN_IF_ERROR(AddDirective("partition", parts.partition, &text));
  if (!parts.account.empty()) ABSL_RETURN_IF_ERROR(AddDirective("account", parts.account, &text));
  if (parts.time > absl::ZeroDuration()) {
    absl::StrAppend(&text, "#SBATCH --time=", FormatSlurmTime(parts.time), "\n");
  }
  if (parts.cpus > 0) absl::StrAppend(&text, "#SBATCH --cpus-per-task=", parts.cpus, "\n");
  if (parts.memory_bytes > 0) {
    constexpr int64_t kMiB = 1 << 20;
    absl::StrAppend(&text, "#SBATCH --mem=", (parts.memory_bytes + kMiB - 1) / kMiB, "M\n");
  }
  for (const std::string& word : parts.sbatch) {
    ABSL_ASSIGN_OR_RETURN(const std::string quoted, SbatchQuoted("--sbatch", word));
    absl::StrAppend(&text, "#SBATCH ", quoted, "\n");
  }
  return text;
}

std::string Pattern(AfterExit what) { return absl::StrJoin(CodesThat(what), "|"); }

// What becomes of the task, by the exit code.
std::string Verdict(int64_t retries) {
  return absl::StrReplaceAll(
      R"(case $code in
  @done) note "$code" 0; exit 0 ;;
  # The scheduler has stopped it, and starts it again where that was its wish.
  @stopped) note "$code" "$tries"; exit "$code" ;;
  @time) again 0 ;;
  @shard) note "$code" 0; exit "$code" ;;
  @job)
    note "$code" 0
    echo "reembed launch: exit code $code holds for all shards; waiting shards are removed from the queue"
    scancel --state=PENDING "$SLURM_ARRAY_JOB_ID"
    exit "$code" ;;
esac
[ "$SECONDS" -lt @progress ] || tries=0
[ "$tries" -ge @retries ] || again $((tries + 1))
note "$code" 0
echo "reembed launch: exit code $code, and it has been started again @retries times; the same reembed launch starts it again"
exit "$code"
)",
      {{"@done", Pattern(AfterExit::kDone)},
       {"@stopped", Pattern(AfterExit::kStopped)},
       {"@time", Pattern(AfterExit::kTimeIsUp)},
       {"@shard", Pattern(AfterExit::kShardEnds)},
       {"@job", Pattern(AfterExit::kJobEnds)},
       {"@progress", absl::StrCat(kSecondsOfProgress)},
       {"@retries", absl::StrCat(retries)}});
}

}  // namespace

absl::StatusOr<std::string> SlurmScript(const SlurmScriptParts& parts) {
  ABSL_ASSIGN_OR_RETURN(const std::string directives, Directives(parts));
  std::string script = absl::StrCat("#!/bin/bash\n", directives, R"(
# Made by `reembed launch slurm`, which makes it anew each time. A task is a shard. By hand: sbatch --array=LIST THIS_FILE

)");
  absl::StrAppend(&script, "cd -- ", ShellQuoted(parts.folder), " || exit 2\nnotes=", ShellQuoted(parts.notes), R"(
notes=$notes/$(printf %04d "$SLURM_ARRAY_TASK_ID")
tries=0
[ ! -r "$notes" ] || read -r _ tries <"$notes"
case $tries in ''|*[!0-9]*) tries=0 ;; esac

# note CODE TRIES
note() { printf '%s %s\n' "$1" "$2" >"$notes.new" && mv -f -- "$notes.new" "$notes"; }

# again TRIES: puts this task back into the queue, which ends it.
again() {
  note "$code" "$1"
  echo "reembed launch: exit code $code; queued again"
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
  exit "$code"
}

# Both get the scheduler's TERM; this shell waits until the command has come to its end.
trap : TERM
)");
  for (const std::string& line : parts.setup) absl::StrAppend(&script, line, "\n");
  absl::StrAppend(&script, ShellLine(parts.command), "\ncode=$?\n\n", Verdict(parts.retries));
  return script;
}

std::string ArrayWord(absl::string_view list, int64_t at_once) {
  return absl::StrCat(list, at_once > 0 ? absl::StrCat("%", at_once) : "");
}

absl::StatusOr<absl::Duration> ParseSlurmTime(absl::string_view text) {
  const absl::Status wrong = absl::InvalidArgumentError(absl::StrCat(
      "--time ", text, ": expected minutes, HOURS:MINUTES:SECONDS, DAYS-HOURS, or a duration as 90m or 8h"));
  absl::Duration duration;
  if (absl::StrContains(text, "m") || absl::StrContains(text, "h") || absl::StrContains(text, "s")) {
    return absl::ParseDuration(text, &duration) && duration > absl::ZeroDuration()
               ? absl::StatusOr<absl::Duration>(duration)
               : wrong;
  }
  const std::pair<std::string, std::string> halves = absl::StrSplit(text, absl::MaxSplits('-', 1));
  const bool has_days = absl::StrContains(text, "-");
  const std::vector<std::string> parts = absl::StrSplit(has_days ? halves.second : halves.first, ':');
  if (parts.size() > 3) return wrong;
  std::vector<int64_t> numbers;
  for (const std::string& part : parts) {
    int64_t number = -1;
    if (!absl::SimpleAtoi(part, &number) || number < 0 || number > 1'000'000) return wrong;
    numbers.push_back(number);
  }
  // Behind days come hours first; three are hours first, too; else minutes.
  const bool from_hours = has_days || numbers.size() == 3;
  const absl::Duration units[] = {absl::Hours(1), absl::Minutes(1), absl::Seconds(1)};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t unit = i + (from_hours ? 0 : 1);
    duration += numbers[i] * units[unit];
  }
  if (has_days) {
    int64_t days = -1;
    if (!absl::SimpleAtoi(halves.first, &days) || days < 0 || days > 10'000) return wrong;
    duration += days * absl::Hours(24);
  }
  return duration > absl::ZeroDuration() ? absl::StatusOr<absl::Duration>(duration) : wrong;
}

std::string FormatSlurmTime(absl::Duration time) {
  const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(time, absl::Seconds(1)));
  return absl::StrFormat("%d-%02d:%02d:%02d", seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
}

}  // namespace reembed
