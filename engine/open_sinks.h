// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_OPEN_SINKS_H_
#define REEMBED_ENGINE_OPEN_SINKS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/pipeline.h"
#include "engine/row_reader.h"

namespace reembed {

// Where each sink goes on, and what has to be read so that all of them get what they lack.
struct OpenedSinks {
  std::vector<int64_t> starts;  // of the sinks, in their order
  RowReader::Options read_from;
};

// Opens all sinks, each where the ledger and it agree; prepares their targets if the options say so. Durable when it
// returns: the position of a sink that has dropped rows. Errors: the first failure, named by its target.
absl::StatusOr<OpenedSinks> OpenSinks(const PipelineOptions& options, const PipelineParts& parts);

}  // namespace reembed

#endif  // REEMBED_ENGINE_OPEN_SINKS_H_
