// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_SOURCE_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"

namespace reembed {

// The rows of one SQLite table, view or virtual table in the order of their keys, read through a connection of its own
// that cannot write and holds no lock between two calls, so that a live application and the sink may write meanwhile.
// A text that is a number is shown as SQLite prints it; a blob as its bytes. With a template the text is made from
// several columns, and is never absent, but may be empty.
// A view may have to be sorted anew for every page: for a large one name the table under it, with a `where`.
// Memory: one page, about 1 MiB, or the longest text when that is longer.
// Errors: kInvalidArgument, kNotFound, kFailedPrecondition (see sqlite_db.h, sqlite_table.h: what cannot be the source
// of a job); kUnavailable (locked).
absl::StatusOr<std::unique_ptr<Source>> OpenSqliteSource(const Location& location, const Selection& selection);

// What a table holds now, found by one walk over it. Reads only. `selection.rows` does not matter. Errors: as
// OpenSqliteSource.
absl::StatusOr<Survey> SurveySqlite(const Location& location, const Selection& selection);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_SOURCE_H_
