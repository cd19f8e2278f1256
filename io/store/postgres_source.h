#ifndef REEMBED_IO_STORE_POSTGRES_SOURCE_H_
#define REEMBED_IO_STORE_POSTGRES_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "engine/source.h"
#include "engine/survey.h"

namespace reembed {

// Which rows of the location's table are selected, besides those its own `where` leaves out.
struct PostgresSelection {
  enum class Rows {
    kAll,
    kWithoutVector,  // whose vector is NULL or not of `dim` numbers; all, if the column is not there
    kWithVector,     // the others
  };
  Rows rows = Rows::kAll;
  int dim = 0;              // width of a valid vector
  std::string where;        // SQL condition, joined by AND to the location's
  std::string resume_from;  // the first row has this key, or the first one behind it; empty: from the start
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away
};

// The rows of one table, view or materialized view in the order of their keys, through a connection of its own on which
// the server refuses every change. It reads pages and holds nothing between two calls, see PostgresScan.
// A text of another type than text is shown as PostgreSQL prints it.
// Errors: as PostgresConnection, PostgresTable.
absl::StatusOr<std::unique_ptr<Source>> OpenPostgresSource(const Location& location,
                                                           const PostgresSelection& selection);

// What the table holds now. Reads only. `selection.rows` does not matter.
absl::StatusOr<Survey> SurveyPostgres(const Location& location, const PostgresSelection& selection);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_SOURCE_H_
