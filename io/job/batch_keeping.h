// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_BATCH_KEEPING_H_
#define REEMBED_IO_JOB_BATCH_KEEPING_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "io/job/kept_vectors.h"
#include "io/job/ledger_tables.h"
#include "io/job/vector_file.h"

namespace reembed {

// For every row of the batch the index of its text among the batch's own, also of rows that share a text bought by
// another row of the batch; -1 if it is not among them.
std::vector<int> OwnTexts(const Batch& batch);

// Writes the vectors that the batch has (Batch::HasVector) to their slots, contiguous ones in one go, and adds a run
// for each piece to *runs, with what a ledger of `format` holds of it. Not durable before file->Sync().
absl::Status WriteVectors(const Batch& batch, int format, VectorFile* file, std::vector<KeptRun>* runs);

// Reads the vectors of the rows with these indexes (ascending) and sets BatchRow::vector. Errors: as KeptVectors::Read.
absl::Status LoadVectors(absl::Span<const int> rows, KeptVectors* vectors, Batch* batch);

// Which slots of the runs do not hold what was kept: of the epochs from `from_epoch` on those whose checksum is
// another, and all that lie beyond the end of the file.
absl::StatusOr<std::vector<SlotRange>> FindDamage(absl::Span<const KeptRun> runs, int64_t from_epoch,
                                                  const VectorFile& file, KeptVectors* vectors);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_BATCH_KEEPING_H_
