// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_TARGET_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_TARGET_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_vector.h"

namespace reembed {

// What a location names as a target, checked against the catalog. The names of what is to be made are not quoted.
struct PostgresTarget {
  PostgresLocation asked;
  Model model;
  std::unique_ptr<PostgresConnection> connection;
  std::optional<PostgresTable> table;          // nullopt: to be made, once the first key is known
  std::optional<PostgresVectorColumn> vector;  // with `table`
  bool model_column_missing = false;

  std::string Place() const;  // for messages: "HOST/DATABASE: table `NAME`"
};

// Connects and checks everything. Changes nothing.
absl::StatusOr<PostgresTarget> OpenPostgresTarget(const Location& location, const Model& model,
                                                  absl::Duration patience);

// Whether the user may make tables in this schema, or, when it is empty, where new ones go.
absl::Status CheckPostgresMayCreate(PostgresConnection* connection, const std::string& schema);

// Looks at the catalog again: fills table, vector, model_column_missing.
absl::Status ResolvePostgresTarget(PostgresTarget* target);

// Adds the columns that are missing; `*added` becomes true when that of the vectors is one of them.
absl::Status AddPostgresColumns(PostgresTarget* target, bool* added);

// Makes the table, with a key for integers or for texts, and resolves it.
absl::Status MakePostgresTable(PostgresTarget* target, bool integer_key);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_TARGET_H_
