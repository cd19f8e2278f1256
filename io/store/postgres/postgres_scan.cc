// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_scan.h"

#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr PageSize::Limits kPages;

// The key as the table's rows have it; nullopt: none of them can.
std::optional<Key> KeyIn(const PostgresTable& table, KeyView key) {
  std::optional<std::string> text = PostgresKeyText(table, key);
  int64_t number = 0;
  if (!text.has_value() || table.key_kind != PostgresTable::KeyKind::kInteger) return text;
  if (!absl::SimpleAtoi(*text, &number)) return std::nullopt;
  return number;
}

}  // namespace

PostgresScan::PostgresScan(PostgresConnection* connection, PostgresTable table, std::string cell, std::string where)
    : connection_(connection),
      table_(std::move(table)),
      cell_(std::move(cell)),
      where_(std::move(where)),
      walk_(this, kPages) {}

void PostgresScan::DropPage() {
  page_.clear();
  bytes_.clear();
  // One huge cell must not cost its memory for the rest of the run.
  if (bytes_.capacity() > 4 * kPages.page_bytes) std::string().swap(bytes_);
}

absl::Status PostgresScan::Seek(PageStart::From from, KeyView key) {
  std::optional<Key> wanted = KeyIn(table_, key);
  if (!wanted.has_value()) {
    return absl::InvalidArgumentError(
        table_.Message(absl::StrCat("`", KeyText(key), "` cannot be in the key column `", table_.key, "`")));
  }
  walk_.Seek({from, *std::move(wanted)});
  return absl::OkStatus();
}

absl::Status PostgresScan::SeekTo(KeyView key) { return Seek(PageStart::From::kAt, key); }
absl::Status PostgresScan::SeekAfter(KeyView key) { return Seek(PageStart::From::kBehind, key); }

absl::StatusOr<bool> PostgresScan::Find(KeyView key) {
  const std::optional<Key> wanted = KeyIn(table_, key);
  if (!wanted.has_value()) return false;
  return walk_.Find(ViewOf(*wanted));
}

absl::StatusOr<Page> PostgresScan::ReadPage(const PageStart& start, size_t max_rows) {
  const bool first = start.from == PageStart::From::kFirst;
  const std::string sql = absl::StrCat(
      "SELECT ", table_.KeyResultSql(), ", ", cell_, " FROM ", table_.Sql(), " WHERE ",
      first ? "" : absl::StrCat(table_.KeySql(), start.from == PageStart::From::kAt ? " >= $1 AND " : " > $1 AND "),
      where_, " ORDER BY ", table_.KeySql(), " LIMIT ", max_rows);
  const std::string key = KeyText(ViewOf(start.key));
  const PostgresValue value = PostgresValue::Text(key);
  bool whole = true;
  ABSL_RETURN_IF_ERROR(connection_->Persist([&] {
    DropPage();
    whole = true;
    return connection_->Stream(sql, absl::MakeConstSpan(&value, first ? 0 : 1), [&](const PostgresRows& row) {
      if (bytes_.size() >= kPages.page_bytes) whole = false;
      if (!whole) return false;
      const absl::string_view cell = row.Bytes(0, 1);
      page_.push_back({Own(PostgresKeyOf(table_, row)), bytes_.size(), cell.size(), row.IsNull(0, 1)});
      bytes_.append(cell.data(), cell.size());
      return true;
    });
  }));
  return Page{
      .rows = page_.size(), .bytes = bytes_.size() + 16 * page_.size(), .more = !whole || page_.size() == max_rows};
}

std::optional<absl::string_view> PostgresScan::cell() const {
  const Row& row = page_[walk_.at()];
  if (row.is_null) return std::nullopt;
  return absl::string_view(bytes_).substr(row.begin, row.size);
}

}  // namespace reembed
