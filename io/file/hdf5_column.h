// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_HDF5_COLUMN_H_
#define REEMBED_IO_FILE_HDF5_COLUMN_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/hdf5_file.h"
#include "io/file/key_column.h"

namespace reembed {

// The strings of a dataset by row number, read in blocks. Used by one thread.
class Hdf5TextColumn {
 public:
  // Errors: kInvalidArgument (the dataset is no list of strings).
  static absl::StatusOr<std::unique_ptr<Hdf5TextColumn>> Make(std::unique_ptr<Hdf5Dataset> dataset);

  int64_t rows() const { return dataset_->shape().rows; }

  // The string of row `row`, which must exist; valid until the next call. Cheap when asked in ascending order.
  // Errors: kDataLoss.
  absl::StatusOr<absl::string_view> At(int64_t row);

 private:
  explicit Hdf5TextColumn(std::unique_ptr<Hdf5Dataset> dataset) : dataset_(std::move(dataset)) {}

  const std::unique_ptr<Hdf5Dataset> dataset_;
  int64_t first_ = 0;  // row of the block
  Hdf5TextBlock block_;
};

// The keys in a dataset of integers or strings, which has as many rows as what they belong to.
// Errors: kInvalidArgument (other elements, an integer beyond int64), kDataLoss.
absl::StatusOr<std::unique_ptr<KeyColumn>> MakeHdf5KeyColumn(std::unique_ptr<Hdf5Dataset> dataset);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_COLUMN_H_
