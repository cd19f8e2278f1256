// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_JSONL_READER_H_
#define REEMBED_IO_FILE_JSONL_READER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"
#include "io/file/line_reader.h"

namespace reembed {

// Reads what the JSONL sink writes; other members of a line are passed over. Opening counts the lines; the width is
// that of the first vector (0 in an empty file). Find() goes on from where it is and once around.
// Errors: kNotFound, kInvalidArgument (parameters), kDataLoss (a line that is none of ours, by number and byte).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenJsonlReader(const Location& location);

// How many numbers the vector in `line` has; -1 if it is none of ours.
int64_t CountJsonlNumbers(const Line& line);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_JSONL_READER_H_
