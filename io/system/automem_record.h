// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_AUTOMEM_RECORD_H_
#define REEMBED_IO_SYSTEM_AUTOMEM_RECORD_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/run_record.h"
#include "engine/source.h"
#include "io/system/automem_rows.h"

namespace reembed {

// Keeps the record as a memory of the graph, with the properties that AutoMem's POST /memory gives one, and the tags
// and the importance that its migration guide asks for. A memory with that id stays as it is. Returns a source of that
// one row, whose vector is still to be made. Source: [automem/api/memory.py:store], [docs/MIGRATIONS.md, "Store
// migration record"] Errors: as OpenAutomemSource.
absl::StatusOr<std::unique_ptr<Source>> SaveAutomemRecord(const Location& location, const RunRecord& record,
                                                          const AutomemLogin& login);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_AUTOMEM_RECORD_H_
