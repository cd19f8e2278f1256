// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_scratch.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr const char* kOfRows[] = {"table", "key",        "text",   "template", "model_column", "where",  "needed",
                                   "mode",  "new_column", "origin", "fields",   "schema_file",  "vector", "dim"};

absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const Location& place) {
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(place));
  return PostgresConnection::Open(asked.address, {.patience = kPatience});
}

std::string TableSql(const Location& scratch) {
  const std::string schema = scratch.Get("schema");
  return absl::StrCat(schema.empty() ? "" : absl::StrCat(QuotePostgresName(schema), "."),
                      QuotePostgresName(scratch.Get("table")));
}

// The column that a target fills, as it is, and the indexes of pgvector over it: they grow with every row, so a measure
// without them would be one of something else.
struct ColumnLike {
  std::string type;                  // what type= says of it; empty: there is none yet
  std::string sql_type;              // without its width
  std::vector<std::string> indexes;  // "USING hnsw (...) ...", as SQL has it
};

absl::StatusOr<ColumnLike> LookUp(const Location& target) {
  ColumnLike like;
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation asked, ParsePostgresLocation(target));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(target));
  const absl::StatusOr<PostgresTable> table = ResolvePostgresTable(connection.get(), asked);
  // One that is not there yet, or has no key: nothing is known of it, and nothing is wrong.
  if (!table.ok()) return absl::IsUnavailable(table.status()) ? table.status() : absl::StatusOr<ColumnLike>(like);
  const PostgresTable::Column* const column = table->Find(asked.vector);
  if (column == nullptr) return like;
  like.type = "json";
  for (const char* const same : {"vector", "halfvec", "bit", "bytea"}) {
    if (column->base_type == same) like.type = same;
  }
  like.sql_type = like.type == "vector" || like.type == "halfvec"
                      ? absl::StrCat(QuotePostgresName(table->extension_schema), ".", like.type)
                      : like.type;
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows found,
      connection->Query("SELECT pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i JOIN "
                        "pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = c.relam "
                        "WHERE i.indrelid = $1::regclass AND a.amname IN ('hnsw', 'ivfflat') AND i.indpred IS NULL "
                        "AND i.indkey[0] = (SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = i.indrelid "
                        "AND attname = $2) ORDER BY 1",
                        {PostgresValue::Text(table->Sql()), PostgresValue::Text(column->name)}));
  for (int row = 0; row < found.size(); ++row) {
    const std::string sql = found.Text(row, 0);
    if (const size_t at = sql.find(" USING "); at != std::string::npos) like.indexes.push_back(sql.substr(at + 1));
  }
  return like;
}

absl::StatusOr<Location> TableLike(const Location& target, absl::string_view name) {
  Location scratch = target;
  for (const char* const of_rows : kOfRows) scratch.parameters.erase(of_rows);
  std::erase_if(scratch.parameters, [](const auto& named) { return absl::StartsWith(named.first, "set."); });
  if (scratch.Get("index") == "rebuild") scratch.parameters.erase("index");
  if (scratch.Get("type").empty() && scratch.Get("encoding").empty()) {
    ABSL_ASSIGN_OR_RETURN(const ColumnLike like, LookUp(target));
    if (!like.type.empty()) scratch.parameters["type"] = like.type;
  }
  if (!target.Get("dim").empty()) scratch.parameters["dim"] = target.Get("dim");
  scratch.parameters["table"] = std::string(name);
  scratch.parameters["key"] = "id";
  scratch.parameters["text"] = "text";
  // Its own name, by which its indexes are made again.
  scratch.parameters["vector"] = target.Get("vector", "embedding");
  const std::string mode = target.Get("mode");
  if (mode == "upsert" || mode == "insert") scratch.parameters["mode"] = "upsert";
  return scratch;
}

absl::Status MakeTable(const Location& scratch, const Location& target, int dim, int64_t rows) {
  ABSL_ASSIGN_OR_RETURN(const ColumnLike like, LookUp(target));
  ABSL_ASSIGN_OR_RETURN(const int held, OutputDim(scratch, dim));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(scratch));
  const std::string table = TableSql(scratch);
  // One transaction: all of it, or nothing. A row that its sink adds is not there before.
  std::string sql = absl::StrCat("CREATE TABLE ", table, " (id bigint PRIMARY KEY, text text NOT NULL DEFAULT '')");
  if (scratch.Get("mode") != "upsert" && rows > 0) {
    absl::StrAppend(&sql, "; INSERT INTO ", table, " SELECT i, ", QuotePostgresText(kScratchText),
                    " FROM pg_catalog.generate_series(0, ", rows - 1, ") AS i");
  }
  // An index that is asked for is one that the sink makes at the end.
  if (!like.indexes.empty() && like.type == scratch.Get("type") && scratch.Get("index").empty()) {
    absl::StrAppend(&sql, "; ALTER TABLE ", table, " ADD COLUMN ", QuotePostgresName(scratch.Get("vector")), " ",
                    like.sql_type, "(", held, ")");
    for (const std::string& index : like.indexes) absl::StrAppend(&sql, "; CREATE INDEX ON ", table, " ", index);
  }
  absl::Status made = connection->Run(sql);
  if (connection->last_code() != "42P07") return made;
  return absl::AlreadyExistsError(
      absl::StrCat(connection->name(), ": a table `", scratch.Get("table"), "` is there already"));
}

absl::Status RemoveTable(const Location& scratch) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(scratch));
  return connection->Run(absl::StrCat("DROP TABLE IF EXISTS ", TableSql(scratch)));
}

}  // namespace

constinit const ScratchWays kPostgresScratch = {.place = TableLike, .make = MakeTable, .remove = RemoveTable};

}  // namespace reembed
