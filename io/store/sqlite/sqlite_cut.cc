// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_cut.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/even_cuts.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_scan.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);
// Stretches of even numbers of rows, and rows that are looked at in each, where keys have an order of their own.
constexpr int kStretches = 64;
constexpr int kLeastRowsOfStretch = 32;
// Of a table with fewer rows all are taken.
constexpr size_t kFewRows = 4096;

// A name under which the rowid goes; empty: there is none.
std::string RowidName(const SqliteTable& table) {
  if (!table.has_rowid) return "";
  for (const char* const name : {"rowid", "_rowid_", "oid"}) {
    const bool taken = std::any_of(table.columns.begin(), table.columns.end(), [&](const SqliteTable::Column& column) {
      return absl::EqualsIgnoreCase(column.name, name);
    });
    if (!taken) return name;
  }
  return "";
}

// The keys are the rowids.
bool IsRowid(const SqliteTable& table) { return table.has_rowid && table.key_index.empty(); }

// Of rowids. `statement`: ?1 the first, ?2 how many.
absl::StatusOr<std::vector<absl::uint128>> RowidsFrom(SqliteStatement* statement, absl::uint128 from, size_t most) {
  std::vector<absl::uint128> places;
  if (absl::Uint128High64(from) > 0) return places;
  statement->Bind(1, IntegerAtPlace(from));
  statement->Bind(2, static_cast<int64_t>(most));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, statement->Step());
    if (!row) return places;
    places.push_back(PlaceOfInteger(statement->Int(0)));
  }
}

// Rows that lie evenly among all of the table.
absl::StatusOr<std::vector<int64_t>> SampleRowids(SqliteStatement* statement, int rows_of_stretch) {
  const auto from = [&](absl::uint128 at, size_t most) { return RowidsFrom(statement, at, most); };
  ABSL_ASSIGN_OR_RETURN(const std::vector<absl::uint128> first, from(0, kFewRows));
  std::vector<int64_t> rowids;
  if (first.size() < kFewRows) {
    for (const absl::uint128 place : first) rowids.push_back(IntegerAtPlace(place));
    return rowids;
  }
  ABSL_ASSIGN_OR_RETURN(std::vector<absl::uint128> cuts, CutEvenly(kStretches, from));
  cuts.insert(cuts.begin(), first.front());
  for (size_t i = 0; i < cuts.size(); ++i) {
    // The last stretch is taken to be as long as the one before.
    const absl::uint128 length = i + 1 < cuts.size() ? cuts[i + 1] - cuts[i] : i > 0 ? cuts[i] - cuts[i - 1] : 1;
    for (int k = 0; k < rows_of_stretch; ++k) {
      const absl::uint128 place = cuts[i] + length * static_cast<absl::uint128>(k) / rows_of_stretch;
      ABSL_ASSIGN_OR_RETURN(const std::vector<absl::uint128> row, from(place, 1));
      if (!row.empty()) rowids.push_back(IntegerAtPlace(row.front()));
    }
  }
  std::sort(rowids.begin(), rowids.end());
  rowids.erase(std::unique(rowids.begin(), rowids.end()), rowids.end());
  return rowids;
}

// The plan is a text, which other bytes would not go into.
bool CanBeWritten(KeyView key) {
  const auto* const text = std::get_if<absl::string_view>(&key);
  return text == nullptr || IsValidUtf8(*text);
}

// Their keys in the order of the store, which knows it alone.
absl::StatusOr<std::vector<Key>> CutByKeys(const SqlDb& db, const SqliteTable& table, const std::string& rowid,
                                           absl::Span<const int64_t> rowids, int shares) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement statement,
                        db.Prepare(absl::StrCat("SELECT ", QuoteName(table.key), " FROM ", QuoteName(table.name),
                                                " WHERE ", rowid, " IN (", absl::StrJoin(rowids, ","), ") AND ",
                                                QuoteName(table.key), " IS NOT NULL ORDER BY ", table.KeySql())));
  ThinnedKeys keys(std::max(shares, static_cast<int>(rowids.size() / 256) + 1));
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) break;
    const SqliteValue key = statement.Value(0);
    if (key.type == SqliteType::kInteger) keys.Add(key.integer);
    if (key.type == SqliteType::kText && CanBeWritten(key.bytes)) keys.Add(key.bytes);
  }
  if (keys.empty()) return std::vector<Key>(static_cast<size_t>(shares) - 1, Key(int64_t{0}));
  return keys.Cut(shares);
}

absl::StatusOr<std::vector<Key>> CutByWalk(const SqlDb& db, const SqliteTable& table, int shares) {
  SqliteScan scan(&db, table, "");
  ThinnedKeys keys(shares);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, scan.Next());
    if (!row) break;
    if (CanBeWritten(scan.key())) keys.Add(scan.key());
  }
  if (keys.empty()) return std::vector<Key>(static_cast<size_t>(shares) - 1, Key(int64_t{0}));
  return keys.Cut(shares);
}

}  // namespace

absl::StatusOr<std::vector<Key>> CutSqlite(const Location& location, const Selection& selection, int shares) {
  ABSL_ASSIGN_OR_RETURN(const SqliteLocation asked, ParseSqliteLocation(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db,
                        OpenSqlDb(asked.place, SqliteAccess::kReadOnly, selection.patience.value_or(kPatience)));
  ABSL_ASSIGN_OR_RETURN(const SqliteTable table, ResolveSqliteTable(*db, asked));
  if (table.kind != SqliteTable::Kind::kTable) {
    return absl::FailedPreconditionError(absl::StrCat(
        table.path, ": `", table.name, "` is a ", table.kind == SqliteTable::Kind::kView ? "view" : "virtual table",
        ", in which no share of the rows can be sought; name the table behind it, with &where= for a part "
        "of its rows, or run the job whole"));
  }
  const std::string rowid = RowidName(table);
  if (rowid.empty()) return CutByWalk(*db, table, shares);
  const std::string name = IsRowid(table) ? QuoteName(table.key) : rowid;
  ABSL_ASSIGN_OR_RETURN(SqliteStatement statement,
                        db->Prepare(absl::StrCat("SELECT ", name, " FROM ", QuoteName(table.name), " WHERE ", name,
                                                 " >= ?1 ORDER BY ", name, " LIMIT ?2")));
  if (IsRowid(table)) {
    ABSL_ASSIGN_OR_RETURN(
        const std::vector<absl::uint128> places,
        CutEvenly(shares, [&](absl::uint128 from, size_t most) { return RowidsFrom(&statement, from, most); }));
    std::vector<Key> cuts;
    cuts.reserve(places.size());
    for (const absl::uint128 place : places) cuts.push_back(IntegerAtPlace(place));
    return cuts;
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> rowids,
                        SampleRowids(&statement, std::max(kLeastRowsOfStretch, shares)));
  return CutByKeys(*db, table, rowid, rowids, shares);
}

}  // namespace reembed
