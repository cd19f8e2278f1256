// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_READ_DRIVER_H_
#define REEMBED_IO_FILE_HDF5_READ_DRIVER_H_

#include <cstdint>

namespace reembed {

// An access property list of the HDF5 library (hid_t, the caller's) for files that are only read. What is asked for in
// such a file lies in it, whatever a damaged address or length in the file says: the library's own driver keeps small
// reads in a buffer and finds its way there with sums that such numbers make overflow, which ends in a crash. Inside an
// Hdf5Call; < 0: the library refuses.
int64_t NewHdf5ReadAccess();

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_READ_DRIVER_H_
