// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_MATRIX_READER_H_
#define REEMBED_IO_FILE_MATRIX_READER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/output_form.h"
#include "engine/vector_reader.h"
#include "io/file/key_column.h"

namespace reembed {

// Read fbin and npy files, ours and others', of every type that the sinks write (engine/output_form.h). What an npy
// file does not say and an fbin file's name neither, `type=` does; scale= too, where it is not 127. Keys come from
// PATH.keys.jsonl, or are row numbers from 0 where there is none. Find() is a seek for row numbers, else it goes on
// from where it is and once around the keys. Nothing is believed of a header before the size of the file confirms it.
// Errors: kNotFound, kInvalidArgument (parameters), kDataLoss (header, size or keys do not fit together),
// kFailedPrecondition (npy: another type, or not in C order).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenFbinReader(const Location& location);
absl::StatusOr<std::unique_ptr<VectorReader>> OpenNpyReader(const Location& location);

// Rows somewhere in a file, handed out as float32.
class VectorRows {
 public:
  virtual ~VectorRows() = default;

  // Copies rows [first, first + rows), which must exist, to `to`, [rows, dim] row-major. Errors: kDataLoss.
  virtual absl::Status Read(int64_t first, int64_t rows, float* to) = 0;
};

// A reader of `rows` vectors of `dim` numbers; `keys` may be null, see FindRow(). `form`: how they lie there.
std::unique_ptr<VectorReader> MakeMatrixReader(std::unique_ptr<VectorRows> vectors, std::unique_ptr<KeyColumn> keys,
                                               int64_t rows, int dim, const OutputForm& form = {});

}  // namespace reembed

#endif  // REEMBED_IO_FILE_MATRIX_READER_H_
