// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kPageBytes = size_t{1} << 20;
constexpr size_t kMaxPageRows = 4096;
constexpr size_t kMaxFindRows = 512;

}  // namespace

PostgresScan::PostgresScan(PostgresConnection* connection, PostgresTable table, std::string cell, std::string where)
    : connection_(connection), table_(std::move(table)), cell_(std::move(cell)), where_(std::move(where)) {}

void PostgresScan::DropPage() {
  page_.clear();
  bytes_.clear();
  // One huge cell must not cost its memory for the rest of the run.
  if (bytes_.capacity() > 4 * kPageBytes) std::string().swap(bytes_);
  at_ = next_ = 0;
  at_end_ = false;
}

void PostgresScan::SeekToStart() {
  DropPage();
  from_ = From::kStart;
}

absl::Status PostgresScan::SeekTo(KeyView key) {
  std::optional<std::string> text = PostgresKeyText(table_, key);
  if (!text.has_value()) {
    return absl::InvalidArgumentError(
        table_.Message(absl::StrCat("`", KeyText(key), "` cannot be in the key column `", table_.key, "`")));
  }
  DropPage();
  from_ = From::kAt;
  from_key_ = *std::move(text);
  return absl::OkStatus();
}

absl::Status PostgresScan::SeekAfter(KeyView key) {
  ABSL_RETURN_IF_ERROR(SeekTo(key));
  from_ = From::kBehind;
  return absl::OkStatus();
}

absl::Status PostgresScan::ReadPage(size_t max_rows) {
  const std::string sql = absl::StrCat(
      "SELECT ", table_.KeyResultSql(), ", ", cell_, " FROM ", table_.Sql(), " WHERE ",
      from_ == From::kStart ? "" : absl::StrCat(table_.KeySql(), from_ == From::kAt ? " >= $1 AND " : " > $1 AND "),
      where_, " ORDER BY ", table_.KeySql(), " LIMIT ", max_rows);
  const PostgresValue key = PostgresValue::Text(from_key_);
  const absl::Status status = connection_->Persist([&] {
    DropPage();
    bool whole = true;
    absl::Status read = connection_->Stream(
        sql, absl::MakeConstSpan(&key, from_ == From::kStart ? 0 : 1), [&](const PostgresRows& row) {
          if (bytes_.size() >= kPageBytes) whole = false;
          if (!whole) return false;
          const absl::string_view cell = row.Bytes(0, 1);
          page_.push_back({Own(PostgresKeyOf(table_, row)), bytes_.size(), cell.size(), row.IsNull(0, 1)});
          bytes_.append(cell.data(), cell.size());
          return true;
        });
    at_end_ = whole && page_.size() < max_rows;
    return read;
  });
  if (!status.ok()) {
    DropPage();
    return status;
  }
  if (!page_.empty()) {
    from_ = From::kBehind;
    from_key_ = KeyText(ViewOf(page_.back().key));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> PostgresScan::Next() {
  if (next_ == page_.size()) {
    if (at_end_ && !page_.empty()) return false;
    ABSL_RETURN_IF_ERROR(ReadPage(page_rows_));
    if (page_.empty()) return false;
    page_rows_ = std::clamp(kPageBytes / (bytes_.size() / page_.size() + 16), size_t{16}, kMaxPageRows);
  }
  at_ = next_++;
  return true;
}

absl::StatusOr<bool> PostgresScan::Find(KeyView key) {
  const std::optional<std::string> text = PostgresKeyText(table_, key);
  if (!text.has_value()) return false;
  const auto is_it = [&](const Row& row) { return KeyText(ViewOf(row.key)) == *text; };
  const auto ahead = std::find_if(page_.begin() + static_cast<ptrdiff_t>(next_), page_.end(), is_it);
  if (ahead != page_.end()) {
    at_ = static_cast<size_t>(ahead - page_.begin());
    next_ = at_ + 1;
    find_rows_ = std::min(2 * find_rows_, kMaxFindRows);
    return true;
  }
  // Keys that come in another order should not fetch rows that nobody asks for.
  if (next_ < page_.size()) find_rows_ = 1;
  if (next_ == page_.size() && find_rows_ == 1) find_rows_ = 2;
  ABSL_RETURN_IF_ERROR(SeekTo(key));
  ABSL_RETURN_IF_ERROR(ReadPage(find_rows_));
  if (!page_.empty() && is_it(page_.front())) {
    at_ = 0;
    next_ = 1;
    return true;
  }
  // What was read is behind the key.
  return false;
}

std::optional<absl::string_view> PostgresScan::cell() const {
  if (page_[at_].is_null) return std::nullopt;
  return absl::string_view(bytes_).substr(page_[at_].begin, page_[at_].size);
}

}  // namespace reembed
