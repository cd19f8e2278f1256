// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_new_column.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr absl::string_view kMark = "made by reembed as ";

std::string OldName(const PostgresLocation& asked) { return asked.vector + "_old"; }

}  // namespace

std::string PostgresNewColumnMark(const PostgresLocation& asked) { return absl::StrCat(kMark, asked.new_column); }

std::string PostgresNewColumnOfMark(absl::string_view comment) {
  return absl::ConsumePrefix(&comment, kMark) ? std::string(comment) : "";
}

bool IsPostgresSwapped(const PostgresTable& table, const PostgresLocation& asked) {
  const PostgresTable::Column* vector = table.Find(asked.vector);
  return !asked.new_column.empty() && table.Find(asked.new_column) == nullptr && vector != nullptr &&
         vector->comment == PostgresNewColumnMark(asked);
}

absl::StatusOr<std::string> PostgresColumnToFill(const PostgresTable& table, const PostgresLocation& asked) {
  if (asked.new_column.empty() || IsPostgresSwapped(table, asked)) return asked.vector;
  const PostgresTable::Column* made = table.Find(asked.new_column);
  if (made != nullptr && made->comment != PostgresNewColumnMark(asked)) {
    return absl::FailedPreconditionError(table.Message(absl::StrCat("new_column=", asked.new_column,
                                                                    ": there is a column of that name that reembed did "
                                                                    "not make; choose another name")));
  }
  if (table.Find(asked.vector) != nullptr && table.Find(OldName(asked)) != nullptr) {
    return absl::FailedPreconditionError(table.Message(absl::StrCat(
        "the old column would be renamed to `", OldName(asked), "`, which is there already; ALTER TABLE ", table.Sql(),
        " DROP COLUMN ", QuotePostgresName(OldName(asked)), " if it is not needed any more")));
  }
  return asked.new_column;
}

std::string PostgresSwapSql(const PostgresTable& table, const PostgresLocation& asked) {
  const std::string alter = absl::StrCat("ALTER TABLE ", table.Sql(), " RENAME COLUMN ");
  const std::string vector = QuotePostgresName(asked.vector);
  return absl::StrCat("SET LOCAL lock_timeout = '5s'; ",
                      table.Find(asked.vector) == nullptr
                          ? ""
                          : absl::StrCat(alter, vector, " TO ", QuotePostgresName(OldName(asked)), "; "),
                      alter, QuotePostgresName(asked.new_column), " TO ", vector);
}

absl::StatusOr<std::string> PostgresSwapBackSql(const PostgresTable& table, const PostgresLocation& asked,
                                                bool has_old) {
  const std::string alter = absl::StrCat("ALTER TABLE ", table.Sql(), " RENAME COLUMN ");
  const std::string vector = QuotePostgresName(asked.vector);
  if (has_old && table.Find(OldName(asked)) == nullptr) {
    return absl::FailedPreconditionError(table.Message(
        absl::StrCat("the column `", OldName(asked), "`, which had the old vectors, is gone; restore a backup of it")));
  }
  return absl::StrCat("SET LOCAL lock_timeout = '5s'; ", alter, vector, " TO ", QuotePostgresName(asked.new_column),
                      has_old ? absl::StrCat("; ", alter, QuotePostgresName(OldName(asked)), " TO ", vector) : "");
}

}  // namespace reembed
