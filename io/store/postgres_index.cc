#include "io/store/postgres_index.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

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
  std::string expression;  // what is indexed, with its operator class
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
    return absl::StrCat(what, " ", extension, ".", type, "_", asked.metric, "_ops");
  };
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(table.Message(absl::StrCat("index=", asked.index, ": ", why)));
  };
  switch (vector.form) {
    case PostgresForm::kVector:
      // An untyped column can only be indexed with the width said in an expression.
      if (dim <= kMaxVectorIndexDim) {
        plan.expression =
            vector.dim > 0 ? with_class(column, "vector")
                           : with_class(absl::StrCat("((", column, "::", extension, ".vector(", dim, ")))"), "vector");
        return plan;
      }
      [[fallthrough]];
    case PostgresForm::kHalfvec:
      if (dim > kMaxHalfvecIndexDim) {
        return refuse(absl::StrCat("pgvector indexes at most ", kMaxVectorIndexDim, " numbers of type vector and ",
                                   kMaxHalfvecIndexDim, " of type halfvec, and this model makes ", dim,
                                   "; ask the model for fewer with --dimensions, or store type=bit"));
      }
      plan.expression =
          vector.form == PostgresForm::kHalfvec && vector.dim > 0
              ? with_class(column, "halfvec")
              : with_class(absl::StrCat("((", column, "::", extension, ".halfvec(", dim, ")))"), "halfvec");
      return plan;
    case PostgresForm::kBit:
      if (dim > kMaxBitIndexDim) return refuse(absl::StrCat("at most ", kMaxBitIndexDim, " bits can be indexed"));
      plan.expression = absl::StrCat(column, " ", extension, ".bit_hamming_ops");
      return plan;
    case PostgresForm::kJson:
    case PostgresForm::kBytes:
      break;
  }
  return refuse(absl::StrCat("column `", vector.name, "` is of type ", vector.type,
                             "; pgvector indexes vector, halfvec and bit"));
}

std::string IndexName(const PostgresTable& table, absl::string_view name) {
  return absl::StrCat(QuotePostgresName(table.schema), ".", QuotePostgresName(name));
}

std::string DroppedTable(const PostgresTable& table) {
  return absl::StrCat(QuotePostgresName(table.schema), ".reembed_indexes");
}

// Runs `sql` unless the index is there and valid.
absl::Status EnsureIndex(const PostgresTarget& target, const std::string& name, const std::string& sql) {
  const PostgresTable& table = *target.table;
  const std::string index = IndexName(table, name);
  const absl::StatusOr<PostgresRows> there = target.connection->Query(
      "SELECT i.indisvalid, i.indrelid = $2::regclass FROM pg_catalog.pg_index i WHERE i.indexrelid = "
      "pg_catalog.to_regclass($1)",
      {PostgresValue::Text(index), PostgresValue::Text(table.Sql())});
  if (!there.ok()) return there.status();
  if (there->size() > 0 && !there->Bool(0, 1)) {
    return absl::FailedPreconditionError(
        table.Message(absl::StrCat("the name of the new index, `", name, "`, is taken by an index of another table")));
  }
  if (there->size() > 0 && there->Bool(0, 0)) return absl::OkStatus();
  if (there->size() > 0) {
    absl::Status dropped = target.connection->Run("DROP INDEX CONCURRENTLY " + index);
    if (!dropped.ok()) return dropped;
  }
  return target.connection->Run(sql);
}

absl::Status BuildAskedIndex(const PostgresTarget& target) {
  const PostgresTable& table = *target.table;
  const absl::StatusOr<IndexPlan> plan = PlanIndex(target, table, *target.vector);
  if (!plan.ok()) return plan.status();
  std::string lists;
  if (target.asked.index == "ivfflat") {
    const absl::StatusOr<PostgresRows> rows = target.connection->Query(absl::StrCat(
        "SELECT count(*) FROM ", table.Sql(), " WHERE ", QuotePostgresName(target.vector->name), " IS NOT NULL"));
    if (!rows.ok()) return rows.status();
    // pgvector's own advice: https://github.com/pgvector/pgvector, README, "IVFFlat".
    const int64_t count = rows->Int(0, 0);
    const int64_t number =
        count <= 1000000 ? count / 1000 : static_cast<int64_t>(std::sqrt(static_cast<double>(count)));
    lists = absl::StrCat(" WITH (lists = ", std::clamp<int64_t>(number, 10, 32768), ")");
  }
  return EnsureIndex(target, plan->name,
                     absl::StrCat("CREATE INDEX CONCURRENTLY ", QuotePostgresName(plan->name), " ON ", table.Sql(),
                                  " USING ", target.asked.index, " (", plan->expression, ")", lists));
}

}  // namespace

absl::Status CheckPostgresIndex(const PostgresTarget& target, const PostgresTable& table,
                                const PostgresVectorColumn& vector) {
  if (target.asked.index == "none") return absl::OkStatus();
  if (target.asked.index != "rebuild") return PlanIndex(target, table, vector).status();
  const std::string name = table.Sql();
  const absl::StatusOr<PostgresRows> odd = target.connection->Query(
      absl::StrCat("SELECT c.relname", kIndexesOfColumn, " AND (c.relkind = 'I' OR c.reltablespace <> 0)"),
      {PostgresValue::Text(name), PostgresValue::Text(vector.name)});
  if (!odd.ok()) return odd.status();
  if (odd->size() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(table.Message(
      absl::StrCat("index=rebuild: the index `", odd->Text(0, 0),
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
    indexes.push_back(IndexName(table, name));
    absl::StrAppend(&remember, "INSERT INTO ", dropped, " VALUES (", QuotePostgresText(table.Sql()), ", ",
                    QuotePostgresText(name), ", pg_catalog.pg_get_indexdef(", QuotePostgresText(indexes.back()),
                    "::regclass)) ON CONFLICT (table_name, index_name) DO UPDATE SET definition = "
                    "excluded.definition;");
  }
  // An empty search path makes definitions that mean the same whatever the path is later. Others must not queue behind
  // a lock that we only wait for.
  absl::Status status = target.connection->Run(absl::StrCat(
      "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL search_path = ''; CREATE TABLE IF NOT EXISTS ", dropped,
      " (table_name text, index_name text, definition text NOT NULL, PRIMARY KEY (table_name, "
      "index_name)); ",
      remember, " DROP INDEX ", absl::StrJoin(indexes, ", "), "; COMMIT"));
  if (!status.ok()) target.connection->Run("ROLLBACK").IgnoreError();  // the first failure is the one to tell
  return status;
}

absl::Status BuildDroppedPostgresIndexes(const PostgresTarget& target) {
  if (!target.table.has_value()) return absl::OkStatus();
  const PostgresTable& table = *target.table;
  const std::string dropped = DroppedTable(table);
  const absl::StatusOr<PostgresRows> remembered =
      target.connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL", {PostgresValue::Text(dropped)});
  if (!remembered.ok()) return remembered.status();
  if (!remembered->Bool(0, 0)) return absl::OkStatus();
  const std::string table_name = table.Sql();
  const absl::StatusOr<PostgresRows> indexes = target.connection->Query(
      absl::StrCat("SELECT index_name, definition FROM ", dropped, " WHERE table_name = $1 ORDER BY 1"),
      {PostgresValue::Text(table_name)});
  if (!indexes.ok()) return indexes.status();
  for (int row = 0; row < indexes->size(); ++row) {
    const std::string name = indexes->Text(row, 0), definition = indexes->Text(row, 1);
    absl::string_view rest = definition;
    if (!absl::ConsumePrefix(&rest, "CREATE INDEX ")) {
      return absl::DataLossError(table.Message(absl::StrCat("the definition of the index `", name, "` in ", dropped,
                                                            " is damaged; make the index, and remove that row")));
    }
    absl::Status made = EnsureIndex(target, name, absl::StrCat("CREATE INDEX CONCURRENTLY ", rest));
    if (!made.ok()) return made;
    made = target.connection
               ->Query(absl::StrCat("DELETE FROM ", dropped, " WHERE table_name = $1 AND index_name = $2"),
                       {PostgresValue::Text(table_name), PostgresValue::Text(name)})
               .status();
    if (!made.ok()) return made;
  }
  // Nobody may add to it between the look and the drop.
  return target.connection->Run(absl::StrCat("DO $$ BEGIN LOCK TABLE ", dropped,
                                             " IN ACCESS EXCLUSIVE MODE; IF NOT EXISTS (SELECT 1 FROM ", dropped,
                                             ") THEN DROP TABLE ", dropped, "; END IF; END $$"));
}

absl::Status BuildPostgresIndexes(const PostgresTarget& target) {
  if (!target.table.has_value()) return absl::OkStatus();
  if (target.asked.index == "hnsw" || target.asked.index == "ivfflat") {
    if (absl::Status built = BuildAskedIndex(target); !built.ok()) return built;
  }
  return BuildDroppedPostgresIndexes(target);
}

absl::StatusOr<std::vector<std::string>> PostgresVectorIndexes(const PostgresTarget& target) {
  std::vector<std::string> names;
  if (!target.table.has_value()) return names;
  const std::string table = target.table->Sql();
  const absl::StatusOr<PostgresRows> indexes =
      target.connection->Query(absl::StrCat("SELECT c.relname", kIndexesOfColumn, " ORDER BY 1"),
                               {PostgresValue::Text(table), PostgresValue::Text(target.vector->name)});
  if (!indexes.ok()) return indexes.status();
  for (int row = 0; row < indexes->size(); ++row) names.push_back(indexes->Text(row, 0));
  return names;
}

}  // namespace reembed
