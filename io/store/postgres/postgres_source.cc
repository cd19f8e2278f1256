// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_source.h"

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_new_column.h"
#include "io/store/postgres/postgres_scan.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/postgres/postgres_vector.h"

namespace reembed {
namespace {

// A location opened for reading, with everything about it checked.
struct OpenedTable {
  PostgresLocation asked;
  std::unique_ptr<PostgresConnection> connection;
  PostgresTable table;
  std::optional<PostgresVectorColumn> vector;  // nullopt: not named, or not there yet
  std::string where;                           // both conditions; never NULL
  std::string range;                           // the key is in the range of the selection
  std::string from;                            // `where` and `range`, and not before resume_from
  std::optional<std::string> resume_from;      // the key in text form
  PostgresRowSecurity security;
};

// How many rows a condition lets see, and how many there are as far as anybody can tell.
std::string SecurityRemark(const PostgresTable& table, const PostgresRowSecurity& security) {
  return absl::StrCat("row-level security hides rows of ", table.name, " that this user may not see; the statistics ",
                      security.rows_known < 0 ? "do not know how many there are; ANALYZE counts them"
                                              : absl::StrCat("know about ", security.rows_known, " in all"));
}

// A cell that is no text is read as the server prints it.
void RemarkType(const PostgresTable& table, const PostgresTable::Column& column, std::vector<std::string>* remarks) {
  const bool is_array = absl::StartsWith(column.base_type, "_");
  const bool is_json = column.base_type == "json" || column.base_type == "jsonb";
  if (!is_array && !is_json && column.base_type != "hstore" && column.base_type != "xml") return;
  remarks->push_back(absl::StrCat("column ", column.name, " of ", table.name, " is of type ", column.type,
                                  ": its text is what PostgreSQL prints, ",
                                  is_array ? "with braces and commas" : "with names and punctuation",
                                  "; to embed the words alone, name a view or a ", "generated column with ",
                                  is_array  ? absl::StrCat("array_to_string(", QuotePostgresName(column.name), ", ' ')")
                                  : is_json ? absl::StrCat(QuotePostgresName(column.name), "->>'FIELD'")
                                            : "the text in it"));
}

// SQL: the key is in the range.
absl::StatusOr<std::string> RangeSql(const PostgresTable& table, const KeyRange& range) {
  std::string sql = "true";
  for (const auto& [bound, comparison] : {std::pair(&range.from, " >= "), std::pair(&range.before, " < ")}) {
    if (!bound->has_value()) continue;
    const std::optional<std::string> key = PostgresKeyText(table, ViewOf(**bound));
    if (!key.has_value()) {
      return absl::InvalidArgumentError(
          table.Message(absl::StrCat("`", KeyText(ViewOf(**bound)), "` cannot be in the key column `", table.key,
                                     "`, so it ends no range of keys there")));
    }
    absl::StrAppend(&sql, " AND ", table.KeySql(), comparison, QuotePostgresText(*key));
  }
  return sql;
}

absl::StatusOr<OpenedTable> OpenTable(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(PostgresLocation asked, ParsePostgresLocation(location));
  ABSL_ASSIGN_OR_RETURN(
      auto connection,
      PostgresConnection::Open(asked.address,
                               {.read_only = true, .patience = selection.patience.value_or(absl::Minutes(2))}));
  ABSL_ASSIGN_OR_RETURN(PostgresTable table, ResolvePostgresTable(connection.get(), asked));
  ABSL_RETURN_IF_ERROR(CheckPostgresRight(connection.get(), table, "SELECT", table.key));
  for (const std::string& where : {asked.where, selection.where}) {
    ABSL_RETURN_IF_ERROR(CheckPostgresWhere(connection.get(), table, where));
  }
  OpenedTable opened{.asked = std::move(asked), .connection = std::move(connection), .table = std::move(table)};
  opened.where = absl::StrCat("coalesce(", PostgresWhereSql(opened.asked.where), " AND ",
                              PostgresWhereSql(selection.where), ", false)");
  if (opened.asked.where.empty() && selection.where.empty()) opened.where = "true";
  ABSL_ASSIGN_OR_RETURN(opened.range, RangeSql(opened.table, selection.range));
  opened.from = selection.range.empty() ? opened.where : absl::StrCat(opened.where, " AND ", opened.range);
  if (!selection.resume_from.empty()) {
    opened.resume_from = PostgresKeyText(opened.table, absl::string_view(selection.resume_from));
    if (!opened.resume_from.has_value()) {
      return absl::InvalidArgumentError(opened.table.Message(absl::StrCat(
          "`", selection.resume_from, "` cannot be in the key column `", opened.table.key, "` to resume from")));
    }
    absl::StrAppend(&opened.from, " AND ", opened.table.KeySql(), " >= $1");
  }
  if (!opened.asked.vector.empty()) {
    ABSL_ASSIGN_OR_RETURN(const std::string column, PostgresColumnToFill(opened.table, opened.asked));
    if (opened.table.Find(column) != nullptr) {
      ABSL_ASSIGN_OR_RETURN(opened.vector, ResolvePostgresVector(opened.table, opened.asked, column, 0));
    }
  }
  ABSL_RETURN_IF_ERROR(CheckPostgresKeys(opened.connection.get(), opened.table, opened.where));
  ABSL_ASSIGN_OR_RETURN(opened.security, FindPostgresRowSecurity(opened.connection.get(), opened.table));
  return opened;
}

absl::StatusOr<PostgresRows> QueryFrom(const OpenedTable& opened, const std::string& sql) {
  if (!opened.resume_from.has_value()) return opened.connection->Query(sql);
  return opened.connection->Query(sql, {PostgresValue::Text(*opened.resume_from)});
}

// The text of a row: one column as it is, or several by a template. In SQL it is one cell.
class RowText {
 public:
  static absl::StatusOr<RowText> Make(const OpenedTable& opened) {
    RowText text;
    if (opened.asked.text_template.empty()) {
      ABSL_ASSIGN_OR_RETURN(text.sql_, text.ColumnSql(opened, "text", opened.asked.text));
      return text;
    }
    absl::StatusOr<TextTemplate> parsed = TextTemplate::Parse(opened.asked.text_template);
    if (!parsed.ok()) return absl::InvalidArgumentError(opened.table.Message(parsed.status().message()));
    std::vector<std::string> cells;
    for (size_t i = 0; i < parsed->fields().size(); ++i) {
      const absl::StatusOr<std::string> sql = text.ColumnSql(opened, "template", parsed->fields()[i]);
      if (!sql.ok() && !(absl::IsNotFound(sql.status()) && parsed->MayLack(i))) return sql.status();
      cells.push_back(sql.ok() ? *sql : "NULL::text");
    }
    text.sql_ = absl::StrCat("ARRAY[", absl::StrJoin(cells, ", "), "]");
    text.values_.resize(cells.size());
    text.template_ = *std::move(parsed);
    return text;
  }

  const std::string& sql() const { return sql_; }
  const std::vector<std::string>& remarks() const { return remarks_; }

  // The text of the row whose cell this is; nullopt: NULL. Valid until the next call, and until the cell changes.
  std::optional<absl::string_view> Of(std::optional<absl::string_view> cell) {
    if (!template_.has_value()) return cell;
    // An array in binary form: five words, then each element behind its length, -1 for NULL. Source: array_send in
    // PostgreSQL's arrayfuncs.c.
    size_t at = 5 * sizeof(int32_t);
    for (std::optional<absl::string_view>& value : values_) {
      value.reset();
      if (!cell.has_value() || cell->size() < at + sizeof(int32_t)) continue;
      const auto size = static_cast<int32_t>(ReadInt32(cell->substr(at)));
      at += sizeof(int32_t);
      if (size < 0) continue;
      value = cell->substr(at, static_cast<size_t>(size));
      at += static_cast<size_t>(size);
    }
    template_->Render(values_, &text_);
    return text_;
  }

 private:
  absl::StatusOr<std::string> ColumnSql(const OpenedTable& opened, absl::string_view parameter,
                                        const std::string& name) {
    ABSL_ASSIGN_OR_RETURN(const std::string column, ResolvePostgresColumn(opened.table, parameter, name));
    ABSL_RETURN_IF_ERROR(CheckPostgresRight(opened.connection.get(), opened.table, "SELECT", column));
    if (opened.table.Find(column)->base_type == "bytea") {
      return absl::InvalidArgumentError(opened.table.Message(
          absl::StrCat("column `", column, "` for ", parameter, "= is of type bytea; expected text")));
    }
    RemarkType(opened.table, *opened.table.Find(column), &remarks_);
    return absl::StrCat(QuotePostgresName(column), "::text");
  }

  std::string sql_;
  std::vector<std::string> remarks_;
  std::optional<TextTemplate> template_;
  std::vector<std::optional<absl::string_view>> values_;
  std::string text_;
};

class PostgresSource final : public Source {
 public:
  PostgresSource(OpenedTable opened, RowText text, std::string wanted)
      : opened_(std::move(opened)),
        wanted_(wanted),
        text_(std::move(text)),
        scan_(opened_.connection.get(), opened_.table, text_.sql(), std::move(wanted)),
        find_(opened_.connection.get(), opened_.table, text_.sql(), opened_.where) {}

  absl::Status SeekToFirst() {
    if (opened_.resume_from.has_value()) return scan_.SeekTo(absl::string_view(*opened_.resume_from));
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    ABSL_ASSIGN_OR_RETURN(const bool more, scan_.Next());
    if (!more) return std::nullopt;
    return RowView{.key = scan_.key(), .text = text_.Of(scan_.cell())};
  }

  absl::Status SeekAfter(KeyView key) override { return scan_.SeekAfter(key); }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const bool found, find_.Find(key));
    if (!found) return std::nullopt;
    return RowView{.key = find_.key(), .text = text_.Of(find_.cell())};
  }

  absl::StatusOr<int64_t> CountRows() override {
    int64_t rows = 0;
    ABSL_RETURN_IF_ERROR(opened_.connection->Persist([&] {
      const absl::StatusOr<PostgresRows> counted = QueryFrom(
          opened_,
          absl::StrCat("SELECT count(*) FROM ", opened_.table.Sql(), " WHERE ", opened_.from, " AND ", wanted_));
      if (counted.ok()) rows = counted->Int(0, 0);
      return counted.status();
    }));
    return rows;
  }

 private:
  const OpenedTable opened_;
  const std::string wanted_;  // SQL: this row is selected
  RowText text_;
  PostgresScan scan_, find_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenPostgresSource(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(OpenedTable opened, OpenTable(location, selection));
  if (opened.asked.text.empty() == opened.asked.text_template.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        opened.asked.address.name, ": where are the texts? add either &text=COLUMN or &template='{COLUMN} {COLUMN}'"));
  }
  ABSL_ASSIGN_OR_RETURN(RowText text, RowText::Make(opened));
  std::string wanted = opened.where;
  if (!selection.range.empty()) absl::StrAppend(&wanted, " AND ", opened.range);
  if (selection.rows != Selection::Rows::kAll) {
    const bool with = selection.rows == Selection::Rows::kWithVector;
    const std::string has =
        opened.vector.has_value() ? PostgresHasVectorSql(opened.table, *opened.vector, selection.dim) : "false";
    absl::StrAppend(&wanted, with ? " AND " : " AND NOT ", has);
  }
  auto source = std::make_unique<PostgresSource>(std::move(opened), std::move(text), std::move(wanted));
  ABSL_RETURN_IF_ERROR(source->SeekToFirst());
  return source;
}

absl::StatusOr<Survey> SurveyPostgres(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(const OpenedTable opened, OpenTable(location, selection));
  const std::string from = absl::StrCat(" FROM ", opened.table.Sql(), " WHERE ", opened.from);
  ABSL_RETURN_IF_ERROR(CheckPostgresWhere(opened.connection.get(), opened.table, opened.asked.needed));
  const std::string needed = opened.asked.needed.empty()
                                 ? "0"
                                 : absl::StrCat("count(*) FILTER (WHERE ", PostgresWhereSql(opened.asked.needed), ")");
  Survey survey;
  if (!opened.asked.text.empty() || !opened.asked.text_template.empty()) {
    ABSL_ASSIGN_OR_RETURN(const RowText text, RowText::Make(opened));
    survey.remarks = text.remarks();
  }
  if (opened.security.is_active) survey.remarks.push_back(SecurityRemark(opened.table, opened.security));
  if (!opened.vector.has_value()) {
    ABSL_ASSIGN_OR_RETURN(const PostgresRows rows, QueryFrom(opened, absl::StrCat("SELECT count(*), ", needed, from)));
    survey.rows_selected = survey.rows_null = rows.Int(0, 0);
    survey.rows_needed = rows.Int(0, 1);
    return survey;
  }
  const PostgresTable::Column* model = opened.table.Find(opened.asked.model_column);
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows groups,
      QueryFrom(opened, absl::StrCat("SELECT ", PostgresWidthSql(opened.table, *opened.vector), ", ",
                                     model == nullptr ? "''" : absl::StrCat(QuotePostgresName(model->name), "::text"),
                                     ", count(*), ", needed, from, " GROUP BY 1, 2 ORDER BY 3 DESC")));
  for (int row = 0; row < groups.size(); ++row) {
    const int64_t dim = groups.Int(row, 0), rows = groups.Int(row, 2);
    survey.rows_selected += rows;
    if (dim != selection.dim) survey.rows_needed += groups.Int(row, 3);
    if (groups.IsNull(row, 0)) {
      survey.rows_null += rows;
      continue;
    }
    survey.AddWidth(dim, rows);
    if (dim != selection.dim) continue;
    survey.rows_with_vector += rows;
    if (model != nullptr) survey.AddModel(groups.Text(row, 1), rows);
  }
  return survey;
}

}  // namespace reembed
