// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_RUN_JSON_H_
#define REEMBED_TOOLS_LIVE_RUN_JSON_H_

#include <string>

#include "engine/run_snapshot.h"

namespace reembed {

// A snapshot as one JSON object of type "snapshot", every field of it: what pages, sockets and reports show. Times are
// in seconds, money in US dollars, rates by their names; what is not known is null. Fields are only ever added.
std::string RunJson(const RunSnapshot& run);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_RUN_JSON_H_
