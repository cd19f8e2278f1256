// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_READER_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "engine/vector_reader.h"

namespace reembed {

struct PostgresReaderOptions {
  int dim = 0;  // expected width; 0: what the column's type says, else that of the first vector
  absl::Duration patience = absl::Minutes(2);
};

// Reads the vector column of the location back, in the order of the keys, over the rows that its `where` selects. Like
// the source it reads pages, changes nothing and holds nothing between two calls. halfvec and bit come as floats.
// Errors: as PostgresConnection, PostgresTable, PostgresVectorColumn; kInvalidArgument (no `vector` in the location);
// kNotFound (no vector in the table and no `dim`). Next, Find: kDataLoss (something that is no vector of that width).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenPostgresReader(const Location& location,
                                                                 const PostgresReaderOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_READER_H_
