// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_scan.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

using From = PageStart::From;

// With 4 KB pages and one row on each this is 16 MB to read: some tens of milliseconds, well below the five seconds
// after which common SQLite clients give up waiting.
constexpr int64_t kRowsPerTransaction = 4096;

std::string KeyLiteral(KeyView key) {
  if (const auto* const number = std::get_if<int64_t>(&key)) return absl::StrCat(*number);
  return absl::StrCat("CAST(x'", absl::BytesToHexString(std::get<absl::string_view>(key)), "' AS TEXT)");
}

}  // namespace

SqliteScan::SqliteScan(const SqlDb* db, SqliteTable table, std::string columns)
    : db_(db), table_(std::move(table)), columns_(std::move(columns)), among_null_(HasNamesForNull()) {}

void SqliteScan::SetRange(KeyRange range) {
  range_ = std::move(range);
  SeekToStart();
}

void SqliteScan::SeekToStart() {
  Pause();
  at_ = {};
  among_null_ = HasNamesForNull() && !range_.from.has_value();
}

void SqliteScan::SeekTo(KeyView key) {
  Pause();
  at_ = {From::kAt, Own(key)};
  among_null_ = IsAmongNull(key);
}

void SqliteScan::SeekAfter(KeyView key) {
  Pause();
  at_ = {From::kBehind, Own(key)};
  among_null_ = IsAmongNull(key);
}

bool SqliteScan::IsAmongNull(KeyView key) const {
  const auto* const text = std::get_if<absl::string_view>(&key);
  return HasNamesForNull() && text != nullptr && absl::StartsWith(*text, kNullKeyPrefix);
}

void SqliteScan::Pause() {
  if (current_ == nullptr) return;
  current_->Reset();
  current_ = nullptr;
}

absl::StatusOr<SqliteStatement> SqliteScan::Prepare() const {
  // Without the hint SQLite may sort the whole table for every stretch.
  const std::string index = table_.key_index.empty() ? "" : absl::StrCat(" INDEXED BY ", QuoteName(table_.key_index));
  // A key that may repeat is looked at again, so that its second row is not passed over; see StepBehindBound.
  const bool include = at_.from == From::kAt || table_.key_may_repeat;
  const std::string rowid = among_null_ ? QuoteName(table_.rowid_of_null_key) : "";
  const std::string order = among_null_ ? rowid : table_.KeySql();
  std::vector<std::string> conditions;
  if (among_null_) conditions.push_back(absl::StrCat(QuoteName(table_.key), " IS NULL"));
  if (at_.from != From::kFirst) {
    conditions.push_back(absl::StrCat(order, include ? " >= ?1" : " > ?1"));
  } else if (!among_null_ && table_.key_may_be_null) {
    conditions.push_back(absl::StrCat(QuoteName(table_.key), " IS NOT NULL"));
  }
  if (!among_null_ && range_.from.has_value()) {
    conditions.push_back(absl::StrCat(order, " >= ", KeyLiteral(ViewOf(*range_.from))));
  }
  if (!among_null_ && range_.before.has_value()) {
    conditions.push_back(absl::StrCat(order, " < ", KeyLiteral(ViewOf(*range_.before))));
  }
  return db_->Prepare(
      absl::StrCat("SELECT ", among_null_ ? absl::StrCat("'", kNullKeyPrefix, "' || ", rowid) : QuoteName(table_.key),
                   columns_.empty() ? "" : ", ", columns_, " FROM ", QuoteName(table_.name), index,
                   conditions.empty() ? "" : absl::StrCat(" WHERE ", absl::StrJoin(conditions, " AND ")), " ORDER BY ",
                   order, db_->rows_per_answer() > 0 ? " LIMIT ?2" : ""));
}

absl::StatusOr<SqliteStatement*> SqliteScan::Begin() {
  SqliteStatement* const statement = &statements_[among_null_ ? 1 : 0][static_cast<size_t>(at_.from)];
  if (!statement->prepared()) {
    ABSL_ASSIGN_OR_RETURN(*statement, Prepare());
  }
  if (at_.from != From::kFirst) {
    bound_ = at_.key;
    if (among_null_) {
      int64_t rowid = 0;
      const std::string& name = std::get<std::string>(bound_);
      if (!absl::SimpleAtoi(absl::string_view(name).substr(kNullKeyPrefix.size()), &rowid)) {
        return absl::InvalidArgumentError(absl::StrCat(table_.path, ": table `", table_.name, "`: no row is named `",
                                                       name, "`; expected ", kNullKeyPrefix, " and a number"));
      }
      statement->Bind(1, rowid);
    } else {
      statement->BindKey(1, ViewOf(bound_));
    }
  }
  limit_ = db_->rows_per_answer();
  if (limit_ > 0) statement->Bind(2, limit_);
  rows_in_transaction_ = 0;
  return statement;
}

// Whether it is the key the walk is at already.
bool SqliteScan::IsAtKey(const SqliteValue& key) const {
  if (const auto* number = std::get_if<int64_t>(&at_.key)) {
    return key.type == SqliteType::kInteger && key.integer == *number;
  }
  return key.type == SqliteType::kText && key.bytes == std::get<std::string>(at_.key);
}

absl::Status SqliteScan::TakeKey() {
  const SqliteValue key = current_->Value(0);
  const SqliteType type = key.type;
  const auto refuse = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(
        table_.path, ": table `", table_.name, "`: key `", table_.key, "`", what, "; ",
        table_.has_rowid && !table_.key_may_repeat ? "use key=rowid" : "use a column that is unique and complete"));
  };
  if (type == SqliteType::kNull) return refuse(" is NULL in some rows");
  if (type == SqliteType::kBlob) return refuse(": expected an integer or a text, got a blob");
  if (type == SqliteType::kReal) return refuse(": expected an integer or a text, got a real number");
  if (at_.from == From::kBehind && IsAtKey(key))
    return refuse(absl::StrCat(": ", KeyText(ViewOf(at_.key)), " is there twice"));
  if (type == SqliteType::kInteger) {
    at_.key = key.integer;
  } else if (auto* text = std::get_if<std::string>(&at_.key)) {
    text->assign(key.bytes.data(), key.bytes.size());
  } else {
    at_.key = std::string(key.bytes);
  }
  at_.from = From::kBehind;
  return absl::OkStatus();
}

absl::StatusOr<bool> SqliteScan::StepBehindBound() {
  const bool begins = current_ == nullptr;
  if (begins) {
    ABSL_ASSIGN_OR_RETURN(current_, Begin());
  }
  absl::StatusOr<bool> row = current_->Step();
  const bool seen =
      begins && at_.from == From::kBehind && table_.key_may_repeat && row.ok() && *row && IsAtKey(current_->Value(0));
  if (!seen) return row;
  ++rows_in_transaction_;
  return current_->Step();
}

absl::StatusOr<bool> SqliteScan::StepThroughPages() {
  absl::StatusOr<bool> row = StepBehindBound();
  while (limit_ > 0 && (row.ok() ? !*row && rows_in_transaction_ >= limit_
                                 : absl::IsOutOfRange(row.status()) && db_->rows_per_answer() < limit_)) {
    // The page has ended, not the table; or the rows were too long for one answer, and fewer are asked for.
    current_ = nullptr;
    row = StepBehindBound();
  }
  return row;
}

absl::StatusOr<bool> SqliteScan::Next() {
  if (limit_ == 0 && rows_in_transaction_ >= kRowsPerTransaction) Pause();
  // Nearly always the statement is under way, and gives its next row.
  absl::StatusOr<bool> row = limit_ == 0 && current_ != nullptr ? current_->Step() : StepThroughPages();
  if (among_null_ && row.ok() && !*row) {
    SeekToStart();
    among_null_ = false;
    row = StepThroughPages();
  }
  if (!row.ok() || !*row) {
    current_ = nullptr;
    return row;
  }
  ++rows_in_transaction_;
  absl::Status status = TakeKey();
  if (!status.ok()) {
    Pause();
    return status;
  }
  return true;
}

}  // namespace reembed
