// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import_target.h"

#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_import_undo.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {
namespace {

absl::StatusOr<std::string> ReadSchemaFile(const PostgresLocation& asked, int dim) {
  if (asked.schema_file.empty()) return std::string();
  std::ifstream file(asked.schema_file);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty()) {
    return absl::NotFoundError(absl::StrCat(asked.schema_file, ": the statements that make ", asked.table,
                                            " cannot be read; name another file with schema_file="));
  }
  return absl::StrReplaceAll(text.str(), {{"{dim}", absl::StrCat(dim)}});
}

absl::Status CheckParameters(const PostgresLocation& asked) {
  const auto refuse = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(asked.address.name, ": mode=insert: ", what));
  };
  if (asked.origin.empty()) return refuse("give this source a name in the target with &origin=NAME");
  if (asked.sets.empty()) return refuse("no column to fill; add &set.COLUMN=SQL, as in set.title=r->>'title'");
  if (asked.fields.empty()) return refuse("no column of the source to read; add &fields=a,b");
  if (!asked.text.empty() && asked.sets.count(asked.text) == 0) {
    return refuse(absl::StrCat("text=", asked.text, " is none of the columns that are set"));
  }
  return absl::OkStatus();
}

absl::Status CheckColumns(const PostgresLocation& asked, const PostgresTable& table) {
  std::vector<std::string> missing;
  for (const auto& [column, sql] : asked.sets) {
    if (table.Find(column) == nullptr) missing.push_back(column);
  }
  if (table.Find(asked.vector) == nullptr) missing.push_back(asked.vector);
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      table.Message(absl::StrCat("has another version of the schema: it lacks ", absl::StrJoin(missing, ", "),
                                 "; add what is missing, or import the rows into another database")));
}

// The SQL that makes the key of a new row.
absl::StatusOr<std::string> NewKeySql(PostgresConnection* connection, const PostgresTable& table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows found,
      connection->Query(
          "SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '', s, s IS NULL OR "
          "pg_catalog.has_sequence_privilege(s, 'USAGE'), current_user FROM pg_catalog.pg_attribute a LEFT JOIN "
          "pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum, "
          "pg_catalog.pg_get_serial_sequence($1, $2) AS s WHERE a.attrelid = $1::regclass AND a.attname = $2",
          {PostgresValue::Text(table.Sql()), PostgresValue::Text(table.key)}));
  if (!found.Bool(0, 3)) {
    return absl::PermissionDeniedError(table.Message(absl::StrCat("the user ", found.Text(0, 4), " may not use the ",
                                                                  "numbers of its key; run GRANT USAGE ON SEQUENCE ",
                                                                  found.Text(0, 2), " TO ", found.Text(0, 4))));
  }
  if (found.Bool(0, 1)) return absl::StrCat("pg_catalog.nextval(", QuotePostgresText(found.Text(0, 2)), ")");
  if (!found.IsNull(0, 0)) return found.Text(0, 0);
  if (table.key_kind == PostgresTable::KeyKind::kText) return std::string("pg_catalog.gen_random_uuid()::text");
  if (table.key_kind == PostgresTable::KeyKind::kUuid) return std::string("pg_catalog.gen_random_uuid()");
  return absl::FailedPreconditionError(table.Message(
      absl::StrCat("its key `", table.key, "` has no default that would number new rows; make it an identity column")));
}

}  // namespace

absl::Status ResolvePostgresImportTarget(PostgresImportTarget* import) {
  PostgresTarget& target = import->target;
  const absl::StatusOr<PostgresTable> table = ResolvePostgresTable(target.connection.get(), target.asked);
  if (table.ok()) {
    ABSL_RETURN_IF_ERROR(CheckColumns(target.asked, *table));
  }
  ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target));
  if (!target.table.has_value()) {
    if (import->schema_sql.empty()) return table.status();
    return CheckPostgresMayCreate(target.connection.get(), target.asked.schema);
  }
  for (const auto& [column, sql] : target.asked.sets) {
    ABSL_RETURN_IF_ERROR(CheckPostgresRight(target.connection.get(), *target.table, "INSERT", column));
  }
  import->ids = absl::StrCat(QuotePostgresName(target.table->schema), ".", kPostgresIdsTable);
  ABSL_ASSIGN_OR_RETURN(import->new_key, NewKeySql(target.connection.get(), *target.table));
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows ids,
      target.connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL, EXISTS (SELECT 1 FROM "
                               "pg_catalog.pg_attribute WHERE attrelid = "
                               "pg_catalog.to_regclass($1) AND attname = 'row_hash' AND NOT attisdropped)",
                               {PostgresValue::Text(import->ids)}));
  import->has_ids = ids.Bool(0, 0);
  import->has_hashes = ids.Bool(0, 1);
  return import->has_ids ? absl::OkStatus() : CheckPostgresMayCreate(target.connection.get(), target.table->schema);
}

absl::StatusOr<PostgresImportTarget> OpenPostgresImportTarget(const Location& location, const Model& model,
                                                              absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(location));
  ABSL_RETURN_IF_ERROR(CheckParameters(asked));
  ABSL_ASSIGN_OR_RETURN(std::string schema_sql, ReadSchemaFile(asked, model.dim));
  absl::StatusOr<PostgresTarget> target = OpenPostgresTarget(location, model, patience);
  if (!target.ok() && absl::IsFailedPrecondition(target.status())) {
    // What is missing says more than that a column could not be added.
    ABSL_ASSIGN_OR_RETURN(auto connection,
                          PostgresConnection::Open(asked.address, {.read_only = true, .patience = patience}));
    const absl::StatusOr<PostgresTable> table = ResolvePostgresTable(connection.get(), asked);
    if (table.ok()) {
      ABSL_RETURN_IF_ERROR(CheckColumns(asked, *table));
    }
  }
  ABSL_RETURN_IF_ERROR(target.status());
  PostgresImportTarget import{.target = *std::move(target), .schema_sql = std::move(schema_sql)};
  ABSL_RETURN_IF_ERROR(ResolvePostgresImportTarget(&import));
  return import;
}

}  // namespace reembed
