// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_MEMU_SINK_H_
#define REEMBED_IO_SYSTEM_MEMU_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_reader.h"
#include "engine/vector_sink.h"

namespace reembed {

// Writes the vectors of one collection into MemU's file of vectors, with the owner and the text of each row. The file
// is replaced in one step at the end, and only if something is new: byte for byte what MemU itself would write, see
// VectorsJsonRewrite; PATH.lock keeps other runs away. Asks for every row again in each run, and writes nothing that is
// there already.
//
// `source`: the memu: location of the rows, which has owners and texts.
//
// Errors: Open: as MemuRows::Open (a file that MemU could not read is not touched; opening the source has found that
// already), kAborted (another run). Write: kResourceExhausted. Complete: kAborted (the file was changed meanwhile: MemU
// must not run, and then nothing is replaced).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeMemuSink(const Location& location, const Model& model,
                                                         const Location& source);

// Puts the entries back that the sink has shown to the log, in one step as it writes them; MemU must not run. Entries,
// the collection and the file that the job added go. Errors: as MakeMemuSink's Open and Complete, and `old_rows`.
absl::StatusOr<RollbackReport> RollBackMemu(const Location& location, UndoReader* old_rows);

// Reads a collection back in the file's order; entries without vector are passed over. `dim` 0: that of the first.
// Errors: as VectorsJson::Open; kInvalidArgument; kNotFound (no vector). Next, Find: kDataLoss (another width).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenMemuReader(const Location& location, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_MEMU_SINK_H_
