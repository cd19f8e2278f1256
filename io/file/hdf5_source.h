#ifndef REEMBED_IO_FILE_HDF5_SOURCE_H_
#define REEMBED_IO_FILE_HDF5_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/source.h"

namespace reembed {

// The rows of an HDF5 file, in file order. Parameters:
//   texts  dataset of strings, of fixed or variable length. Default `texts`.
//   keys   dataset of integers or strings, as many. Default: a row's key is its number, from 0.
// Errors: kNotFound (no file, no dataset), kInvalidArgument (parameters, datasets of another kind), kDataLoss.
absl::StatusOr<std::unique_ptr<Source>> OpenHdf5Source(const Location& location);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_SOURCE_H_
