// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_EXIT_CODE_H_
#define REEMBED_TOOLS_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"

namespace reembed {

// What the command tells the shell; documented in the README and printed by `reembed --help`.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,         // a wrong argument, a missing file, or consent that was not given
  kExitRejectedRows = 3,  // finished, but some rows have no vector: see `reembed status JOB`
  kExitQualityGate = 4,
  kExitTemporary = 5,  // locked, network, disk full: run the same command again
  kExitFatal = 6,      // key, quota, model or width: change something first
  kExitSpendCap = 7,
  kExitMismatch = 8,       // `verify` found a difference, or a run vectors that are not its own among what it wrote
  kExitNothing = 9,        // there was nothing to do, where the user wants to know (--error-on-nothing)
  kExitTimeLimit = 10,     // --max-duration has passed; resumable
  kExitLocked = 11,        // another run holds the job
  kExitHungUp = 129,       // HUP, unless it was ignored (nohup); resumable, as the next two
  kExitInterrupted = 130,  // Ctrl-C
  kExitTerminated = 143,   // TERM
};

ExitCode ExitCodeOf(const absl::Status& status);

// What became of a run, in words: "done", "spend cap", "stopped", "temporary failure", ...
const char* OutcomeWord(const absl::Status& status);
// The same of what earlier versions wrote down, which were names of codes (DATA_LOSS); other words stay as they are.
std::string OutcomeWord(const std::string& written);

// Why a row has no vector, in words: "unusable text", "unusable vector", "row is gone", ...; or why one target has
// none.
const char* RejectWord(absl::StatusCode code, bool by_target);

// In the place of a signal: the time is up.
inline constexpr int kTimeIsUp = -1;
// What the shell says of a command that this signal ended.
inline ExitCode ExitCodeOfSignal(int signal) {
  return signal == kTimeIsUp ? kExitTimeLimit : static_cast<ExitCode>(128 + signal);
}
inline bool IsInterrupted(ExitCode code) { return code > 128 || code == kExitTimeLimit; }

}  // namespace reembed

#endif  // REEMBED_TOOLS_EXIT_CODE_H_
