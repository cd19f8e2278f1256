// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_READER_H_
#define REEMBED_IO_FILE_HDF5_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"

namespace reembed {

// The vectors of an HDF5 file, `hdf5:PATH`: the rows of `train`, with the keys in `keys` or, if there is none, their
// numbers from 0. Layout: see MakeHdf5Sink(); other widths of floats, contiguous and compressed data are read too.
// Errors: kNotFound (no such file, no `train`), kInvalidArgument (other elements), kDataLoss (damaged, or sizes that
// do not fit each other).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenHdf5Reader(const Location& location);

// Likewise, but the file is not tried first (io/file/hdf5_trial.h), so that a damaged one may crash the library: for a
// process that may end so.
absl::StatusOr<std::unique_ptr<VectorReader>> OpenUntriedHdf5Reader(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_READER_H_
