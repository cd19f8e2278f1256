// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_index.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/setting.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// pgvector's limits: https://github.com/pgvector/pgvector, README, "HNSW".
constexpr int kMaxVectorIndexDim = 2000;
constexpr int kMaxHalfvecIndexDim = 4000;
constexpr int kMaxBitIndexDim = 64000;
constexpr size_t kMaxNameBytes = 63;  // NAMEDATALEN - 1: the server cuts longer names

// Of table $1 over the column $2, named or in an expression.
constexpr char kIndexesOfColumn[] =
    " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = "
    "c.relam WHERE i.indrelid = $1::regclass AND m.amname IN ('hnsw', 'ivfflat') AND EXISTS (SELECT 1 FROM "
    "pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
    "WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND "
    "a.attname = $2)";

struct IndexPlan {
  std::string name;
  std::string operator_class;  // of pgvector
  std::string expression;      // what is indexed, with its operator class
};

// A table that the index is built on: the one that was asked for, or a partition of it.
struct IndexedTable {
  std::string schema, name, parent;  // of a partition: the oid of what it belongs to
  std::string oid;
  bool is_partitioned = false, is_foreign = false;
  std::string Sql() const { return absl::StrCat(QuotePostgresName(schema), ".", QuotePostgresName(name)); }
};

absl::StatusOr<IndexPlan> PlanIndex(const PostgresTarget& target, const PostgresTable& table,
                                    const PostgresVectorColumn& vector) {
  const PostgresLocation& asked = target.asked;
  const int dim = target.model.dim;
  const std::string extension = QuotePostgresName(table.extension_schema);
  const std::string column = QuotePostgresName(vector.name);
  IndexPlan plan;
  plan.name =
      absl::StrCat(table.name, "_", asked.new_column.empty() ? asked.vector : asked.new_column, "_", asked.index);
  plan.name.resize(std::min(plan.name.size(), kMaxNameBytes));
  const auto with_class = [&](absl::string_view what, absl::string_view type) {
    plan.operator_class = absl::StrCat(type, "_", asked.metric, "_ops");
    return absl::StrCat(what, " ", extension, ".", plan.operator_class);
  };
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(table.Message(absl::StrCat("index=", asked.index, ": ", why)));
  };
  // Without one, and as a domain, which is printed without it, a column is indexed with the width in an expression.
  const bool has_width = vector.dim > 0 && absl::EndsWith(vector.type, ")");
  switch (vector.form) {
    case PostgresForm::kVector:
      if (dim <= kMaxVectorIndexDim) {
        plan.expression =
            has_width ? with_class(column, "vector")
                      : with_class(absl::StrCat("((", column, "::", extension, ".vector(", dim, ")))"), "vector");
        return plan;
      }
      [[fallthrough]];
    case PostgresForm::kHalfvec:
      if (dim > kMaxHalfvecIndexDim) {
        return WithSetting(
            refuse(absl::StrCat("pgvector indexes at most ", kMaxVectorIndexDim, " numbers of type vector and ",
                                kMaxHalfvecIndexDim, " of type halfvec, and this model makes ", dim,
                                "; ask the model for fewer dimensions, or store type=bit")),
            Setting::kDimensions);
      }
      plan.expression =
          vector.form == PostgresForm::kHalfvec && has_width
              ? with_class(column, "halfvec")
              : with_class(absl::StrCat("((", column, "::", extension, ".halfvec(", dim, ")))"), "halfvec");
      return plan;
    case PostgresForm::kBit:
      if (dim > kMaxBitIndexDim) return refuse(absl::StrCat("at most ", kMaxBitIndexDim, " bits can be indexed"));
      plan.operator_class = "bit_hamming_ops";
      plan.expression = absl::StrCat(has_width ? column : absl::StrCat("((", column, "::bit(", dim, ")))"), " ",
                                     extension, ".", plan.operator_class);
      return plan;
    case PostgresForm::kJson:
    case PostgresForm::kBytes:
      break;
  }
  return refuse(absl::StrCat("column `", vector.name, "` is of type ", vector.type,
                             "; pgvector indexes vector, halfvec and bit"));
}

std::string IndexName(absl::string_view schema, absl::string_view name) {
  return absl::StrCat(QuotePostgresName(schema), ".", QuotePostgresName(name));
}

// The table, and what is beneath it where it is partitioned; parents come before their partitions.
absl::StatusOr<std::vector<IndexedTable>> FindIndexedTables(const PostgresTarget& target, const PostgresTable& table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows rows,
      target.connection->Query(
          "SELECT n.nspname, c.relname, coalesce(p.parentrelid::oid::text, ''), c.oid, c.relkind = 'p', c.relkind = "
          "'f' "
          "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN "
          "pg_catalog.pg_partition_tree($1::regclass) p ON p.relid = c.oid WHERE c.oid = $1::regclass OR p.relid IS "
          "NOT "
          "NULL ORDER BY p.level, 2",
          {PostgresValue::Text(table.Sql())}));
  std::vector<IndexedTable> tables;
  tables.reserve(rows.size());
  for (int row = 0; row < rows.size(); ++row) {
    tables.push_back({.schema = rows.Text(row, 0),
                      .name = rows.Text(row, 1),
                      .parent = row == 0 ? "" : rows.Text(row, 2),
                      .oid = rows.Text(row, 3),
                      .is_partitioned = rows.Bool(row, 4),
                      .is_foreign = rows.Bool(row, 5)});
  }
  return tables;
}

// The name of the index on a partition. Cut names of two partitions must not be the same.
std::string PartitionIndexName(const IndexedTable& partition, const PostgresTarget& target) {
  const std::string& column = target.asked.new_column.empty() ? target.asked.vector : target.asked.new_column;
  std::string name = absl::StrCat(partition.name, "_", column, "_", target.asked.index);
  if (name.size() <= kMaxNameBytes) return name;
  const std::string number = absl::StrCat("_", partition.oid, "_", target.asked.index);
  name.resize(kMaxNameBytes - number.size());
  return name + number;
}

std::string DroppedTable(const PostgresTable& table) {
  return absl::StrCat(QuotePostgresName(table.schema), ".reembed_indexes");
}

// CREATE INDEX CONCURRENTLY and its like, on a connection of its own that knows no limit made for web requests.
absl::Status RunDirect(const PostgresTarget& target, const std::string& sql, absl::string_view settings = "") {
  const absl::StatusOr<std::unique_ptr<PostgresConnection>> direct = PostgresConnection::Open(
      target.connection->address(),
      {.startup = absl::StrCat("-c statement_timeout=0", settings), .patience = absl::ZeroDuration()});
  return direct.ok() ? (*direct)->RunAlone(sql) : direct.status();
}

// What has the name of an index that is to be made: kFree and kValid are fine.
enum class IndexState { kFree, kValid, kInvalid };
absl::StatusOr<IndexState> FindIndex(const PostgresTarget& target, const std::string& schema,
                                     const std::string& table_sql, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows there,
      target.connection->Query("SELECT i.indrelid = $2::regclass, i.indisvalid FROM pg_catalog.pg_class c LEFT JOIN "
                               "pg_catalog.pg_index i ON "
                               "i.indexrelid = c.oid WHERE c.oid = pg_catalog.to_regclass($1)",
                               {PostgresValue::Text(IndexName(schema, name)), PostgresValue::Text(table_sql)}));
  if (there.size() == 0) return IndexState::kFree;
  if (!there.Bool(0, 0)) {
    return absl::FailedPreconditionError(absl::StrCat(target.connection->name(), ": the name of the new index, `", name,
                                                      "`, is taken by something else; rename that"));
  }
  return there.Bool(0, 1) ? IndexState::kValid : IndexState::kInvalid;
}

// Runs `sql` unless the index is there and valid.
absl::Status EnsureIndex(const PostgresTarget& target, const std::string& schema, const std::string& table_sql,
                         const std::string& name, const std::string& sql) {
  const std::string drop = "DROP INDEX CONCURRENTLY IF EXISTS " + IndexName(schema, name);
  const absl::StatusOr<IndexState> state = FindIndex(target, schema, table_sql, name);
  if (!state.ok() || *state == IndexState::kValid) return state.status();
  if (*state == IndexState::kInvalid) {
    ABSL_RETURN_IF_ERROR(RunDirect(target, drop));
  }
  absl::Status built = RunDirect(target, sql);
  if (!absl::IsResourceExhausted(built)) return built;
  // Several workers want all of maintenance_work_mem as shared memory, of which a container has 64 MB. One does not.
  if (absl::Status dropped = RunDirect(target, drop); !dropped.ok()) return built;
  return RunDirect(target, sql, " -c max_parallel_maintenance_workers=0");
}

// The index of a partitioned table is made without its partitions, and is invalid until it has one of each.
absl::Status EnsureParentIndex(const PostgresTarget& target, const IndexedTable& table, const std::string& name,
                               const std::string& what) {
  const absl::StatusOr<IndexState> state = FindIndex(target, table.schema, table.Sql(), name);
  if (!state.ok() || *state != IndexState::kFree) return state.status();
  return target.connection->Run(absl::StrCat("SET LOCAL lock_timeout = '5s'; CREATE INDEX ", QuotePostgresName(name),
                                             " ON ONLY ", table.Sql(), what));
}

absl::StatusOr<std::string> ListsSql(const PostgresTarget& target, const IndexedTable& table) {
  if (target.asked.index != "ivfflat") return std::string();
  ABSL_ASSIGN_OR_RETURN(const PostgresRows rows,
                        target.connection->Query(absl::StrCat("SELECT count(*) FROM ", table.Sql(), " WHERE ",
                                                              QuotePostgresName(target.vector->name), " IS NOT NULL")));
  // pgvector's own advice: https://github.com/pgvector/pgvector, README, "IVFFlat".
  const int64_t count = rows.Int(0, 0);
  const int64_t number = count <= 1000000 ? count / 1000 : static_cast<int64_t>(std::sqrt(static_cast<double>(count)));
  return absl::StrCat(" WITH (lists = ", std::clamp<int64_t>(number, 10, 32768), ")");
}

// On a partitioned table nothing can be built CONCURRENTLY: each partition gets its own, and they are put together.
// https://www.postgresql.org/docs/15/sql-createindex.html
absl::Status BuildAskedIndex(const PostgresTarget& target) {
  const PostgresTable& table = *target.table;
  ABSL_ASSIGN_OR_RETURN(const IndexPlan plan, PlanIndex(target, table, *target.vector));
  ABSL_ASSIGN_OR_RETURN(const std::vector<IndexedTable> tables, FindIndexedTables(target, table));
  std::map<std::string, std::string> made;  // oid of a table -> its index, as SQL names it
  for (const IndexedTable& each : tables) {
    const std::string name = each.parent.empty() ? plan.name : PartitionIndexName(each, target);
    ABSL_ASSIGN_OR_RETURN(const std::string lists, ListsSql(target, each));
    const std::string what = absl::StrCat(" USING ", target.asked.index, " (", plan.expression, ")", lists);
    ABSL_RETURN_IF_ERROR(each.is_partitioned
                             ? EnsureParentIndex(target, each, name, what)
                             : EnsureIndex(target, each.schema, each.Sql(), name,
                                           absl::StrCat("CREATE INDEX CONCURRENTLY ", QuotePostgresName(name), " ON ",
                                                        each.Sql(), what)));
    made[each.oid] = IndexName(each.schema, name);
  }
  // From below, so that each parent is valid when it is put into its own. What is in it already may be so again.
  for (auto each = tables.rbegin(); each != tables.rend(); ++each) {
    if (each->parent.empty()) continue;
    ABSL_RETURN_IF_ERROR(target.connection->Run(absl::StrCat(
        "SET LOCAL lock_timeout = '5s'; ALTER INDEX ", made[each->parent], " ATTACH PARTITION ", made[each->oid])));
  }
  return absl::OkStatus();
}

// What is known of the index before it is built, and before anything is bought.
absl::Status CheckAskedIndex(const PostgresTarget& target, const PostgresTable& table, const IndexPlan& plan) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows kind,
      target.connection->Query("SELECT 1 FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod "
                               "WHERE m.amname = $1 AND "
                               "o.opcname = $2",
                               {PostgresValue::Text(target.asked.index), PostgresValue::Text(plan.operator_class)}));
  if (kind.size() == 0) {
    return absl::FailedPreconditionError(table.Message(
        absl::StrCat("index=", target.asked.index, ": the pgvector of this database has no ", plan.operator_class,
                     " for it; run ALTER EXTENSION vector UPDATE, or install a newer one")));
  }
  if (table.columns.empty()) return absl::OkStatus();  // still to be made
  ABSL_ASSIGN_OR_RETURN(const std::vector<IndexedTable> tables, FindIndexedTables(target, table));
  for (const IndexedTable& each : tables) {
    if (each.is_foreign) {
      return absl::FailedPreconditionError(table.Message(absl::StrCat(
          "index=", target.asked.index, ": ", each.Sql(),
          " is a foreign table, which has no index here; make it where the rows are, and leave index= out")));
    }
    const std::string name = each.parent.empty() ? plan.name : PartitionIndexName(each, target);
    ABSL_RETURN_IF_ERROR(FindIndex(target, each.schema, each.Sql(), name).status());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPostgresIndex(const PostgresTarget& target, const PostgresTable& table,
                                const PostgresVectorColumn& vector) {
  if (target.asked.index == "none") return absl::OkStatus();
  if (target.asked.index != "rebuild") {
    const absl::StatusOr<IndexPlan> plan = PlanIndex(target, table, vector);
    return plan.ok() ? CheckAskedIndex(target, table, *plan) : plan.status();
  }
  const std::string name = table.Sql();
  ABSL_ASSIGN_OR_RETURN(const PostgresRows odd,
                        target.connection->Query(absl::StrCat("SELECT c.relname", kIndexesOfColumn,
                                                              " AND (c.relkind = 'I' OR c.reltablespace <> 0)"),
                                                 {PostgresValue::Text(name), PostgresValue::Text(vector.name)}));
  if (odd.size() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(table.Message(
      absl::StrCat("index=rebuild: the index `", odd.Text(0, 0),
                   "` is that of a partitioned table, or in a tablespace of its own; drop it before and make it again "
                   "after, or leave index=rebuild out")));
}

absl::Status DropPostgresIndexes(const PostgresTarget& target) {
  const PostgresTable& table = *target.table;
  const absl::StatusOr<std::vector<std::string>> names = PostgresVectorIndexes(target);
  if (!names.ok() || names->empty()) return names.status();
  const std::string dropped = DroppedTable(table);
  std::vector<std::string> indexes;
  std::string remember;
  for (const std::string& name : *names) {
    indexes.push_back(IndexName(table.schema, name));
    absl::StrAppend(&remember, "INSERT INTO ", dropped, " VALUES (", QuotePostgresText(table.Sql()), ", ",
                    QuotePostgresText(name), ", pg_catalog.pg_get_indexdef(", QuotePostgresText(indexes.back()),
                    "::regclass)) ON CONFLICT (table_name, index_name) DO UPDATE SET definition = "
                    "excluded.definition;");
  }
  // An empty search path makes definitions that mean the same whatever the path is later. Others must not queue behind
  // a lock that we only wait for.
  return target.connection->Run(
      absl::StrCat("SET LOCAL lock_timeout = '5s'; SET LOCAL search_path = ''; CREATE TABLE IF NOT EXISTS ", dropped,
                   " (table_name text, index_name text, definition text NOT NULL, PRIMARY KEY (table_name, "
                   "index_name)); ",
                   remember, " DROP INDEX ", absl::StrJoin(indexes, ", ")));
}

absl::Status BuildDroppedPostgresIndexes(const PostgresTarget& target) {
  if (!target.table.has_value()) return absl::OkStatus();
  const PostgresTable& table = *target.table;
  const std::string dropped = DroppedTable(table);
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows remembered,
      target.connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL", {PostgresValue::Text(dropped)}));
  if (!remembered.Bool(0, 0)) return absl::OkStatus();
  const std::string table_name = table.Sql();
  ABSL_ASSIGN_OR_RETURN(const PostgresRows indexes,
                        target.connection->Query(absl::StrCat("SELECT index_name, definition FROM ", dropped,
                                                              " WHERE table_name = $1 ORDER BY 1"),
                                                 {PostgresValue::Text(table_name)}));
  for (int row = 0; row < indexes.size(); ++row) {
    const std::string name = indexes.Text(row, 0), definition = indexes.Text(row, 1);
    absl::string_view rest = definition;
    if (!absl::ConsumePrefix(&rest, "CREATE INDEX ")) {
      return absl::DataLossError(table.Message(absl::StrCat("the definition of the index `", name, "` in ", dropped,
                                                            " is damaged; make the index, and remove that row")));
    }
    absl::Status made =
        EnsureIndex(target, table.schema, table.Sql(), name, absl::StrCat("CREATE INDEX CONCURRENTLY ", rest));
    ABSL_RETURN_IF_ERROR(made);
    made = target.connection
               ->Query(absl::StrCat("DELETE FROM ", dropped, " WHERE table_name = $1 AND index_name = $2"),
                       {PostgresValue::Text(table_name), PostgresValue::Text(name)})
               .status();
    ABSL_RETURN_IF_ERROR(made);
  }
  // Nobody may add to it between the look and the drop.
  return target.connection->Run(absl::StrCat("DO $$ BEGIN LOCK TABLE ", dropped,
                                             " IN ACCESS EXCLUSIVE MODE; IF NOT EXISTS (SELECT 1 FROM ", dropped,
                                             ") THEN DROP TABLE ", dropped, "; END IF; END $$"));
}

absl::Status BuildPostgresIndexes(const PostgresTarget& target) {
  if (!target.table.has_value()) return absl::OkStatus();
  if (target.asked.index == "hnsw" || target.asked.index == "ivfflat") {
    ABSL_RETURN_IF_ERROR(BuildAskedIndex(target));
  }
  return BuildDroppedPostgresIndexes(target);
}

absl::StatusOr<std::vector<std::string>> PostgresVectorIndexes(const PostgresTarget& target) {
  std::vector<std::string> names;
  if (!target.table.has_value()) return names;
  const std::string table = target.table->Sql();
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows indexes,
      target.connection->Query(absl::StrCat("SELECT c.relname", kIndexesOfColumn, " ORDER BY 1"),
                               {PostgresValue::Text(table), PostgresValue::Text(target.vector->name)}));
  for (int row = 0; row < indexes.size(); ++row) names.push_back(indexes.Text(row, 0));
  return names;
}

}  // namespace reembed
