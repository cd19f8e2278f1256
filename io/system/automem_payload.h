// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_AUTOMEM_PAYLOAD_H_
#define REEMBED_IO_SYSTEM_AUTOMEM_PAYLOAD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "io/store/falkordb/falkordb_fetch.h"
#include "io/store/qdrant/qdrant_sink.h"
#include "io/system/automem_rows.h"

// What AutoMem's server keeps of a memory in Qdrant besides its vector.
// Source: [automem/embedding/runtime_pipeline.py:162-183], [automem/api/memory.py:680-702]
namespace reembed {

// Every prefix of every tag, in the order of first use, by which the server finds `project` in `Project/Tea`: lower
// case, without whitespace at the ends, cut at `:` and `/`, joined by `:`. [automem/utils/tags.py]
std::vector<std::string> AutomemTagPrefixes(absl::Span<const std::string> tags);

// The properties of a node that go into a payload, in the order in which AutomemPayload() wants them.
const std::vector<std::string>& AutomemPayloadProperties();

// The payload of a memory as a JSON object. `old`: that of its point, which stays byte for byte and gets behind it what
// it lacks and the node has; empty: there is no point, and the server's defaults stand for what the node lacks.
std::string AutomemPayload(absl::string_view old, const FalkorProperties& node);

// The payloads of the memories in the graph that `location` names (see ParseAutomemLocation).
// Errors: as FalkorFetch::Open.
absl::StatusOr<std::unique_ptr<QdrantPayloads>> OpenAutomemPayloads(const Location& location,
                                                                    const AutomemLogin& login);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_AUTOMEM_PAYLOAD_H_
