#ifndef REEMBED_IO_FILE_HDF5_READER_H_
#define REEMBED_IO_FILE_HDF5_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"

namespace reembed {

// Reads `train` of a file in the layout of ann-benchmarks, ours and others', with `keys` (integers or strings) beside
// it; without `keys` a row's key is its number, from 0. Find() goes on from where it is and once around the keys.
// Errors: kNotFound (no file, no `train`), kInvalidArgument (parameters, datasets of another kind), kDataLoss.
absl::StatusOr<std::unique_ptr<VectorReader>> OpenHdf5Reader(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_READER_H_
