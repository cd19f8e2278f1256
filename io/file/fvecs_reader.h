// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_FVECS_READER_H_
#define REEMBED_IO_FILE_FVECS_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"

namespace reembed {

// Reads `fvecs:PATH`, the format of the TEXMEX data sets (http://corpus-texmex.irisa.fr): each row is its width, a
// little-endian int32, and so many float32. Keys are row numbers from 0, or come from PATH.keys.jsonl.
// Errors: kNotFound, kInvalidArgument (parameters), kDataLoss (a width that cannot be, a row of another width than the
// first: the message names it; a last row that is cut off).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenFvecsReader(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_FVECS_READER_H_
