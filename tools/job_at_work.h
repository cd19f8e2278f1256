// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_JOB_AT_WORK_H_
#define REEMBED_TOOLS_JOB_AT_WORK_H_

#include <string>

namespace reembed {

// Whether the process that had the lock last is at work, as far as can be known without touching the lock: of this
// machine its process tells, of another one what it has written.
bool IsAtWork(const std::string& folder);

}  // namespace reembed

#endif  // REEMBED_TOOLS_JOB_AT_WORK_H_
