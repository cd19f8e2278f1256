// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_lookup.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_new_column.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_vector.h"
#include "io/store/vector_column_name.h"

namespace reembed {
namespace {

struct Opened {
  PostgresLocation asked;
  std::unique_ptr<PostgresConnection> connection;
};

absl::StatusOr<Opened> Open(const Location& location, bool read_only = true) {
  ABSL_ASSIGN_OR_RETURN(PostgresLocation asked, ParsePostgresLocation(location));
  ABSL_ASSIGN_OR_RETURN(auto connection, PostgresConnection::Open(asked.address, {.read_only = read_only,
                                                                                  .patience = absl::ZeroDuration()}));
  return Opened{std::move(asked), std::move(connection)};
}

// As SQL names it.
std::string NameOf(const PostgresLocation& asked, const std::string& table) {
  return absl::StrCat(asked.schema.empty() ? "" : absl::StrCat(QuotePostgresName(asked.schema), "."),
                      QuotePostgresName(table));
}

// How many numbers most of the stored vectors have; 0: there is none.
absl::StatusOr<int> CommonestWidth(PostgresConnection* connection, const PostgresTable& table,
                                   const PostgresVectorColumn& column) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows widths,
      connection->Query(absl::StrCat("SELECT ", PostgresWidthSql(table, column), " AS width, count(*) FROM ",
                                     table.Sql(), " GROUP BY 1 ORDER BY 2 DESC")));
  for (int row = 0; row < widths.size(); ++row) {
    if (widths.Int(row, 0) > 0) return static_cast<int>(widths.Int(row, 0));
  }
  return 0;
}

}  // namespace

absl::StatusOr<TableFacts> LookUpPostgresTable(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(const Opened opened, Open(location));
  PostgresConnection* const connection = opened.connection.get();
  ABSL_ASSIGN_OR_RETURN(const PostgresRows there,
                        connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL",
                                          {PostgresValue::Text(NameOf(opened.asked, opened.asked.table))}));
  TableFacts facts;
  if (!there.Bool(0, 0)) return facts;
  facts.exists = true;
  ABSL_ASSIGN_OR_RETURN(const PostgresTable table, ResolvePostgresTable(connection, opened.asked));
  for (const PostgresTable::Column& column : table.columns) facts.types[column.name] = column.type;
  const PostgresTable::Column* const vector = table.Find(opened.asked.vector);
  if (vector == nullptr) return facts;
  facts.made_as = PostgresNewColumnOfMark(vector->comment);
  ABSL_ASSIGN_OR_RETURN(const PostgresVectorColumn column, ResolvePostgresVector(table, opened.asked, vector->name, 0));
  facts.dim = column.dim;
  facts.dim_is_fixed = column.dim > 0;
  if (facts.dim_is_fixed) return facts;
  ABSL_ASSIGN_OR_RETURN(facts.dim, CommonestWidth(connection, table, column));
  return facts;
}

absl::StatusOr<std::vector<VectorColumnName>> PostgresVectorColumns(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(const Opened opened, Open(location));
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows columns,
      opened.connection->Query(
          "SELECT c.relname, a.attname, t.typname IN ('vector', 'halfvec', 'sparsevec') FROM pg_catalog.pg_attribute a "
          "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
          "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND "
          "a.attnum > 0 AND NOT a.attisdropped AND c.relname NOT LIKE 'reembed\\_%' AND (n.nspname = $1 OR $1 = '' AND "
          "n.nspname = ANY (pg_catalog.current_schemas(false))) ORDER BY 1, a.attnum",
          {PostgresValue::Text(opened.asked.schema)}));
  std::vector<VectorColumnName> found;
  for (int row = 0; row < columns.size(); ++row) {
    if (!columns.Bool(row, 2) && !IsCalledVector(columns.Text(row, 1))) continue;
    found.push_back({columns.Text(row, 0), columns.Text(row, 1)});
  }
  return found;
}

absl::Status CheckPostgresValueExists(const Location& location, const std::vector<std::string>& columns,
                                      const std::string& value) {
  ABSL_ASSIGN_OR_RETURN(const Opened opened, Open(location));
  const std::string table = NameOf(opened.asked, opened.asked.table);
  const std::string names = absl::StrJoin(columns, ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, QuotePostgresName(name), "::text");
  });
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows found,
      opened.connection->Query(absl::StrCat("SELECT 1 FROM ", table, " WHERE $1 IN (", names, ") LIMIT 1"),
                               {PostgresValue::Text(value)}));
  if (found.size() > 0) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows list,
      opened.connection->Query(absl::StrCat("SELECT DISTINCT unnest(ARRAY[", names, "]) FROM ", table, " LIMIT 1000")));
  std::vector<std::string> values;
  values.reserve(list.size());
  for (int row = 0; row < list.size(); ++row) values.push_back(list.Text(row, 0));
  const std::string near = NearestName(value, values);
  return absl::NotFoundError(absl::StrCat(opened.asked.address.name, ": table `", opened.asked.table, "`: nobody has `",
                                          value, "` as ", absl::StrJoin(columns, " or "),
                                          near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?")));
}

absl::Status DropPostgresTables(const Location& location, const std::vector<std::string>& tables) {
  ABSL_ASSIGN_OR_RETURN(const Opened opened, Open(location, false));
  ABSL_ASSIGN_OR_RETURN(const PostgresRows extension,
                        opened.connection->Query("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'vector'"));
  if (extension.size() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(opened.asked.address.name, ": the extension pgvector is not installed in this database, so ",
                     opened.asked.table, " could not be made again; run CREATE EXTENSION vector"));
  }
  const std::string names = absl::StrJoin(tables, ", ", [&](std::string* out, const std::string& table) {
    absl::StrAppend(out, NameOf(opened.asked, table));
  });
  return opened.connection->Run(
      absl::StrCat("SET LOCAL lock_timeout = '5s'; DROP TABLE IF EXISTS ", names, " CASCADE"));
}

}  // namespace reembed
