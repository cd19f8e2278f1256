// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_READER_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "engine/vector_reader.h"

namespace reembed {

struct SqliteReaderOptions {
  int dim = 0;  // expected width; 0: that of the first vector in the table
  absl::Duration busy_timeout = absl::Seconds(30);
};

// Reads the vector column of the location back, in the order of the keys, over the rows that its `where` selects. Like
// the source it reads page by page, cannot write and holds no lock between two calls. Opening walks over the table
// once, to count the vectors.
// Errors: as SqliteDb, SqliteTable; kInvalidArgument (no `vector` in the location); kNotFound (no vector in the table
// and no `dim`). Next, Find: kDataLoss (the row's cell holds anything but NULL or a vector of that width).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenSqliteReader(const Location& location,
                                                               const SqliteReaderOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_READER_H_
