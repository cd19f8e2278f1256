// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_reader.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_scan.h"
#include "io/store/sqlite/sqlite_table.h"
#include "io/store/sqlite/sqlite_target.h"

namespace reembed {
namespace {

constexpr int64_t kPageBytes = int64_t{1} << 20;

// A location opened for reading vectors.
struct OpenedVectors {
  SqliteLocation asked;
  std::unique_ptr<SqlDb> db;
  SqliteTable table;
  std::string cell;  // SQL: the cell of a selected row, NULL of any other
  int64_t rows = 0;  // where `cell` is not NULL
  int dim = 0;
};

std::string RowMessage(const OpenedVectors& opened, KeyView key, absl::string_view what) {
  return absl::StrCat(opened.db->path(), ": table `", opened.table.name, "`: row ", KeyText(key), ": ", what);
}

// Counts the vectors, and finds their width if it is not known.
absl::Status CountVectors(OpenedVectors* opened) {
  SqliteScan scan(opened->db.get(), opened->table,
                  EncodedDimSql(opened->asked.encoding, absl::StrCat("(", opened->cell, ")")));
  while (true) {
    const absl::StatusOr<bool> more = scan.Next();
    if (!more.ok() || !*more) return more.status();
    if (scan.row().Type(1) == SqliteType::kNull) continue;
    ++opened->rows;
    if (opened->dim == 0) opened->dim = static_cast<int>(std::max<int64_t>(0, scan.row().Int(1)));
  }
}

class SqliteReader final : public VectorReader {
 public:
  SqliteReader(OpenedVectors opened, SqliteStatement find)
      : opened_(std::move(opened)),
        find_(std::move(find)),
        scan_(opened_.db.get(), opened_.table, opened_.cell),
        page_rows_(static_cast<size_t>(
            std::clamp<int64_t>(kPageBytes / (int64_t{opened_.dim} * static_cast<int64_t>(sizeof(float))), 1, 1024))) {}

  int dim() const override { return opened_.dim; }
  int64_t rows() const override { return opened_.rows; }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ == keys_.size()) {
      ABSL_RETURN_IF_ERROR(Fill());
      if (keys_.empty()) return std::nullopt;
    }
    const size_t row = next_++;
    return StoredVector{ViewOf(keys_[row]), VectorAt(row)};
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const Key own = Own(key);
    keys_.assign(1, own);
    next_ = 1;
    scan_.SeekAfter(ViewOf(own));
    find_.BindKey(1, ViewOf(own));
    ABSL_ASSIGN_OR_RETURN(const bool row, find_.Step());
    if (!row || IsEmpty(find_, 0)) {
      find_.Reset();
      return std::nullopt;
    }
    vectors_.resize(static_cast<size_t>(opened_.dim));
    const absl::Status status = TakeCell(find_, 0, ViewOf(own), 0);
    find_.Reset();
    ABSL_RETURN_IF_ERROR(status);
    return StoredVector{ViewOf(keys_[0]), VectorAt(0)};
  }

 private:
  absl::Span<float> VectorAt(size_t row) {
    const auto dim = static_cast<size_t>(opened_.dim);
    return absl::MakeSpan(vectors_).subspan(row * dim, dim);
  }

  // Whether the cell says that the row has no vector.
  bool IsEmpty(const SqliteStatement& row, int column) const {
    const SqliteType type = row.Type(column);
    if (type != SqliteType::kText || !IsText(opened_.asked.encoding)) return type == SqliteType::kNull;
    const absl::string_view cell = row.Text(column);
    // A vector is longer than any way to say that there is none.
    return cell.size() < 16 && EncodedDim(opened_.asked.encoding, cell) == 0;
  }

  absl::Status TakeCell(const SqliteStatement& row, int column, KeyView key, size_t place) {
    const SqliteType type = row.Type(column);
    const bool is_text = IsText(opened_.asked.encoding);
    const bool right_type = type == (is_text ? SqliteType::kText : SqliteType::kBlob);
    const absl::string_view cell = is_text ? row.Text(column) : row.Blob(column);
    if (right_type && DecodeVector(opened_.asked.encoding, cell, VectorAt(place))) {
      return absl::OkStatus();
    }
    const int64_t dim = EncodedDim(opened_.asked.encoding, cell);
    const std::string got = !right_type          ? absl::StrCat("a value that is no ", is_text ? "text" : "blob")
                            : dim == opened_.dim ? std::string("one that is not finite")
                                                 : absl::StrCat(cell.size(), " bytes (", dim, " numbers)");
    return absl::DataLossError(
        RowMessage(opened_, key, absl::StrCat("expected a vector of ", opened_.dim, " numbers, got ", got)));
  }

  // The next vectors. An error behind vectors that were read comes up again when they are used up.
  absl::Status Fill() {
    keys_.clear();
    next_ = 0;
    vectors_.resize(page_rows_ * static_cast<size_t>(opened_.dim));
    absl::Status status = std::exchange(failed_row_, absl::OkStatus());
    while (status.ok() && keys_.size() < page_rows_) {
      const absl::StatusOr<bool> more = scan_.Next();
      status = more.status();
      if (!more.ok() || !*more) break;
      if (IsEmpty(scan_.row(), 1)) continue;
      status = TakeCell(scan_.row(), 1, scan_.key(), keys_.size());
      // The scan is behind this row already, so its failure must be kept for the next call.
      if (!status.ok() && !keys_.empty()) failed_row_ = status;
      if (status.ok()) keys_.push_back(Own(scan_.key()));
    }
    scan_.Pause();
    return keys_.empty() ? status : absl::OkStatus();
  }

  const OpenedVectors opened_;
  SqliteStatement find_;
  SqliteScan scan_;
  const size_t page_rows_;
  std::vector<Key> keys_;       // of the page
  std::vector<float> vectors_;  // [page_rows_, dim], those of keys_
  size_t next_ = 0;             // index into keys_
  absl::Status failed_row_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenSqliteReader(const Location& location,
                                                               const SqliteReaderOptions& options) {
  // A table that mode=upsert made has its columns under names that the location need not say.
  ABSL_ASSIGN_OR_RETURN(SqliteLocation asked,
                        location.Get("mode") == "upsert" ? ParseSqliteTarget(location) : ParseSqliteLocation(location));
  if (asked.vector.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked.place.scheme, ":", asked.path, ": no column of vectors; add &vector=COLUMN"));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqlDb> db,
                        OpenSqlDb(asked.place, SqliteAccess::kReadOnly, options.busy_timeout));
  ABSL_ASSIGN_OR_RETURN(SqliteTable table, ResolveSqliteTable(*db, asked));
  ABSL_ASSIGN_OR_RETURN(const std::string column, ResolveSqliteColumn(table, "vector", asked.vector));
  ABSL_RETURN_IF_ERROR(CheckSqliteWhere(*db, table, asked.where));
  OpenedVectors opened{.asked = std::move(asked), .db = std::move(db), .table = std::move(table), .dim = options.dim};
  opened.cell = absl::StrCat("CASE WHEN ", WhereSql(opened.asked.where), " THEN ", QuoteName(column), " END");
  ABSL_RETURN_IF_ERROR(CheckSqliteKeysPresent(*opened.db, opened.table, opened.asked.where));
  ABSL_RETURN_IF_ERROR(CountVectors(&opened));
  if (opened.dim == 0) {
    return absl::NotFoundError(absl::StrCat(opened.db->path(), ": table `", opened.table.name, "`: no vector in `",
                                            column, "`; run the job first"));
  }
  ABSL_ASSIGN_OR_RETURN(SqliteStatement find,
                        opened.db->Prepare(absl::StrCat("SELECT ", opened.cell, " FROM ", QuoteName(opened.table.name),
                                                        " WHERE ", opened.table.KeySql(), " = ?1")));
  return std::make_unique<SqliteReader>(std::move(opened), std::move(find));
}

}  // namespace reembed
