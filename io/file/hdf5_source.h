// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_SOURCE_H_
#define REEMBED_IO_FILE_HDF5_SOURCE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"

namespace reembed {

// The strings of an HDF5 file, `hdf5:PATH?texts=DATASET&keys=DATASET`, in file order.
// `texts` (default `texts`): one dimension of strings, of fixed or variable length. `keys`: as many integers or
// strings; without it a row's key is its number, from 0. Links are followed, also into other files. Strings that were
// never written are empty. SeekAfter() and Find() need the key to be in the file. Errors:
// kNotFound (no such file or dataset), kInvalidArgument (other elements, other numbers of rows), kDataLoss. `range`: of
// row numbers.
absl::StatusOr<std::unique_ptr<Source>> OpenHdf5Source(const Location& location, const KeyRange& range = {});

// Likewise, but the file is not tried first, as OpenUntriedHdf5Reader().
absl::StatusOr<std::unique_ptr<Source>> OpenUntriedHdf5Source(const Location& location, const KeyRange& range = {});

// StoreKind::cut: row numbers.
absl::StatusOr<std::vector<Key>> CutHdf5(const Location& location, int shares);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_SOURCE_H_
