// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_SOURCE_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"

namespace reembed {

// The rows of one table, view or materialized view in the order of their keys, through a connection of its own on which
// the server refuses every change. It reads pages and holds nothing between two calls, see PostgresScan.
// A text of another type than text is shown as PostgreSQL prints it.
// Errors: as PostgresConnection, PostgresTable.
absl::StatusOr<std::unique_ptr<Source>> OpenPostgresSource(const Location& location, const Selection& selection);

// What the table holds now. Reads only. `selection.rows` does not matter.
absl::StatusOr<Survey> SurveyPostgres(const Location& location, const Selection& selection);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SOURCE_H_
