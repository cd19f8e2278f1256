#include "io/file/hdf5_reader.h"

#include <utility>

#include "io/file/hdf5_columns.h"
#include "io/file/hdf5_library.h"

namespace reembed {

absl::StatusOr<std::unique_ptr<VectorReader>> OpenHdf5Reader(const Location& location) {
  if (absl::Status status = location.CheckParameters({}); !status.ok()) return status;
  // Open datasets keep their file open.
  const absl::StatusOr<Hdf5Id> file = OpenHdf5ToRead(location.path);
  if (!file.ok()) return file.status();
  absl::StatusOr<Hdf5Matrix> train = OpenHdf5Matrix(*file, location.path, "train");
  if (!train.ok()) return train.status();
  std::unique_ptr<KeyColumn> keys;
  if (HasHdf5Dataset(*file, "keys")) {
    absl::StatusOr<std::unique_ptr<KeyColumn>> column = OpenHdf5Keys(*file, location.path, "keys", train->rows);
    if (!column.ok()) return column.status();
    keys = std::move(*column);
  }
  return MakeMatrixReader(std::move(train->vectors), std::move(keys), train->rows, train->dim);
}

}  // namespace reembed
