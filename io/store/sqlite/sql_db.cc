// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sql_db.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/status_macros.h"

namespace reembed {

void SqliteStatement::Bind(int parameter, int64_t value) {
  cursor_->Bind(parameter, {.type = SqliteType::kInteger, .integer = value});
}

void SqliteStatement::BindText(int parameter, absl::string_view value) {
  cursor_->Bind(parameter, {.type = SqliteType::kText, .bytes = value});
}

void SqliteStatement::BindBlob(int parameter, absl::string_view value) {
  cursor_->Bind(parameter, {.type = SqliteType::kBlob, .bytes = value});
}

void SqliteStatement::BindNull(int parameter) { cursor_->Bind(parameter, {}); }

void SqliteStatement::BindKey(int parameter, KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) {
    Bind(parameter, *number);
  } else {
    BindText(parameter, std::get<absl::string_view>(key));
  }
}

absl::Status SqliteStatement::Run() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return absl::OkStatus();
  }
}

absl::string_view SqliteStatement::Text(int column) const {
  const SqliteValue value = cursor_->Get(column);
  if (value.type == SqliteType::kInteger) {
    number_ = absl::StrCat(value.integer);
  } else if (value.type == SqliteType::kReal) {
    number_ = absl::StrFormat("%.15g", value.real);
    if (number_.find_first_not_of("-0123456789") == std::string::npos) number_ += ".0";
  } else {
    return value.bytes;
  }
  return number_;
}

absl::Status SqlDb::Exec(absl::string_view sql) const {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement statement, Prepare(sql));
  return statement.Run();
}

std::string QuoteName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

}  // namespace reembed
