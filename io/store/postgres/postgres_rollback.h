// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/row_table.h"
#include "engine/undo_log.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_target.h"
#include "io/store/postgres/postgres_vector.h"

// What the ways back of PostgreSQL tables have in common.
namespace reembed {

// Whether a cell, in binary form, holds `written`, or as many of its numbers as the cell has (NarrowVector()).
bool PostgresCellHolds(const PostgresVectorColumn& column, absl::string_view cell, absl::Span<const float> written);

// SQL: no row of any table refers to the row `t` by a foreign key. To remove such a row would remove, change or keep
// others.
absl::StatusOr<std::string> PostgresNobodyRefersSql(PostgresConnection* connection, const PostgresTable& table);

// Rows of a PostgreSQL table: what is read is locked until it is changed, both in one transaction.
class PostgresRowTable : public RowTable {
 public:
  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) final;
  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) final;

 protected:
  explicit PostgresRowTable(PostgresTarget* target) : target_(target) {}

  // Read() and Apply() in a transaction that has begun. Look() may be repeated.
  virtual absl::Status Look(absl::Span<const OldRow> rows, absl::Span<RowNow> now) = 0;
  virtual absl::Status Change(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) = 0;

  // Runs a statement that returns the numbers, from 1 on, of the changes with these places that it has made. The other
  // rows are left.
  absl::Status ChangeRows(const std::string& sql, absl::Span<const PostgresValue> values,
                          absl::Span<const size_t> places, absl::string_view why_not, absl::Span<RowOutcome> outcomes);

  PostgresConnection* connection() { return target_->connection.get(); }
  const PostgresTable& table() const { return *target_->table; }
  PostgresTarget* target() const { return target_; }

 private:
  PostgresTarget* const target_;
};

// Drops something in `table`, or the table, unless `used` finds a row: one transaction, with nobody else at the table.
// Errors: the server's, of any statement; kFailedPrecondition (it is used). Nothing is dropped then.
absl::Status DropPostgresUnlessUsed(PostgresConnection* connection, const std::string& table, const std::string& used,
                                    const std::string& drop);

// The table that the job made, if nothing is in it; a note says what became of it.
void TakePostgresTableAway(const PostgresTarget& target, RollbackReport* report);

// The indexes of pgvector that the table has follow the rows: a note that they stay, if index= asked for one. Makes
// those again that a killed run with index=rebuild has left out.
absl::Status SayPostgresIndexes(const PostgresTarget& target, RollbackReport* report);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_
