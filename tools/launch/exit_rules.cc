// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/exit_rules.h"

#include <algorithm>
#include <utility>

namespace reembed {
namespace {

constexpr std::pair<ExitCode, AfterExit> kRules[] = {
    {kExitDone, AfterExit::kDone},
    // A shortage of memory, or of a disk, may be that of one machine.
    {kExitFailed, AfterExit::kAgain},
    {kExitUsage, AfterExit::kJobEnds},
    // Runs that are launched accept rejected rows and end with 0; a verdict that is there all the same is final.
    {kExitRejectedRows, AfterExit::kShardEnds},
    {kExitQualityGate, AfterExit::kShardEnds},
    {kExitTemporary, AfterExit::kAgain},
    {kExitFatal, AfterExit::kJobEnds},
    {kExitSpendCap, AfterExit::kJobEnds},
    {kExitMismatch, AfterExit::kShardEnds},
    {kExitNothing, AfterExit::kShardEnds},
    {kExitTimeLimit, AfterExit::kTimeIsUp},
    // Mostly a machine that is lost, and whose end has not been noticed everywhere.
    {kExitLocked, AfterExit::kAgain},
    {kExitHungUp, AfterExit::kStopped},
    {kExitInterrupted, AfterExit::kStopped},
    {kExitTerminated, AfterExit::kStopped},
};

}  // namespace

AfterExit AfterExitOf(int code) {
  const auto rule =
      std::find_if(std::begin(kRules), std::end(kRules), [code](const auto& r) { return r.first == code; });
  return rule == std::end(kRules) ? AfterExit::kAgain : rule->second;
}

std::vector<int> CodesThat(AfterExit what) {
  std::vector<int> codes;
  for (const auto& [code, after] : kRules) {
    if (after == what) codes.push_back(code);
  }
  std::sort(codes.begin(), codes.end());
  return codes;
}

}  // namespace reembed
