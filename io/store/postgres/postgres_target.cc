// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_target.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_index.h"
#include "io/store/postgres/postgres_new_column.h"

namespace reembed {
namespace {

absl::StatusOr<PostgresLocation> ParseTarget(const Location& location) {
  absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(location);
  ABSL_RETURN_IF_ERROR(asked.status());
  if (asked->index == "rebuild" && (!asked->new_column.empty() || asked->mode == PostgresLocation::Mode::kInsert)) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked->address.name,
                     ": index=rebuild is for the indexes of a column that is filled in place; name one to "
                     "build, index=hnsw"));
  }
  if (asked->mode != PostgresLocation::Mode::kUpdate) {
    if (asked->vector.empty()) asked->vector = "embedding";
    if (!asked->new_column.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(asked->address.name, ": new_column= goes with mode=update only"));
    }
  }
  if (asked->vector.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(asked->address.name, ": no column to fill; add &vector=COLUMN"));
  }
  return asked;
}

PostgresOptions OptionsOf(const PostgresLocation& asked, absl::Duration patience) {
  PostgresOptions options{.patience = patience};
  // Every statement of ours takes arrays: a plan made for this one would be made anew for each.
  options.settings.push_back({"plan_cache_mode", "'force_generic_plan'"});
  // What a time of a source without a zone means must not depend on the server's settings.
  if (asked.mode == PostgresLocation::Mode::kInsert) options.settings.push_back({"TimeZone", "'UTC'"});
  // A commit that does not wait for the disk would make Flush() a lie. Stronger settings stay.
  options.settings.push_back({"synchronous_commit",
                              "CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE "
                              "pg_catalog.current_setting('synchronous_commit') END"});
  return options;
}

absl::Status SetTriggers(const PostgresLocation& asked, PostgresConnection* connection) {
  if (asked.triggers == PostgresLocation::Triggers::kFire) return absl::OkStatus();
  absl::Status set = connection->AddSetting({"session_replication_role", "'replica'"});
  if (!absl::IsPermissionDenied(set)) return set;
  if (asked.triggers == PostgresLocation::Triggers::kAuto) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(set.message(),
                                                  "; triggers=skip takes a superuser, or GRANT SET ON PARAMETER "
                                                  "session_replication_role TO this user (PostgreSQL 15)"));
}

// It makes and adds nothing, and knows no model.
bool IsRollback(const PostgresTarget& target) { return target.model.dim == 0; }

// Before anything is bought for it. Both are seen, though a user can write again what a session was told not to.
absl::Status CheckTakesWrites(PostgresConnection* connection) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows state,
      connection->Query(
          "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'"));
  if (state.Bool(0, 0)) {
    return absl::FailedPreconditionError(
        absl::StrCat(connection->name(),
                     ": the server is a replica (pg_is_in_recovery), which takes no writes; give the address of the "
                     "primary"));
  }
  if (!state.Bool(0, 1)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      connection->name(),
      ": the server takes no writes here: default_transaction_read_only is on; ALTER DATABASE or ALTER ROLE ... SET "
      "default_transaction_read_only = off, or connect as another user"));
}

// Found out here, not when all is bought.
absl::Status CheckDirect(const PostgresTarget& target) {
  const PostgresLocation& asked = target.asked;
  PostgresConnection* const connection = target.connection.get();
  if (asked.index == "none" || IsRollback(target)) return absl::OkStatus();
  const absl::StatusOr<bool> pooled = connection->IsPooled();
  if (!pooled.ok() || !*pooled) return pooled.status();
  return absl::FailedPreconditionError(absl::StrCat(
      connection->name(), ": index=", asked.index,
      " wants a direct connection, and a pooler such as PgBouncer stands before this server: CREATE INDEX CONCURRENTLY "
      "is no transaction. Give the host and port of the server itself, or leave index= out and make the index later"));
}

// A column is added by the table's owner only.
absl::Status CheckOwner(const PostgresTarget& target, const PostgresTable& table, absl::string_view what) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows owner,
                        target.connection->Query("SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE'), "
                                                 "pg_catalog.pg_get_userbyid(c.relowner), current_user FROM "
                                                 "pg_catalog.pg_class c WHERE c.oid = $1::regclass",
                                                 {PostgresValue::Text(table.Sql())}));
  if (owner.size() == 0 || owner.Bool(0, 0)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      table.Message(absl::StrCat(what, " takes the table's owner: GRANT ", QuotePostgresName(owner.Text(0, 1)), " TO ",
                                 QuotePostgresName(owner.Text(0, 2)), ", or let ", owner.Text(0, 1), " do it")));
}

// A new row has its key, its vector and the model's name, and defaults.
absl::Status CheckMayAddRows(const PostgresTarget& target, const PostgresTable& table,
                             const PostgresVectorColumn& vector) {
  if (target.asked.mode != PostgresLocation::Mode::kUpsert || IsRollback(target)) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(CheckPostgresRight(target.connection.get(), table, "INSERT", table.key));
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows needed,
      target.connection->Query("SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1::regclass AND attnum > "
                               "0 AND NOT attisdropped "
                               "AND attnotnull AND NOT atthasdef AND attidentity = '' AND attname NOT IN ($2, $3, $4) "
                               "ORDER BY attnum LIMIT 1",
                               {PostgresValue::Text(table.Sql()), PostgresValue::Text(table.key),
                                PostgresValue::Text(vector.name), PostgresValue::Text(target.asked.model_column)}));
  if (needed.size() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(table.Message(absl::StrCat(
      "mode=upsert adds rows of key and vector, and column `", needed.Text(0, 0),
      "` needs a value and has no default; give it one, or fill rows that are there, without mode=upsert")));
}

// A column of a partition is that of its parent.
absl::Status CheckNoPartition(const PostgresTarget& target, const PostgresTable& table, absl::string_view what) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows parent,
                        target.connection->Query("SELECT pg_catalog.pg_partition_root($1::regclass)::text FROM "
                                                 "pg_catalog.pg_class WHERE oid = $1::regclass AND "
                                                 "relispartition",
                                                 {PostgresValue::Text(table.Sql())}));
  if (parent.size() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(table.Message(
      absl::StrCat("is a partition of ", parent.Text(0, 0), ", and ", what, " is done there; name that table")));
}

// An index is made in the schema of its table.
absl::Status CheckMayMakeIndexes(const PostgresTarget& target, const PostgresTable& table) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows may,
                        target.connection->Query("SELECT pg_catalog.has_schema_privilege($1, 'CREATE'), current_user",
                                                 {PostgresValue::Text(table.schema)}));
  if (may.Bool(0, 0)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      table.Message(absl::StrCat("building an index takes the right to make it: run GRANT CREATE ON SCHEMA ",
                                 QuotePostgresName(table.schema), " TO ", QuotePostgresName(may.Text(0, 1)))));
}

absl::Status CheckRights(const PostgresTarget& target, const PostgresTable& table, const PostgresVectorColumn& vector) {
  PostgresConnection* const connection = target.connection.get();
  ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection, table, "SELECT", table.key));
  std::vector<std::string> filled;
  if (vector.exists) filled.push_back(vector.name);
  if (!target.asked.model_column.empty() && !target.model_column_missing) filled.push_back(target.asked.model_column);
  for (const std::string& column : filled) {
    // What is overwritten is read before, and read back after.
    ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection, table, "SELECT", column));
    ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection, table, "UPDATE", column));
    if (target.asked.mode == PostgresLocation::Mode::kUpdate) continue;
    ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection, table, "INSERT", column));
  }
  if (!vector.exists || target.model_column_missing) {
    ABSL_RETURN_IF_ERROR(CheckNoPartition(target, table, "adding a column"));
    return CheckOwner(target, table, "adding a column");
  }
  if (target.asked.index != "none") {
    ABSL_RETURN_IF_ERROR(CheckOwner(target, table, "building an index"));
    return CheckMayMakeIndexes(target, table);
  }
  if (!target.asked.new_column.empty()) {
    ABSL_RETURN_IF_ERROR(CheckNoPartition(target, table, "renaming a column"));
    return CheckOwner(target, table, "renaming a column");
  }
  return absl::OkStatus();
}

// The table that is to be made, without its columns.
absl::StatusOr<PostgresTable> PlanTable(const PostgresTarget& target) {
  const PostgresLocation& asked = target.asked;
  PostgresTable plan{.database = asked.address.name, .schema = asked.schema, .name = asked.table};
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows places,
      target.connection->Query(
          "SELECT current_schema(), (SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON "
          "n.oid = e.extnamespace WHERE e.extname = 'vector')"));
  if (plan.schema.empty()) plan.schema = places.Text(0, 0);
  plan.extension_schema = places.Text(0, 1);
  return plan;
}

absl::Status CheckPlannedTable(const PostgresTarget& target) {
  ABSL_RETURN_IF_ERROR(CheckPostgresMayCreate(target.connection.get(), target.asked.schema));
  ABSL_ASSIGN_OR_RETURN(const PostgresTable plan, PlanTable(target));
  ABSL_ASSIGN_OR_RETURN(const PostgresVectorColumn vector,
                        ResolvePostgresVector(plan, target.asked, target.asked.vector, target.model.dim));
  return CheckPostgresIndex(target, plan, vector);
}

}  // namespace

std::string PostgresTarget::Place() const {
  return absl::StrCat(connection->name(), ": table `", table.has_value() ? table->name : asked.table, "`");
}

absl::Status CheckPostgresMayCreate(PostgresConnection* connection, const std::string& schema) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows may,
      connection->Query(
          "SELECT s, CASE WHEN pg_catalog.to_regnamespace(pg_catalog.quote_ident(s)) IS NULL THEN NULL ELSE "
          "pg_catalog.has_schema_privilege(s, 'CREATE') END, current_user FROM (SELECT CASE WHEN $1 = '' THEN "
          "current_schema()::text ELSE $1 END AS s) AS x",
          {PostgresValue::Text(schema)}));
  if (may.IsNull(0, 1)) {
    return absl::FailedPreconditionError(absl::StrCat(connection->name(),
                                                      ": there is no schema to make tables in; run CREATE SCHEMA ",
                                                      schema.empty() ? "public" : QuotePostgresName(schema)));
  }
  if (may.Bool(0, 1)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      connection->name(), ": the user ", may.Text(0, 2), " may not make tables; run GRANT CREATE ON SCHEMA ",
      QuotePostgresName(may.Text(0, 0)), " TO ", QuotePostgresName(may.Text(0, 2))));
}

absl::StatusOr<PostgresTarget> OpenPostgresTarget(const Location& location, const Model& model,
                                                  absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(PostgresLocation asked, ParseTarget(location));
  ABSL_ASSIGN_OR_RETURN(auto connection, PostgresConnection::Open(asked.address, OptionsOf(asked, patience)));
  ABSL_RETURN_IF_ERROR(SetTriggers(asked, connection.get()));
  ABSL_RETURN_IF_ERROR(CheckTakesWrites(connection.get()));
  PostgresTarget target{.asked = std::move(asked), .model = model, .connection = std::move(connection)};
  ABSL_RETURN_IF_ERROR(CheckDirect(target));
  ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target));
  return target;
}

absl::Status ResolvePostgresTarget(PostgresTarget* target) {
  const PostgresLocation& asked = target->asked;
  target->table.reset();
  target->vector.reset();
  target->model_column_missing = false;
  absl::StatusOr<PostgresTable> table = ResolvePostgresTable(target->connection.get(), asked);
  if (!table.ok()) {
    const bool no_table =
        absl::IsNotFound(table.status()) && (asked.mode != PostgresLocation::Mode::kUpdate || IsRollback(*target));
    if (!no_table) return table.status();
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows there,
        target->connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL, EXISTS (SELECT 1 FROM "
                                  "pg_catalog.pg_extension WHERE extname = 'vector')",
                                  {PostgresValue::Text(absl::StrCat(
                                      asked.schema.empty() ? "" : absl::StrCat(QuotePostgresName(asked.schema), "."),
                                      QuotePostgresName(asked.table)))}));
    if (there.Bool(0, 0)) return table.status();
    if (IsRollback(*target)) return absl::OkStatus();
    const bool needs_extension = asked.type != "json" && asked.type != "bytea" && asked.type != "bit";
    if (needs_extension && !there.Bool(0, 1)) {
      return absl::FailedPreconditionError(
          absl::StrCat(asked.address.name,
                       ": the extension pgvector is not installed in this database; run CREATE EXTENSION vector"));
    }
    // What makes the others is known to their own sink.
    const bool makes = asked.mode == PostgresLocation::Mode::kUpsert;
    return makes ? CheckPlannedTable(*target) : absl::OkStatus();
  }
  if (!table->is_table) {
    return absl::InvalidArgumentError(table->Message("is a view; name a table to fill"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::string name, PostgresColumnToFill(*table, asked));
  ABSL_ASSIGN_OR_RETURN(PostgresVectorColumn vector, ResolvePostgresVector(*table, asked, name, target->model.dim));
  target->model_column_missing = !asked.model_column.empty() && table->Find(asked.model_column) == nullptr;
  for (const std::string& filled : {vector.name, asked.model_column}) {
    const PostgresTable::Column* column = table->Find(filled);
    if (column == nullptr || !column->generated) continue;
    return absl::FailedPreconditionError(
        table->Message(absl::StrCat("column `", filled, "` is computed by the table and cannot be filled")));
  }
  ABSL_RETURN_IF_ERROR(CheckRights(*target, *table, vector));
  ABSL_RETURN_IF_ERROR(CheckMayAddRows(*target, *table, vector));
  ABSL_RETURN_IF_ERROR(CheckPostgresIndex(*target, *table, vector));
  target->vector = std::move(vector);
  target->table = *std::move(table);
  return absl::OkStatus();
}

absl::Status AddPostgresColumns(PostgresTarget* target, bool* added) {
  const PostgresTable& table = *target->table;
  std::string sql;
  if (!target->vector->exists) {
    *added = true;
    const std::string column = QuotePostgresName(target->vector->name);
    absl::StrAppend(&sql, "ALTER TABLE ", table.Sql(), " ADD COLUMN ", column, " ", target->vector->type, ";");
    if (!target->asked.new_column.empty()) {
      absl::StrAppend(&sql, "COMMENT ON COLUMN ", table.Sql(), ".", column, " IS ",
                      QuotePostgresText(PostgresNewColumnMark(target->asked)), ";");
    }
  }
  if (target->model_column_missing) {
    absl::StrAppend(&sql, "ALTER TABLE ", table.Sql(), " ADD COLUMN ", QuotePostgresName(target->asked.model_column),
                    " text;");
  }
  if (sql.empty()) return absl::OkStatus();
  // Others must not queue behind a lock that we only wait for.
  ABSL_RETURN_IF_ERROR(target->connection->Run(absl::StrCat("SET LOCAL lock_timeout = '5s'; ", sql)));
  return ResolvePostgresTarget(target);
}

absl::Status MakePostgresTable(PostgresTarget* target, bool integer_key) {
  const PostgresLocation& asked = target->asked;
  ABSL_ASSIGN_OR_RETURN(const PostgresTable planned, PlanTable(*target));
  const PostgresTable& plan = planned;
  ABSL_ASSIGN_OR_RETURN(const PostgresVectorColumn vector,
                        ResolvePostgresVector(plan, asked, asked.vector, target->model.dim));
  const std::string model =
      asked.model_column.empty() ? "" : absl::StrCat(", ", QuotePostgresName(asked.model_column), " text");
  absl::Status made = target->connection->Run(
      absl::StrCat("CREATE TABLE IF NOT EXISTS ", plan.Sql(), " (",
                   QuotePostgresName(asked.key.empty() ? "key" : asked.key), " ", integer_key ? "bigint" : "text",
                   " PRIMARY KEY, ", QuotePostgresName(asked.vector), " ", vector.type, model, ")"));
  // Of two that make it at the same time one fails, IF NOT EXISTS or not.
  const std::string& code = target->connection->last_code();
  if (!made.ok() && code != "42P07" && code != "42710" && code != "23505") return made;
  ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(target));
  if (target->table.has_value()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(made);
  return absl::FailedPreconditionError(
      plan.Message("was made, but the search path does not find it; name its schema with &schema="));
}

}  // namespace reembed
