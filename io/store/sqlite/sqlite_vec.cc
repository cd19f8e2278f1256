// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_vec.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// What the statement says of `column`, from its name on; empty: it does not declare it.
absl::string_view DeclarationOf(absl::string_view sql, absl::string_view column) {
  sql.remove_prefix(std::min(sql.find('('), sql.size() - 1) + 1);
  for (absl::string_view part : absl::StrSplit(sql, ',')) {
    part = absl::StripAsciiWhitespace(part);
    const size_t end = part.find_first_of(" \t\n");
    if (end != absl::string_view::npos && absl::EqualsIgnoreCase(part.substr(0, end), column)) return part;
  }
  return {};
}

}  // namespace

std::string Vec0Type(absl::string_view sql, absl::string_view column) {
  const absl::string_view declaration = DeclarationOf(sql, column);
  if (declaration.empty()) return "";
  const absl::string_view type = absl::StripAsciiWhitespace(declaration.substr(declaration.find_first_of(" \t\n")));
  return absl::AsciiStrToLower(type.substr(0, type.find(']') + 1));
}

absl::StatusOr<std::string> Vec0Sql(const SqlDb& db, const SqliteTarget& target) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement find, db.Prepare("SELECT sql FROM sqlite_schema WHERE name = ?1"));
  find.BindText(1, target.table->name);
  ABSL_ASSIGN_OR_RETURN(const bool row, find.Step());
  return row ? std::string(find.Text(0)) : "";
}

absl::StatusOr<int> Vec0Width(const SqlDb& db, const SqliteTarget& target) {
  if (!target.table.has_value() || target.table->kind != SqliteTable::Kind::kVirtual) return 0;
  const SqliteTable& table = *target.table;
  const auto refuse = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(table.path, ": virtual table `", table.name, "`: ", what));
  };
  if (IsText(target.asked.encoding)) return refuse("takes float32; leave encoding= out");
  ABSL_ASSIGN_OR_RETURN(const std::string sql, Vec0Sql(db, target));
  if (!absl::StrContains(absl::AsciiStrToLower(sql), "using vec0"))
    return refuse("is none of vec0; name a plain table to fill");
  const std::string type = Vec0Type(sql, target.asked.vector);
  absl::string_view width = type;
  int declared = 0;
  const bool known = (absl::ConsumePrefix(&width, "float[") || absl::ConsumePrefix(&width, "f32[")) &&
                     absl::ConsumeSuffix(&width, "]") && absl::SimpleAtoi(width, &declared) && declared > 0;
  if (known) return declared;
  return refuse(absl::StrCat("column `", target.asked.vector, "` is ", type.empty() ? "of no known type" : type,
                             "; this version writes float[N]"));
}

std::string WithVec0Width(absl::string_view sql, absl::string_view column, int dim) {
  const absl::string_view declaration = DeclarationOf(sql, column);
  const size_t begin = static_cast<size_t>(declaration.data() - sql.data()) + declaration.find('[');
  return absl::StrCat(sql.substr(0, begin), "[", dim, sql.substr(sql.find(']', begin)));
}

}  // namespace reembed
