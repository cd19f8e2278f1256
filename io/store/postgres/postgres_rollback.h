// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/status_macros.h"
#include "engine/undo_log.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_target.h"
#include "io/store/postgres/postgres_vector.h"

// What the ways back of PostgreSQL tables have in common.
namespace reembed {

// A row that is being put back.
struct PostgresOldRow {
  int64_t ordinal = 0;
  Key key;
  std::string key_text;
  bool sent = false;  // in a transaction that may have been committed
};

// Whether a cell, in binary form, holds `written`.
bool PostgresCellHolds(const PostgresVectorColumn& column, absl::string_view cell, absl::Span<const float> written);

// SQL: no row of any table refers to the row `t` by a foreign key. To remove such a row would remove, change or keep
// others.
absl::StatusOr<std::string> PostgresNobodyRefersSql(PostgresConnection* connection, const PostgresTable& table);

// Runs a statement that returns the numbers, from 1 on, of the rows that it has changed. The others are left.
absl::Status ChangePostgresRows(PostgresConnection* connection, const std::string& sql,
                                absl::Span<const PostgresValue> values, absl::Span<PostgresOldRow* const> rows,
                                absl::string_view why_not, RollbackReport* done);

// Drops something in `table`, or the table, unless `used` finds a row: one transaction, with nobody else at the table.
// Errors: the server's, of any statement; kFailedPrecondition (it is used). Nothing is dropped then.
absl::Status DropPostgresUnlessUsed(PostgresConnection* connection, const std::string& table, const std::string& used,
                                    const std::string& drop);

// The indexes of pgvector that the table has follow the rows: a note that they stay, if index= asked for one. Makes
// those again that a killed run with index=rebuild has left out.
absl::Status SayPostgresIndexes(const PostgresTarget& target, RollbackReport* report);

// Adds what was done for some rows to what was done for all.
void AddRollback(const RollbackReport& from, RollbackReport* to);

// Runs `together` over the rows in one transaction. Where the server refuses, nothing of it is done, and halving finds
// the rows that are to blame, which are left.
template <typename Row, typename Together>
absl::Status PutPostgresRowsBack(PostgresConnection* connection, absl::Span<Row> rows, const Together& together,
                                 RollbackReport* report) {
  RollbackReport done;
  const absl::Status status = connection->Persist([&]() -> absl::Status {
    done = RollbackReport();
    ABSL_RETURN_IF_ERROR(connection->Begin());
    ABSL_RETURN_IF_ERROR(together(rows, &done));
    return connection->Run("COMMIT");
  });
  if (status.ok()) {
    AddRollback(done, report);
    return absl::OkStatus();
  }
  if (PostgresRefusalOf(connection->last_code()) == PostgresRefusal::kNo) return status;
  ABSL_RETURN_IF_ERROR(connection->Run("ROLLBACK"));
  for (Row& row : rows) row.sent = false;
  if (rows.size() == 1) {
    report->Leave(ViewOf(rows[0].key), status.message());
    return absl::OkStatus();
  }
  const size_t half = rows.size() / 2;
  absl::Status first = PutPostgresRowsBack(connection, rows.subspan(0, half), together, report);
  return first.ok() ? PutPostgresRowsBack(connection, rows.subspan(half), together, report) : first;
}

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_ROLLBACK_H_
