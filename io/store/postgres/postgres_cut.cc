// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_cut.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/even_cuts.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {
namespace {

constexpr int64_t kLeastPages = 4000;
constexpr int64_t kPagesPerShare = 200;

// Keys are of one type, so nothing before the first or behind the last of it is asked for.
absl::StatusOr<std::vector<Key>> CutIntegers(PostgresConnection* connection, const PostgresTable& table, int shares) {
  const std::string sql = absl::StrCat("SELECT ", table.KeySql(), "::text FROM ", table.Sql(), " WHERE ",
                                       table.KeySql(), " >= $1::bigint ORDER BY ", table.KeySql(), " LIMIT $2::bigint");
  const auto places = [&](absl::uint128 from, size_t most) -> absl::StatusOr<std::vector<absl::uint128>> {
    std::vector<absl::uint128> found;
    if (absl::Uint128High64(from) > 0) return found;
    const std::string first = absl::StrCat(IntegerAtPlace(from)), count = absl::StrCat(most);
    ABSL_RETURN_IF_ERROR(connection->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const PostgresRows rows,
                            connection->Query(sql, {PostgresValue::Text(first), PostgresValue::Text(count)}));
      found.clear();
      for (int row = 0; row < rows.size(); ++row) found.push_back(PlaceOfInteger(rows.Int(row, 0)));
      return absl::OkStatus();
    }));
    return found;
  };
  ABSL_ASSIGN_OR_RETURN(const std::vector<absl::uint128> cuts, CutEvenly(shares, places));
  std::vector<Key> keys;
  keys.reserve(cuts.size());
  for (const absl::uint128 place : cuts) keys.push_back(place == 0 ? int64_t{0} : IntegerAtPlace(place));
  return keys;
}

// SQL behind the table's name: a part of its pages; empty: all rows.
std::string SampleOf(PostgresConnection* connection, const PostgresTable& table, int shares) {
  if (!table.is_table || !table.rows_sql.empty()) return "";
  const absl::StatusOr<PostgresRows> size = connection->Query(
      "SELECT sum(pg_catalog.pg_relation_size(t.relid)) / pg_catalog.current_setting('block_size')::bigint FROM "
      "pg_catalog.pg_partition_tree($1::regclass) AS t",
      {PostgresValue::Text(table.Sql())});
  const int64_t pages = size.ok() && size->size() > 0 ? size->Int(0, 0) : 0;
  const int64_t wanted = std::max(kLeastPages, kPagesPerShare * shares);
  if (pages < 2 * wanted) return "";
  return absl::StrFormat(" TABLESAMPLE SYSTEM (%.6f)",
                         100.0 * static_cast<double>(wanted) / static_cast<double>(pages));
}

absl::StatusOr<std::vector<Key>> CutTexts(PostgresConnection* connection, const PostgresTable& table, int shares) {
  std::vector<Key> keys;
  const auto cut = [&](const std::string& sample) -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows rows,
        connection->Query(
            absl::StrCat("WITH sample AS (SELECT ", table.KeySql(), " AS key FROM ", table.Sql(), sample,
                         "), numbered AS (SELECT key, row_number() OVER (ORDER BY key) - 1 AS number, count(*) OVER () "
                         "AS of FROM sample WHERE key IS NOT NULL) SELECT key::text FROM generate_series(1, ",
                         shares - 1, ") AS i JOIN numbered ON number = of * i / ", shares, " ORDER BY i")));
    keys.clear();
    for (int row = 0; row < rows.size(); ++row) keys.push_back(rows.Text(row, 0));
    return absl::OkStatus();
  };
  ABSL_RETURN_IF_ERROR(connection->Persist([&]() -> absl::Status {
    const std::string sample = SampleOf(connection, table, shares);
    const absl::Status sampled = cut(sample);
    // A foreign table has no pages here, and a sample of few pages may have no rows.
    return sample.empty() || (sampled.ok() && !keys.empty()) ? sampled : cut("");
  }));
  if (keys.empty())
    keys.assign(static_cast<size_t>(shares) - 1, table.key_kind == PostgresTable::KeyKind::kUuid
                                                     ? Key("00000000-0000-0000-0000-000000000000")
                                                     : Key(""));
  return keys;
}

}  // namespace

absl::StatusOr<std::vector<Key>> CutPostgres(const Location& location, const Selection& selection, int shares) {
  ABSL_ASSIGN_OR_RETURN(PostgresLocation asked, ParsePostgresLocation(location));
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<PostgresConnection> connection,
      PostgresConnection::Open(asked.address,
                               {.read_only = true, .patience = selection.patience.value_or(absl::Minutes(2))}));
  ABSL_ASSIGN_OR_RETURN(const PostgresTable table, ResolvePostgresTable(connection.get(), asked));
  ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection.get(), table, "SELECT", table.key));
  if (shares == 1) return std::vector<Key>();
  if (table.key_kind == PostgresTable::KeyKind::kInteger) return CutIntegers(connection.get(), table, shares);
  return CutTexts(connection.get(), table, shares);
}

}  // namespace reembed
