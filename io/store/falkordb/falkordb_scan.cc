// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr PageSize::Limits kPages{.most_rows = 2048};

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
    : nodes_(nodes), property_(nodes->Property(property)), where_(std::move(where)), walk_(this, kPages) {}

KeyView FalkorScan::KeyAt(size_t row) const { return KeyOfCell((*page_)(row, 0)); }

absl::Status FalkorScan::Seek(PageStart::From from, KeyView key) {
  if (!CanBeFalkorKey(*nodes_, key)) {
    return absl::InvalidArgumentError(
        nodes_->Message(absl::StrCat("`", KeyText(key), "` cannot be a key `", nodes_->asked.key, "`")));
  }
  walk_.Seek({from, Own(key)});
  return absl::OkStatus();
}

absl::Status FalkorScan::SeekTo(KeyView key) { return Seek(PageStart::From::kAt, key); }
absl::Status FalkorScan::SeekAfter(KeyView key) { return Seek(PageStart::From::kBehind, key); }

absl::StatusOr<bool> FalkorScan::Find(KeyView key) {
  if (!CanBeFalkorKey(*nodes_, key)) return false;
  return walk_.Find(key);
}

// Without an upper bound the server walks all nodes behind the last key and sorts them, for each page. One list of
// keys, read once, makes the pages small ranges. Where the server refuses it, the walk is slower and no less right.
void FalkorScan::LoadBounds() {
  has_bounds_ = true;
  if (nodes_->rows <= static_cast<int64_t>(kPages.most_rows)) return;
  const absl::StatusOr<FalkorRows> rows =
      nodes_->graph->Query(absl::StrCat(nodes_->Match(), " WHERE ", where_, " WITH ", nodes_->Key(),
                                        " AS k ORDER BY k WITH collect(k) AS ks RETURN [i IN range(", kPages.most_rows,
                                        ", size(ks) - 1, ", kPages.most_rows, ") | ks[i]]"));
  if (!rows.ok() || rows->size() != 1) return;
  const FalkorCell list = (*rows)(0, 0);
  for (size_t i = 0; i < list.size(); ++i) bounds_.push_back(Own(KeyOfCell(list[i])));
}

std::string FalkorScan::Range(const PageStart& start) const {
  if (start.from == PageStart::From::kFirst) return "";
  return absl::StrCat(nodes_->ComparableKey(), start.from == PageStart::From::kAt ? " >= $from AND " : " > $from AND ");
}

absl::StatusOr<FalkorRows> FalkorScan::Ask(const PageStart& start, size_t max_rows, const std::optional<Key>& bound) {
  std::string cypher = "CYPHER ";
  if (start.from != PageStart::From::kFirst) {
    cypher += "from=";
    AppendFalkorKey(ViewOf(start.key), &cypher);
  }
  if (bound.has_value()) {
    cypher += " to=";
    AppendFalkorKey(ViewOf(*bound), &cypher);
  }
  if (start.from == PageStart::From::kFirst && !bound.has_value()) cypher.clear();
  absl::StrAppend(&cypher, " ", nodes_->Match(), " WHERE ", Range(start),
                  bound.has_value() ? absl::StrCat(nodes_->ComparableKey(), " <= $to AND ") : "", where_, " RETURN ",
                  nodes_->Key(), " AS k, ", property_, " AS p ORDER BY k LIMIT ", max_rows);
  return nodes_->graph->Query(cypher);
}

absl::StatusOr<Page> FalkorScan::ReadPage(const PageStart& start, size_t max_rows) {
  page_.reset();
  Page page{.more = false};
  ABSL_RETURN_IF_ERROR(nodes_->graph->client()->Persist([&]() -> absl::Status {
    if (!has_bounds_) LoadBounds();
    PageStart from = start;
    while (true) {
      std::optional<Key> bound;
      const auto next = from.from == PageStart::From::kFirst
                            ? bounds_.begin()
                            : std::upper_bound(bounds_.begin(), bounds_.end(), from.key);
      if (next != bounds_.end()) bound = *next;
      ABSL_ASSIGN_OR_RETURN(FalkorRows rows, Ask(from, max_rows, bound));
      if (rows.size() > 0) {
        page = {.rows = rows.size()};
        for (size_t row = 0; row < rows.size(); ++row) page.bytes += BytesOf(rows(row, 1)) + 64;
        page_ = std::move(rows);
        return absl::OkStatus();
      }
      if (!bound.has_value()) return CheckEnd(from);
      from = {PageStart::From::kBehind, *std::move(bound)};
    }
  }));
  return page;
}

absl::Status FalkorScan::CheckEnd(const PageStart& start) {
  std::string cypher;
  if (start.from != PageStart::From::kFirst) {
    cypher = "CYPHER from=";
    AppendFalkorKey(ViewOf(start.key), &cypher);
  }
  absl::StrAppend(&cypher, " ", nodes_->Match(), " WHERE ", Range(start), where_, " RETURN count(n)");
  const absl::StatusOr<int64_t> rest = nodes_->graph->Count(cypher);
  if (!rest.ok() || *rest == 0) return rest.status();
  // One that was added since, or one that is not shown; the same question again tells which.
  ABSL_ASSIGN_OR_RETURN(const FalkorRows again, Ask(start, 1, std::nullopt));
  if (again.size() > 0) return absl::UnavailableError(nodes_->Message("nodes are being added"));
  return absl::DataLossError(nodes_->Message(absl::StrCat("the server counts ", Counted(*rest, "node", "nodes"),
                                                          " more than it shows; set RESULTSET_SIZE to -1 there")));
}

}  // namespace reembed
