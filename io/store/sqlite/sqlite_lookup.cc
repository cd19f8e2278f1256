// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_lookup.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_table.h"
#include "io/store/vector_column_name.h"

namespace reembed {

absl::StatusOr<bool> DatabaseHasTable(const Location& database, const std::string& table) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db, OpenSqlDb(database, SqliteAccess::kReadOnly));
  return HasSqliteTable(*db, table);
}

absl::StatusOr<std::vector<VectorColumnName>> SqliteVectorColumns(const Location& database) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db, OpenSqlDb(database, SqliteAccess::kReadOnly));
  ABSL_ASSIGN_OR_RETURN(SqliteStatement list, db->Prepare("SELECT t.name, c.name FROM pragma_table_list AS t, "
                                                          "pragma_table_info(t.name) AS c WHERE t.schema = 'main' AND "
                                                          "t.type = 'table' AND t.name NOT LIKE 'sqlite!_%' ESCAPE '!' "
                                                          "AND t.name NOT LIKE 'reembed!_%' ESCAPE '!' ORDER "
                                                          "BY t.name, c.cid"));
  std::vector<VectorColumnName> found;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) return found;
    if (IsCalledVector(list.Text(1))) found.push_back({std::string(list.Text(0)), std::string(list.Text(1))});
  }
}

absl::Status CheckSqliteValueExists(const Location& database, const std::string& table,
                                    const std::vector<std::string>& columns, const std::string& value) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqlDb> db, OpenSqlDb(database, SqliteAccess::kReadOnly));
  const std::string names =
      absl::StrJoin(columns, ", ", [](std::string* out, const std::string& name) { out->append(QuoteName(name)); });
  ABSL_ASSIGN_OR_RETURN(SqliteStatement find, db->Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(table),
                                                                       " WHERE ?1 IN (", names, ") LIMIT 1")));
  find.BindText(1, value);
  ABSL_ASSIGN_OR_RETURN(const bool found, find.Step());
  if (found) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(SqliteStatement list, db->Prepare(absl::StrCat("SELECT DISTINCT ", names, " FROM ",
                                                                       QuoteName(table), " LIMIT 1000")));
  std::vector<std::string> values;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) break;
    for (int i = 0; i < static_cast<int>(columns.size()); ++i) values.emplace_back(list.Text(i));
  }
  const std::string near = NearestName(value, values);
  return absl::NotFoundError(absl::StrCat(db->path(), ": table `", table, "`: nobody has `", value, "` as ",
                                          absl::StrJoin(columns, " or "),
                                          near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?")));
}

}  // namespace reembed
