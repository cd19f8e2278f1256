// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kPageBytes = size_t{1} << 20;
constexpr size_t kMaxPageRows = 2048;
constexpr size_t kMaxFindRows = 512;

size_t BytesOf(const FalkorCell& cell) {
  const FalkorCell::Type type = cell.type();
  // A number of a vector is a reply object of its own.
  return type == FalkorCell::Type::kVector || type == FalkorCell::Type::kArray ? 64 * cell.size() : cell.Text().size();
}

KeyView KeyOfCell(const FalkorCell& cell) {
  if (cell.type() == FalkorCell::Type::kInteger) return cell.Integer();
  return cell.Text();
}

}  // namespace

FalkorScan::FalkorScan(const FalkorNodes* nodes, const std::string& property, std::string where)
    : nodes_(nodes), property_(nodes->Property(property)), where_(std::move(where)) {}

KeyView FalkorScan::KeyOf(size_t row) const { return KeyOfCell((*page_)(row, 0)); }

void FalkorScan::DropPage() {
  page_.reset();
  rows_ = at_ = next_ = 0;
}

absl::Status FalkorScan::SeekTo(KeyView key) {
  if (!CanBeFalkorKey(*nodes_, key)) {
    return absl::InvalidArgumentError(
        nodes_->Message(absl::StrCat("`", KeyText(key), "` cannot be a key `", nodes_->asked.key, "`")));
  }
  from_key_ = Own(key);
  from_ = From::kAt;
  DropPage();
  return absl::OkStatus();
}

absl::Status FalkorScan::SeekAfter(KeyView key) {
  ABSL_RETURN_IF_ERROR(SeekTo(key));
  from_ = From::kBehind;
  return absl::OkStatus();
}

// Without an upper bound the server walks all nodes behind the last key and sorts them, for each page. One list of
// keys, read once, makes the pages small ranges. Where the server refuses it, the walk is slower and no less right.
void FalkorScan::LoadBounds() {
  has_bounds_ = true;
  if (nodes_->rows <= static_cast<int64_t>(kMaxPageRows)) return;
  const absl::StatusOr<FalkorRows> rows =
      nodes_->graph->Query(absl::StrCat(nodes_->Match(), " WHERE ", where_, " WITH ", nodes_->Key(),
                                        " AS k ORDER BY k WITH collect(k) AS ks RETURN [i IN range(", kMaxPageRows,
                                        ", size(ks) - 1, ", kMaxPageRows, ") | ks[i]]"));
  if (!rows.ok() || rows->size() != 1) return;
  const FalkorCell list = (*rows)(0, 0);
  for (size_t i = 0; i < list.size(); ++i) bounds_.push_back(Own(KeyOfCell(list[i])));
}

std::string FalkorScan::Range() const {
  if (from_ == From::kStart) return "";
  return absl::StrCat(nodes_->ComparableKey(), from_ == From::kAt ? " >= $from AND " : " > $from AND ");
}

absl::StatusOr<FalkorRows> FalkorScan::Ask(size_t max_rows, const std::optional<Key>& bound) {
  std::string cypher = "CYPHER ";
  if (from_ != From::kStart) {
    cypher += "from=";
    AppendFalkorKey(ViewOf(from_key_), &cypher);
  }
  if (bound.has_value()) {
    cypher += " to=";
    AppendFalkorKey(ViewOf(*bound), &cypher);
  }
  if (from_ == From::kStart && !bound.has_value()) cypher.clear();
  absl::StrAppend(&cypher, " ", nodes_->Match(), " WHERE ", Range(),
                  bound.has_value() ? absl::StrCat(nodes_->ComparableKey(), " <= $to AND ") : "", where_, " RETURN ",
                  nodes_->Key(), " AS k, ", property_, " AS p ORDER BY k LIMIT ", max_rows);
  return nodes_->graph->Query(cypher);
}

absl::Status FalkorScan::ReadPage(size_t max_rows) {
  DropPage();
  return nodes_->graph->client()->Persist([&]() -> absl::Status {
    if (!has_bounds_) LoadBounds();
    while (true) {
      std::optional<Key> bound;
      const auto next =
          from_ == From::kStart ? bounds_.begin() : std::upper_bound(bounds_.begin(), bounds_.end(), from_key_);
      if (next != bounds_.end()) bound = *next;
      absl::StatusOr<FalkorRows> rows = Ask(max_rows, bound);
      // TIMEOUT of the server: a smaller page may be in time.
      if (absl::IsDeadlineExceeded(rows.status()) && max_rows > 1) {
        page_rows_ = max_rows = std::max<size_t>(1, max_rows / 4);
        continue;
      }
      ABSL_RETURN_IF_ERROR(rows.status());
      if (rows->size() > 0) {
        rows_ = rows->size();
        page_ = *std::move(rows);
        from_ = From::kBehind;
        from_key_ = Own(KeyOf(rows_ - 1));
        return absl::OkStatus();
      }
      if (!bound.has_value()) return CheckEnd();
      from_ = From::kBehind;
      from_key_ = *std::move(bound);
    }
  });
}

absl::Status FalkorScan::CheckEnd() {
  std::string cypher;
  if (from_ != From::kStart) {
    cypher = "CYPHER from=";
    AppendFalkorKey(ViewOf(from_key_), &cypher);
  }
  absl::StrAppend(&cypher, " ", nodes_->Match(), " WHERE ", Range(), where_, " RETURN count(n)");
  const absl::StatusOr<int64_t> rest = nodes_->graph->Count(cypher);
  if (!rest.ok() || *rest == 0) return rest.status();
  // One that was added since, or one that is not shown; the same question again tells which.
  ABSL_ASSIGN_OR_RETURN(const FalkorRows again, Ask(1, std::nullopt));
  if (again.size() > 0) return absl::UnavailableError(nodes_->Message("nodes are being added"));
  return absl::DataLossError(nodes_->Message(absl::StrCat("the server counts ", Counted(*rest, "node", "nodes"),
                                                          " more than it shows; set RESULTSET_SIZE to -1 there")));
}

absl::StatusOr<bool> FalkorScan::Next() {
  if (next_ == rows_) {
    ABSL_RETURN_IF_ERROR(ReadPage(page_rows_));
    if (rows_ == 0) return false;
    size_t bytes = 0;
    for (size_t row = 0; row < rows_; ++row) bytes += BytesOf((*page_)(row, 1)) + 64;
    page_rows_ = std::clamp(kPageBytes / (bytes / rows_ + 1), size_t{16}, kMaxPageRows);
  }
  at_ = next_++;
  return true;
}

absl::StatusOr<bool> FalkorScan::Find(KeyView key) {
  if (!CanBeFalkorKey(*nodes_, key)) return false;
  for (size_t row = next_; row < rows_; ++row) {
    if (KeyOf(row) != key) continue;
    at_ = row;
    next_ = row + 1;
    find_rows_ = std::min(2 * find_rows_, kMaxFindRows);
    return true;
  }
  // Keys that come in another order should not fetch nodes that nobody asks for.
  find_rows_ = next_ < rows_ ? 1 : std::max<size_t>(find_rows_, 2);
  const Key wanted = Own(key);
  ABSL_RETURN_IF_ERROR(SeekTo(ViewOf(wanted)));
  ABSL_RETURN_IF_ERROR(ReadPage(find_rows_));
  if (rows_ == 0 || KeyOf(0) != ViewOf(wanted)) return false;  // what was read is behind the key
  at_ = 0;
  next_ = 1;
  return true;
}

}  // namespace reembed
