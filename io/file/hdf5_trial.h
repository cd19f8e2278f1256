// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_TRIAL_H_
#define REEMBED_IO_FILE_HDF5_TRIAL_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace reembed {

// The HDF5 library takes much of a file at its word: damaged ones make it divide by zero or read where nothing is. So
// `read` is called in a process of its own first, which ends with it; `all`: the file at `path` is small enough to be
// read whole, else its first row must do. Not inside an Hdf5Call.
// Errors: kDataLoss (the library crashed over it).
absl::Status TryHdf5(const std::string& path, absl::FunctionRef<void(bool all)> read);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_TRIAL_H_
