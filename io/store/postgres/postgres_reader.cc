// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_reader.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_import.h"
#include "io/store/postgres/postgres_new_column.h"
#include "io/store/postgres/postgres_scan.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_vector.h"

namespace reembed {
namespace {

class PostgresReader final : public VectorReader {
 public:
  PostgresReader(std::unique_ptr<PostgresConnection> connection, PostgresTable table, PostgresVectorColumn column,
                 const std::string& where, int64_t rows, int dim)
      : connection_(std::move(connection)),
        table_(std::move(table)),
        column_(std::move(column)),
        scan_(connection_.get(), table_, PostgresResultSql(column_), where),
        rows_(rows),
        vector_(static_cast<size_t>(dim)) {}

  int dim() const override { return static_cast<int>(vector_.size()); }
  int64_t rows() const override { return rows_; }

  absl::StatusOr<std::optional<StoredVector>> Next() override { return Take(scan_.Next()); }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override { return Take(scan_.Find(key)); }

  void Round(absl::Span<float> vector) const override { RoundLikePostgres(column_, vector); }

 private:
  absl::StatusOr<std::optional<StoredVector>> Take(const absl::StatusOr<bool>& row) {
    ABSL_RETURN_IF_ERROR(row.status());
    if (!*row) return std::nullopt;
    const int64_t dim = DecodePostgresVector(column_.form, *scan_.cell(), absl::MakeSpan(vector_));
    if (dim == static_cast<int64_t>(vector_.size())) return StoredVector{scan_.key(), vector_};
    return absl::DataLossError(table_.Message(
        absl::StrCat("row ", KeyText(scan_.key()), ": expected a vector of ", vector_.size(), " numbers, got ",
                     dim < 0 ? "something that is none" : absl::StrCat("one of ", dim))));
  }

  const std::unique_ptr<PostgresConnection> connection_;
  const PostgresTable table_;
  const PostgresVectorColumn column_;
  PostgresScan scan_;
  const int64_t rows_;
  std::vector<float> vector_;  // [dim], of the current row
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenPostgresReader(const Location& location,
                                                                 const PostgresReaderOptions& options) {
  ABSL_ASSIGN_OR_RETURN(PostgresLocation asked, ParsePostgresLocation(location));
  if (asked.vector.empty() && asked.mode != PostgresLocation::Mode::kUpdate) asked.vector = "embedding";
  if (asked.vector.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(asked.address.name, ": no column of vectors; add &vector=COLUMN"));
  }
  ABSL_ASSIGN_OR_RETURN(auto connection,
                        PostgresConnection::Open(asked.address, {.read_only = true, .patience = options.patience}));
  ABSL_ASSIGN_OR_RETURN(PostgresTable table, asked.mode == PostgresLocation::Mode::kInsert
                                                 ? PostgresImportedRows(connection.get(), asked)
                                                 : ResolvePostgresTable(connection.get(), asked));
  absl::StatusOr<std::string> name = PostgresColumnToFill(table, asked);
  ABSL_RETURN_IF_ERROR(name.status());
  name = ResolvePostgresColumn(table, "vector", *name);
  ABSL_RETURN_IF_ERROR(name.status());
  ABSL_ASSIGN_OR_RETURN(PostgresVectorColumn column, ResolvePostgresVector(table, asked, *name, 0));
  ABSL_RETURN_IF_ERROR(CheckPostgresWhere(connection.get(), table, asked.where));
  const std::string where =
      absl::StrCat(PostgresWhereSql(asked.where), " AND ", QuotePostgresName(*name), " IS NOT NULL");
  ABSL_RETURN_IF_ERROR(CheckPostgresKeys(connection.get(), table, where));
  int dim = options.dim > 0 ? options.dim : column.dim;
  if (dim == 0) {
    ABSL_ASSIGN_OR_RETURN(const PostgresRows first,
                          (connection)
                              ->Query(absl::StrCat("SELECT ", PostgresWidthSql(table, column), " FROM ", table.Sql(),
                                                   " WHERE ", where, " ORDER BY ", table.KeySql(), " LIMIT 1")));
    if (first.size() > 0) dim = static_cast<int>(first.Int(0, 0));
  }
  if (dim <= 0) {
    return absl::NotFoundError(table.Message(absl::StrCat("no vector in `", *name, "`; run the job first")));
  }
  ABSL_ASSIGN_OR_RETURN(const PostgresRows rows,
                        connection->Query(absl::StrCat("SELECT count(*) FROM ", table.Sql(), " WHERE ", where)));
  return std::make_unique<PostgresReader>(std::move(connection), std::move(table), std::move(column), where,
                                          rows.Int(0, 0), dim);
}

}  // namespace reembed
