// SPDX-License-Identifier: Apache-2.0
#include "io/system/memu_rows.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {
namespace {

constexpr std::array<absl::string_view, 7> kParameters = {"collection", "db",       "table", "key",
                                                          "text",       "template", "where"};
constexpr char kResources[] = "resources";

bool IsText(absl::string_view token, absl::string_view text, std::string* space) {
  const std::optional<absl::string_view> decoded = JsonString(token, space);
  return decoded.has_value() && *decoded == text;
}

bool HasVector(const MemuRow& row, int dim) { return row.owned && row.entry->dim == dim; }

class MemuSource final : public Source {
 public:
  MemuSource(std::unique_ptr<MemuRows> rows, Location location, Selection selection)
      : rows_(std::move(rows)), location_(std::move(location)), selection_(std::move(selection)) {}

  absl::StatusOr<std::optional<RowView>> Next() override {
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<MemuRow> row, rows_->Next());
      if (!row.has_value()) return std::nullopt;
      if (!row->text.has_value()) continue;
      if (!IsWanted(*row)) continue;
      return RowView{.key = row->key, .text = row->text};
    }
  }

  absl::Status SeekAfter(KeyView key) override { return rows_->SeekAfter(key); }

  absl::StatusOr<std::optional<RowView>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<MemuRow> row, rows_->Find(key));
    if (!row.has_value()) return std::nullopt;
    return RowView{.key = row->key, .text = row->text};
  }

  absl::StatusOr<int64_t> CountRows() override {
    ABSL_ASSIGN_OR_RETURN(const Survey survey, SurveyMemu(location_, selection_));
    int64_t rows = survey.rows_selected;
    if (selection_.rows == Selection::Rows::kWithoutVector) rows -= survey.rows_with_vector;
    if (selection_.rows == Selection::Rows::kWithVector) rows = survey.rows_with_vector;
    return rows;
  }

 private:
  bool IsWanted(const MemuRow& row) const {
    if (selection_.rows == Selection::Rows::kAll) return true;
    return HasVector(row, selection_.dim) == (selection_.rows == Selection::Rows::kWithVector);
  }

  const std::unique_ptr<MemuRows> rows_;
  const Location location_;
  const Selection selection_;
};

}  // namespace

absl::StatusOr<MemuLocation> ParseMemuLocation(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(kParameters));
  MemuLocation asked{.vectors = location.path, .collection = location.Get("collection"), .rows = {.scheme = "sqlite"}};
  if (asked.collection != "items" && asked.collection != "categories" && asked.collection != kResources) {
    return absl::InvalidArgumentError(absl::StrCat(
        "memu:", location.path, ": collection: expected items, categories or resources, got `", asked.collection, "`"));
  }
  asked.rows.path = location.Get("db");
  for (const char* const name : {"table", "key", "text", "template", "where"}) {
    if (std::string value = location.Get(name); !value.empty()) asked.rows.parameters[name] = std::move(value);
  }
  return asked;
}

absl::StatusOr<std::unique_ptr<MemuRows>> MemuRows::Open(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(MemuLocation asked, ParseMemuLocation(location));
  if (asked.rows.path.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("memu:", location.path, ": where are the rows? add &db=FILE"));
  }
  auto rows = std::unique_ptr<MemuRows>(new MemuRows());
  rows->location_ = std::move(asked);
  Selection all = selection;
  all.rows = Selection::Rows::kAll;
  ABSL_ASSIGN_OR_RETURN(rows->rows_, OpenSqliteSource(rows->location_.rows, all));
  ABSL_ASSIGN_OR_RETURN(rows->vectors_, VectorsJson::Open(rows->location_.vectors));
  rows->collection_ = rows->vectors_->Find(rows->location_.collection);
  ABSL_ASSIGN_OR_RETURN(rows->db_, SqliteDb::Open(rows->location_.rows.path, SqliteAccess::kReadOnly,
                                                  selection.patience.value_or(absl::Seconds(30))));
  const bool has_url = rows->location_.collection == kResources;
  ABSL_ASSIGN_OR_RETURN(
      rows->owner_, rows->db_->Prepare(absl::StrCat("SELECT CAST(user_id AS TEXT), CAST(agent_id AS TEXT), ",
                                                    has_url ? "url" : "NULL", " FROM ",
                                                    QuoteName(rows->location_.rows.Get("table")), " WHERE id = ?1")));
  ABSL_ASSIGN_OR_RETURN(rows->trim_, TextTemplate::Parse("{caption|trim}"));
  return rows;
}

void MemuRows::TakeCaption(absl::string_view url, MemuRow* row) {
  if (row->text.has_value() && !row->text->empty()) return;
  row->text.reset();
  if (row->entry == nullptr || row->entry->text.empty()) return;
  const std::optional<absl::string_view> stored = JsonString(row->entry->text, &token_);
  if (!stored.has_value() || *stored == url) return;
  const std::optional<absl::string_view> values[] = {stored};
  trim_->Render(values, &caption_);
  if (!caption_.empty()) row->text = caption_;
}

absl::StatusOr<std::optional<MemuRow>> MemuRows::Complete(const RowView& view) {
  MemuRow row{.key = view.key, .text = view.text};
  owner_.BindKey(1, view.key);
  ABSL_ASSIGN_OR_RETURN(const bool found, owner_.Step());
  if (!found) return std::nullopt;  // it went between the two statements
  user_ = std::string(owner_.Text(0));
  agent_ = std::string(owner_.Text(1));
  const std::string url(owner_.Text(2));
  owner_.Reset();
  row.user_id = user_;
  row.agent_id = agent_;
  if (collection_ != nullptr) row.entry = collection_->Find(KeyText(row.key));
  row.owned = row.entry != nullptr && IsText(row.entry->user_id, row.user_id, &token_) &&
              IsText(row.entry->agent_id, row.agent_id, &other_token_);
  if (location_.collection == kResources) TakeCaption(url, &row);
  return row;
}

absl::StatusOr<std::optional<MemuRow>> MemuRows::Next() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, rows_->Next());
    if (!row.has_value()) return std::nullopt;
    absl::StatusOr<std::optional<MemuRow>> complete = Complete(*row);
    if (!complete.ok() || complete->has_value()) return complete;
  }
}

absl::StatusOr<std::optional<MemuRow>> MemuRows::Find(KeyView key) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, rows_->Find(key));
  if (!row.has_value()) return std::nullopt;
  return Complete(*row);
}

absl::StatusOr<std::unique_ptr<Source>> OpenMemuSource(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<MemuRows> rows, MemuRows::Open(location, selection));
  return std::make_unique<MemuSource>(std::move(rows), location, selection);
}

absl::StatusOr<Survey> SurveyMemu(const Location& location, const Selection& selection) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<MemuRows> rows, MemuRows::Open(location, selection));
  Survey survey;
  std::map<int64_t, int64_t> widths;
  int64_t unreadable = 0;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<MemuRow> next, rows->Next());
    if (!next.has_value()) break;
    const MemuRow& row = *next;
    if (!row.text.has_value()) continue;
    ++survey.rows_selected;
    if (!row.owned || row.entry->dim == 0) {
      ++survey.rows_null;
    } else if (row.entry->dim < 0) {
      ++unreadable;
    } else {
      ++widths[row.entry->dim];
    }
  }
  for (const auto& [dim, count] : widths) {
    if (dim == selection.dim) survey.rows_with_vector = count;
    survey.widths.push_back({dim, count});
  }
  std::sort(survey.widths.begin(), survey.widths.end(), [](const auto& a, const auto& b) { return a.rows > b.rows; });
  if (survey.widths.size() > Survey::kMaxGroups) survey.widths.resize(Survey::kMaxGroups);
  if (unreadable > 0) survey.AddWidth(-1, unreadable);
  const VectorsJson::Collection* const collection = rows->vectors().Find(rows->location().collection);
  if (collection == nullptr) return survey;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> db,
                        SqliteDb::Open(rows->location().rows.path, SqliteAccess::kReadOnly,
                                       selection.patience.value_or(absl::Seconds(30))));
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement find,
      db->Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(rows->location().rows.Get("table")), " WHERE id = ?1")));
  for (const auto& [id, place] : collection->by_id) {
    find.BindText(1, id);
    ABSL_ASSIGN_OR_RETURN(const bool found, find.Step());
    if (!found) ++survey.orphans;
    find.Reset();
  }
  return survey;
}

}  // namespace reembed
