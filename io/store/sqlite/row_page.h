// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_ROW_PAGE_H_
#define REEMBED_IO_STORE_SQLITE_ROW_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/key.h"
#include "engine/source.h"

namespace reembed {

// Some rows, copied out of their store, so that nothing of it is held while they are used. First rows are added, then
// they are taken in the same order. Why a row has no text (RowView::problem) is not kept. Not thread-safe.
class RowPage {
 public:
  // Full enough: `rows` rows, or 1 MiB of keys and texts.
  bool holds(size_t rows) const { return rows_.size() >= rows || bytes_.size() >= kBytes; }
  bool exhausted() const { return next_ == rows_.size(); }

  void Clear() {
    rows_.clear();
    next_ = 0;
    // One huge text must not cost its memory for the rest of the run.
    if (bytes_.capacity() > 4 * kBytes) std::string().swap(bytes_);
    bytes_.clear();
  }

  void Add(KeyView key, std::optional<absl::string_view> text) {
    Row& row = rows_.emplace_back();
    if (const auto* number = std::get_if<int64_t>(&key)) {
      row.number = *number;
    } else {
      row.key = Append(std::get<absl::string_view>(key));
    }
    if (text.has_value()) row.text = Append(*text);
  }

  // Precondition: !exhausted(). Fills a view that is new, with bytes of this page.
  void Take(RowView* view) {
    const Row& row = rows_[next_++];
    if (row.key.begin < 0) {
      view->key = row.number;
    } else {
      view->key = At(row.key);
    }
    if (row.text.begin >= 0) view->text = At(row.text);
  }

 private:
  static constexpr size_t kBytes = size_t{1} << 20;

  struct Piece {
    int64_t begin = -1;  // -1: there is none
    int64_t size = 0;
  };
  struct Row {
    int64_t number = 0;  // the key, unless it is a text
    Piece key, text;
  };
  Piece Append(absl::string_view bytes) {
    const Piece piece{static_cast<int64_t>(bytes_.size()), static_cast<int64_t>(bytes.size())};
    bytes_.append(bytes.data(), bytes.size());
    return piece;
  }
  absl::string_view At(Piece piece) const { return {bytes_.data() + piece.begin, static_cast<size_t>(piece.size)}; }

  std::vector<Row> rows_;
  std::string bytes_;
  size_t next_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_ROW_PAGE_H_
