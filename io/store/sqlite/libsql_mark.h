// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_LIBSQL_MARK_H_
#define REEMBED_IO_STORE_SQLITE_LIBSQL_MARK_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/store/sqlite/hrana.h"

namespace reembed {

// How the lease of a column names it in `reembed_lock`. SQLite takes names in any case for the same.
std::string LeasePlace(absl::string_view table, absl::string_view column);

// What the places of all workers begin with that share the lease of `column`, as LeasePlace() has it. Each has a row.
std::string WorkerPlaces(absl::string_view column);

// The place of the mark of a lease, or of a worker's, there.
std::string MarkPlace(absl::string_view lease_place);

// How many transactions a run has written a column with, kept in the database itself: a row of `reembed_lock` beside
// the lease, which each of them counts up. A database that was put back to an older state, by whatever seconds, has the
// count of that state: a server has no name of its own by which that would show. Workers that share the lease have a
// count each. Used by one thread.
class LibsqlMark {
 public:
  // `server`: for messages. `column`: as LeasePlace() has it. `connection` outlives this.
  LibsqlMark(std::string server, std::string column, HranaConnection* connection)
      : server_(std::move(server)), column_(std::move(column)), connection_(connection) {}

  // Begins to count. Returns the position from which rows must be served: `last`; or 0 from the moment that writes were
  // lost, by whatever process, until End(): nobody knows which. Where this process does not hold the lease (a token
  // that may not make its table) nothing is counted.
  absl::StatusOr<int64_t> Begin(int64_t last);

  // Whether each transaction gets one statement more, of AddTo(), whose step Take() wants once the transaction is
  // stored. Errors: LostWritesError().
  bool counts() const { return !owner_.empty(); }
  void AddTo(HranaBatch* batch) const;
  absl::Status Take(const HranaStep& step);

  // Asks the database. Errors: LostWritesError(); those of the connection.
  absl::Status Check();

  // Whether others fill the column with this process, whose last step comes at a time of its own.
  bool is_shared() const { return place_ != column_; }

  // Check(), and then there is no mark any more, and nothing is counted.
  absl::Status End();

 private:
  absl::Status CountFrom(int64_t count);
  absl::Status Lost();

  const std::string server_, column_;
  HranaConnection* const connection_;
  std::string place_ = column_;  // of this process's lease
  std::string owner_;            // of the lease; empty: nothing is counted
  int64_t count_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_LIBSQL_MARK_H_
