// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_TARGET_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_TARGET_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "io/store/postgres/postgres_target.h"

namespace reembed {

// What a location with mode=insert names as a target, checked.
struct PostgresImportTarget {
  PostgresTarget target;
  std::string schema_sql;   // to be run when the table is not there
  std::string ids;          // SQL name of the table of ids; empty: its schema is not known before the table is made
  bool has_ids = false;     // that table is there
  bool has_hashes = false;  // with its column row_hash
  std::string new_key;      // SQL that makes the key of a new row
};

// Reads only. `patience` as in PostgresImportOptions.
// Errors: as MakePostgresImportSink(), but for those of its source; kNotFound (the schema file cannot be read).
absl::StatusOr<PostgresImportTarget> OpenPostgresImportTarget(const Location& location, const Model& model,
                                                              absl::Duration patience);

// Fills anew what depends on the table, which others may have made or changed; nothing of it where the table is still
// to be made. Reads only.
absl::Status ResolvePostgresImportTarget(PostgresImportTarget* import);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_IMPORT_TARGET_H_
