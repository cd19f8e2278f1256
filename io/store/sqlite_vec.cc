#include "io/store/sqlite_vec.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

// The declared type of `column`, in small letters; empty: the statement does not declare it.
std::string DeclaredType(absl::string_view sql, absl::string_view column) {
  absl::ConsumePrefix(&sql, sql.substr(0, sql.find('(')));
  absl::ConsumePrefix(&sql, "(");
  for (absl::string_view part : absl::StrSplit(sql, ',')) {
    part = absl::StripAsciiWhitespace(part);
    const size_t end = part.find_first_of(" \t\n");
    if (end == absl::string_view::npos || !absl::EqualsIgnoreCase(part.substr(0, end), column)) continue;
    const absl::string_view type = absl::StripAsciiWhitespace(part.substr(end));
    return absl::AsciiStrToLower(type.substr(0, type.find(']') + 1));
  }
  return "";
}

}  // namespace

absl::Status CheckVec0Width(const SqlDb* db, const SqliteTarget& target, int dim) {
  if (!target.table.has_value() || target.table->kind != SqliteTable::Kind::kVirtual) return absl::OkStatus();
  const SqliteTable& table = *target.table;
  const auto refuse = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(table.path, ": virtual table `", table.name, "`: ", what));
  };
  if (IsText(target.asked.encoding)) return refuse("takes float32; leave encoding= out");
  absl::StatusOr<SqliteStatement> find = db->Prepare("SELECT sql FROM sqlite_schema WHERE name = ?1");
  if (!find.ok()) return find.status();
  find->BindText(1, table.name);
  const absl::StatusOr<bool> row = find->Step();
  if (!row.ok()) return row.status();
  const std::string sql = *row ? std::string(find->Text(0)) : "";
  if (!absl::StrContains(absl::AsciiStrToLower(sql), "using vec0"))
    return refuse("is none of vec0; name a plain table to fill");
  const std::string type = DeclaredType(sql, target.asked.vector);
  absl::string_view width = type;
  int declared = 0;
  const bool known = (absl::ConsumePrefix(&width, "float[") || absl::ConsumePrefix(&width, "f32[")) &&
                     absl::ConsumeSuffix(&width, "]") && absl::SimpleAtoi(width, &declared);
  if (!known) {
    return refuse(absl::StrCat("column `", target.asked.vector, "` is ", type.empty() ? "of no known type" : type,
                               "; this version writes float[N]"));
  }
  if (declared == dim) return absl::OkStatus();
  return refuse(absl::StrCat("column `", target.asked.vector, "` is ", type, ", and this job makes vectors of ", dim,
                             " numbers: use --dimensions ", declared, ", or make a table for them"));
}

}  // namespace reembed
