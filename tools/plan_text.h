// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PLAN_TEXT_H_
#define REEMBED_TOOLS_PLAN_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "tools/plan_numbers.h"
#include "tools/preflight.h"
#include "tools/resolve.h"
#include "tools/token_counting.h"

// A plan as it is printed to standard output.
namespace reembed {

// For people, of one stream.
void PrintPlanText(const ResolvedJob& job, const TokenCounting& counting, const Preflight& preflight,
                   const PlanNumbers& plan);

// One line; `type`: "stream", or "plan" for all of them. `directory`: of what it is of.
void PrintPlanJson(absl::string_view type, const ResolvedJob& job, const std::string& directory,
                   const TokenCounting& counting, const PlanNumbers& plan);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PLAN_TEXT_H_
