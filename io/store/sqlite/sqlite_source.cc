// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_source.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"
#include "io/store/sqlite/row_page.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_scan.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {
namespace {

constexpr size_t kPageRows = 512;
constexpr size_t kShownBytes = size_t{1} << 20;

constexpr absl::Duration kPatience = absl::Seconds(30);

// A location opened for reading, with everything about it checked.
struct OpenedTable {
  SqliteLocation asked;
  std::unique_ptr<SqlDb> db;
  SqliteTable table;
  std::string vector;  // quoted; empty: not named, or not there yet
  std::string where;   // both conditions, in parentheses
};

absl::StatusOr<OpenedTable> OpenTable(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(SqliteLocation asked, ParseSqliteLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqlDb> db,
                        OpenSqlDb(asked.place, SqliteAccess::kReadOnly, selection.patience.value_or(kPatience)));
  ABSL_ASSIGN_OR_RETURN(SqliteTable table, ResolveSqliteTable(*db, asked));
  for (const std::string& where : {asked.where, selection.where}) {
    ABSL_RETURN_IF_ERROR(CheckSqliteWhere(*db, table, where));
  }
  OpenedTable opened{.asked = std::move(asked), .db = std::move(db), .table = std::move(table)};
  opened.where = absl::StrCat("(", WhereSql(opened.asked.where), " AND ", WhereSql(selection.where), ")");
  // Databases from before the application knew vectors lack the column: then no row has one.
  if (const SqliteTable::Column* column = opened.table.Find(opened.asked.vector))
    opened.vector = QuoteName(column->name);
  ABSL_RETURN_IF_ERROR(CheckSqliteKeysPresent(*opened.db, opened.table, opened.where));
  return opened;
}

// A number is an integer key.
void SeekToFirst(const Selection& selection, SqliteScan* scan) {
  scan->SetRange(selection.range);
  if (selection.resume_from.empty()) return scan->SeekToStart();
  int64_t number = 0;
  if (absl::SimpleAtoi(selection.resume_from, &number)) return scan->SeekTo(KeyView(number));
  scan->SeekTo(absl::string_view(selection.resume_from));
}

// The text of a row: one column as it is, or several by a template.
class RowText {
 public:
  static absl::StatusOr<RowText> Make(const OpenedTable& opened) {
    RowText text;
    std::vector<std::string> fields = {opened.asked.text};
    if (!opened.asked.text_template.empty()) {
      absl::StatusOr<TextTemplate> parsed = TextTemplate::Parse(opened.asked.text_template);
      if (!parsed.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat(opened.asked.place.scheme, ":", opened.asked.path, ": ", parsed.status().message()));
      }
      text.template_ = *std::move(parsed);
      fields = text.template_->fields();
    }
    const absl::string_view parameter = text.template_.has_value() ? "template" : "text";
    for (size_t i = 0; i < fields.size(); ++i) {
      const absl::StatusOr<std::string> column = ResolveSqliteColumn(opened.table, parameter, fields[i]);
      if (!column.ok() && text.template_.has_value() && text.template_->MayLack(i)) {
        text.columns_.emplace_back("NULL");
        continue;
      }
      ABSL_RETURN_IF_ERROR(column.status());
      text.columns_.push_back(TextBytesSql(*opened.db, opened.table, *column));
    }
    text.values_.resize(fields.size());
    return text;
  }

  // SQL; together they are what Read() reads.
  const std::string& first_column() const { return columns_.front(); }
  std::string other_columns() const {
    std::string others;
    for (size_t i = 1; i < columns_.size(); ++i) absl::StrAppend(&others, ", ", columns_[i]);
    return others;
  }

  // The text of the row under `row`, whose columns begin at `from`; nullopt: NULL. Valid until the next call, and until
  // the row changes.
  std::optional<absl::string_view> Read(const SqliteStatement& row, int from) {
    return Read(row, from, row.Value(from));
  }

  // Likewise, with the first of its columns.
  std::optional<absl::string_view> Read(const SqliteStatement& row, int from, const SqliteValue& first) {
    if (!template_.has_value()) return AsText(first);
    values_[0] = AsText(first);
    for (size_t i = 1; i < values_.size(); ++i) values_[i] = AsText(row.Value(from + static_cast<int>(i)));
    template_->Render(values_, &text_);
    return text_;
  }

 private:
  // Of a column that was cast to a text.
  static std::optional<absl::string_view> AsText(const SqliteValue& value) {
    return value.type == SqliteType::kNull ? std::nullopt : std::optional(value.bytes);
  }

  std::optional<TextTemplate> template_;
  std::vector<std::string> columns_;
  std::vector<std::optional<absl::string_view>> values_;
  std::string text_;
};

// SQL: the row is selected.
std::string WantedSql(const OpenedTable& opened, const Selection& selection) {
  if (selection.rows == Selection::Rows::kAll) return opened.where;
  const bool with = selection.rows == Selection::Rows::kWithVector;
  if (opened.vector.empty()) return with ? "0" : opened.where;
  return absl::StrCat("(", opened.where, with ? " AND " : " AND NOT ",
                      HasVectorSql(opened.asked.encoding, opened.vector, selection.dim), ")");
}

bool IsEveryRowSelected(const OpenedTable& opened, const Selection& selection) {
  return selection.rows == Selection::Rows::kAll && opened.asked.where.empty() && selection.where.empty();
}

class SqliteSource final : public Source {
 public:
  static absl::StatusOr<std::unique_ptr<Source>> Open(OpenedTable opened, const Selection& selection) {
    ABSL_ASSIGN_OR_RETURN(RowText text, RowText::Make(opened));
    const std::string wanted = WantedSql(opened, selection);
    // One column says both: text or NULL for a selected row, a real number for one that is not.
    const std::string first = IsEveryRowSelected(opened, selection)
                                  ? text.first_column()
                                  : absl::StrCat("CASE WHEN ", wanted, " THEN ", text.first_column(), " ELSE 0.0 END");
    std::string columns = absl::StrCat(first, text.other_columns());
    ABSL_ASSIGN_OR_RETURN(SqliteStatement find,
                          opened.db->Prepare(absl::StrCat("SELECT ", text.first_column(), text.other_columns(),
                                                          " FROM ", QuoteName(opened.table.name), " WHERE ",
                                                          opened.table.IsNamedSql("?1"), " AND ", opened.where)));
    auto source = std::unique_ptr<SqliteSource>(
        new SqliteSource(std::move(opened), selection, wanted, std::move(columns), std::move(text), std::move(find)));
    SeekToFirst(selection, &source->scan_);
    return source;
  }

  absl::StatusOr<std::optional<RowView>> Next() override {
    // In place: a row is a few words, and to hand them on costs more than to find them.
    absl::StatusOr<std::optional<RowView>> next(std::nullopt);
    if (page_.exhausted()) {
      page_.Clear();
      const absl::Status status = Fill(kPageRows, &page_);
      // An error behind rows that were read comes up again when they are used up.
      if (!status.ok() && page_.exhausted()) next = status;
      if (!next.ok() || page_.exhausted()) return next;
    }
    page_.Take(&next->emplace());
    return next;
  }

  absl::Status ShowRows(absl::FunctionRef<bool(const RowView&)> see) override {
    // What was read for Next() comes first.
    while (!page_.exhausted()) {
      RowView row;
      page_.Take(&row);
      if (!see(row)) return absl::OkStatus();
    }
    absl::Status status;
    size_t bytes = 0;  // of texts since the transaction began, for which others wait, whatever is done with them
    while (true) {
      const absl::StatusOr<bool> more = scan_.Next();
      status = more.status();
      if (!more.ok() || !*more) break;
      const SqliteValue first = scan_.row().Value(1);
      if (first.type == SqliteType::kReal) continue;
      const RowView row{.key = scan_.key(), .text = text_.Read(scan_.row(), 1, first)};
      bytes += row.text.has_value() ? row.text->size() : 0;
      if (!see(row)) break;
      if (bytes < kShownBytes) continue;
      scan_.Pause();
      bytes = 0;
    }
    scan_.Pause();
    return status;
  }

  absl::Status SeekAfter(KeyView key) override {
    scan_.SeekAfter(key);
    page_.Clear();
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    found_key_ = Own(key);
    find_.BindKey(1, ViewOf(found_key_));
    ABSL_ASSIGN_OR_RETURN(const bool row, find_.Step());
    if (!row) return std::nullopt;
    RowView view{.key = ViewOf(found_key_)};
    if (const std::optional<absl::string_view> text = text_.Read(find_, 0)) {
      found_text_.assign(text->data(), text->size());
      view.text = found_text_;
    }
    find_.Reset();
    return view;
  }

  absl::StatusOr<int64_t> CountRows() override {
    SqliteScan scan(opened_.db.get(), opened_.table, wanted_);
    SeekToFirst(selection_, &scan);
    int64_t rows = 0;
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const bool more, scan.Next());
      if (!more) return rows;
      if (scan.row().Int(1) != 0) ++rows;
    }
  }

 private:
  SqliteSource(OpenedTable opened, const Selection& selection, std::string wanted, std::string columns, RowText text,
               SqliteStatement find)
      : opened_(std::move(opened)),
        selection_(selection),
        wanted_(std::move(wanted)),
        text_(std::move(text)),
        scan_(opened_.db.get(), opened_.table, std::move(columns)),
        find_(std::move(find)) {}

  // Rows up to `rows`; none: there are no more.
  absl::Status Fill(size_t rows, RowPage* page) {
    absl::Status status;
    while (!page->holds(rows)) {
      const absl::StatusOr<bool> more = scan_.Next();
      status = more.status();
      if (!more.ok() || !*more) break;
      const SqliteValue first = scan_.row().Value(1);
      if (first.type != SqliteType::kReal) page->Add(scan_.key(), text_.Read(scan_.row(), 1, first));
    }
    scan_.Pause();
    return status;
  }

  OpenedTable opened_;
  const Selection selection_;
  const std::string wanted_;  // SQL: this row is selected
  RowText text_;
  SqliteScan scan_;
  SqliteStatement find_;
  RowPage page_;  // no transaction stays open while its rows are used
  Key found_key_;
  std::string found_text_;
};

// Counts by value, for a bounded number of values.
template <typename Value>
class Groups {
 public:
  void Add(const Value& value) {
    if (counts_.size() < Survey::kMaxGroups || counts_.contains(value)) ++counts_[value];
  }
  template <typename Group>
  std::vector<Group> Sorted() const {
    std::vector<Group> groups;
    for (const auto& [value, rows] : counts_) groups.push_back({value, rows});
    std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.rows > b.rows; });
    return groups;
  }

 private:
  absl::flat_hash_map<Value, int64_t> counts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenSqliteSource(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(OpenedTable opened, OpenTable(location, selection));
  if (opened.asked.text.empty() && opened.asked.text_template.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(opened.asked.place.scheme, ":", opened.asked.path,
                     ": no column of texts; add &text=COLUMN, or &template= for several columns"));
  }
  return SqliteSource::Open(std::move(opened), selection);
}

absl::StatusOr<Survey> SurveySqlite(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(const OpenedTable opened, OpenTable(location, selection));
  const SqliteTable::Column* model = opened.table.Find(opened.asked.model_column);
  const std::string vector = opened.vector.empty() ? "NULL" : opened.vector;
  SqliteScan scan(opened.db.get(), opened.table,
                  absl::StrCat(opened.where, ", ", EncodedDimSql(opened.asked.encoding, vector), ", ",
                               model == nullptr ? "NULL" : QuoteName(model->name)));
  SeekToFirst(selection, &scan);
  Survey survey;
  int64_t unreadable = 0;
  Groups<int64_t> widths;
  Groups<std::string> models;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool more, scan.Next());
    if (!more) break;
    const SqliteStatement& row = scan.row();
    if (row.Int(1) == 0) continue;
    ++survey.rows_selected;
    if (row.Type(2) == SqliteType::kNull) {
      ++survey.rows_null;
    } else if (row.Int(2) < 0) {
      ++unreadable;
    } else {
      const bool planned = row.Int(2) == selection.dim;
      if (planned) ++survey.rows_with_vector;
      widths.Add(row.Int(2));
      // What is no vector of the planned width is replaced, whoever made it.
      if (model != nullptr && planned) models.Add(std::string(row.Text(3)));
    }
  }
  survey.widths = widths.Sorted<Survey::WidthCount>();
  survey.models = models.Sorted<Survey::ModelCount>();
  if (unreadable > 0) survey.AddWidth(-1, unreadable);
  return survey;
}

}  // namespace reembed
