#ifndef REEMBED_IO_FILE_HDF5_COLUMNS_H_
#define REEMBED_IO_FILE_HDF5_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/hdf5_library.h"
#include "io/file/key_column.h"
#include "io/file/matrix_reader.h"

namespace reembed {

// One dataset, opened for reading block by block. What a header claims is checked before it is believed: no more than
// a block is ever held, and datasets whose chunks alone would fill the memory are refused. (The library itself is not
// hardened against files made to harm.)
struct Hdf5Dataset {
  std::string place;  // "<path>: dataset `<name>`", for messages
  Hdf5Id id;
  Hdf5Id type;
  std::vector<int64_t> shape;

  // Errors: kNotFound (no such dataset; the message names those there are), kDataLoss.
  static absl::StatusOr<Hdf5Dataset> Open(const Hdf5Id& file, const std::string& path, const std::string& name);

  // H5Dread of rows [first, first + rows) into `to`. `memory_type` and `transfer` are HDF5 ids.
  absl::Status Read(int64_t first, int64_t rows, int64_t memory_type, int64_t transfer, void* to) const;
};

bool HasHdf5Dataset(const Hdf5Id& file, const std::string& name);

// Strings of one dimension, of fixed or variable length. Used by one thread.
class Hdf5Strings {
 public:
  // Errors: as Hdf5Dataset::Open; kInvalidArgument (no strings, not one dimension).
  static absl::StatusOr<Hdf5Strings> Open(const Hdf5Id& file, const std::string& path, const std::string& name);

  int64_t rows() const { return dataset_.shape[0]; }

  // nullopt: nothing was ever stored there. Valid until the next call.
  absl::StatusOr<std::optional<absl::string_view>> At(int64_t row);

 private:
  Hdf5Strings(Hdf5Dataset dataset, Hdf5Id memory_type, size_t fixed_bytes);
  absl::Status LoadFixed(int64_t row);
  absl::Status LoadVariable(int64_t row);

  Hdf5Dataset dataset_;
  Hdf5Id memory_type_;
  size_t fixed_bytes_;  // of one string; 0: variable
  int64_t block_begin_ = 0;
  std::vector<std::optional<absl::string_view>> block_;  // into fixed_ or pool_
  std::vector<char> fixed_;
  std::vector<std::unique_ptr<char[]>> pool_;
};

// Keys: integers or strings of one dimension, `rows` of them.
// Errors: as Hdf5Strings::Open; kInvalidArgument (another number of them).
absl::StatusOr<std::unique_ptr<KeyColumn>> OpenHdf5Keys(const Hdf5Id& file, const std::string& path,
                                                        const std::string& name, int64_t rows);

// A matrix of floats of any size, read as float32.
struct Hdf5Matrix {
  std::unique_ptr<VectorRows> vectors;
  int64_t rows = 0;
  int dim = 0;
};

// Errors: as Hdf5Dataset::Open; kInvalidArgument (no floats, not two dimensions, a width that nothing has).
absl::StatusOr<Hdf5Matrix> OpenHdf5Matrix(const Hdf5Id& file, const std::string& path, const std::string& name);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_HDF5_COLUMNS_H_
