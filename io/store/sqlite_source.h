#ifndef REEMBED_IO_STORE_SQLITE_SOURCE_H_
#define REEMBED_IO_STORE_SQLITE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/source.h"

namespace reembed {

// Which rows of the location's table are selected, besides those its own `where` leaves out.
struct SqliteSelection {
  enum class Rows {
    kAll,
    kWithoutVector,  // whose vector is NULL or anything but a vector of `dim` numbers; all, if the column is not there
    kWithVector,     // the others
  };
  Rows rows = Rows::kAll;
  int dim = 0;                     // width of a valid vector
  std::string where;               // SQL condition, joined by AND to the location's
  std::optional<Key> resume_from;  // the first row has this key, or the first one behind it
  int64_t limit = 0;  // rows that Next() gives at most in the life of the source; 0: all. Who goes on with the work of
                      // an earlier run subtracts what that run took
  absl::Duration busy_timeout = absl::Seconds(30);  // how long to wait for a lock before kUnavailable
};

// The rows of one SQLite table, view or virtual table in the order of their keys, read through a connection of its own
// that cannot write and holds no lock between two calls, so that a live application and the sink may write meanwhile.
// A text that is a number is shown as SQLite prints it; a blob as its bytes. With a template the text is made from
// several columns, and is never absent, but may be empty.
// A view may have to be sorted anew for every page: for a large one name the table under it, with a `where`.
// Memory: one page, about 1 MiB, or the longest text when that is longer.
// Errors: kInvalidArgument, kNotFound, kFailedPrecondition (see sqlite_db.h, sqlite_table.h: what cannot be the source
// of a job); kUnavailable (locked).
absl::StatusOr<std::unique_ptr<Source>> OpenSqliteSource(const Location& location, const SqliteSelection& selection);

// What a table holds now, found by one walk over it.
struct SqliteSurvey {
  struct WidthCount {
    int64_t dim = 0;
    int64_t rows = 0;
  };
  struct ModelCount {
    std::string model;  // empty: NULL or empty in the table
    int64_t rows = 0;
  };
  int64_t rows = 0;                  // of the table, from resume_from on
  int64_t rows_selected = 0;         // of those, that both `where` select; all that follows is about them
  int64_t rows_with_vector = 0;      // a vector of selection.dim numbers
  int64_t rows_null = 0;             // no vector: NULL, what else the encoding has for that, or no such column yet
  int64_t rows_unreadable = 0;       // something that is no vector of any width
  std::vector<WidthCount> widths;    // of the vectors; commonest first, at most kMaxGroups
  std::vector<ModelCount> models;    // of rows_with_vector, if model_column is named; as widths
  int64_t rows_in_no_group = 0;      // beyond kMaxGroups
  int64_t orphans = 0;               // vectors kept elsewhere whose row is gone
  bool vacuum_changes_keys = false;  // see SqliteTable
  static constexpr size_t kMaxGroups = 32;
};

// Reads only. `selection.rows` and `limit` do not matter. Errors: as OpenSqliteSource.
absl::StatusOr<SqliteSurvey> SurveySqlite(const Location& location, const SqliteSelection& selection);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SOURCE_H_
