// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RUN_RECORD_H_
#define REEMBED_ENGINE_RUN_RECORD_H_

#include <string>

#include "absl/time/time.h"

namespace reembed {

// What a job leaves behind as a row of its source, where a memory system wants to remember its migrations.
struct RunRecord {
  std::string id;     // a UUID, the same for the same job at any time, and behind all random ones in their order
  std::string text;   // a sentence or two: what was done, when, with which model, at what price
  std::string facts;  // the same as a JSON object
  absl::Time time;    // of the run that is recorded
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RUN_RECORD_H_
