// SPDX-License-Identifier: Apache-2.0
#include "engine/page_walk.h"

#include <algorithm>
#include <utility>

#include "engine/status_macros.h"

namespace reembed {
namespace {

// One page tells little of the next where texts differ much in length.
constexpr size_t kMostGrowth = 8;
// Each full page lets the next be so much longer after one that was too much: a server that was too slow is asked for
// as much again some twenty pages later.
constexpr size_t kRegrowth = 16;

}  // namespace

PageSize::PageSize(const Limits& limits)
    : limits_(limits), most_(limits.most_rows), fit_(limits.most_rows), rows_(limits.first_rows) {}

size_t PageSize::found_rows() const { return std::min({found_, most_, fit_}); }

void PageSize::Came(size_t asked, size_t rows, size_t bytes) {
  if (rows == 0) return;
  // A short page tells that rows are long, and not that more of them would do.
  const bool full = rows >= asked;
  if (full) most_ = std::min(limits_.most_rows, most_ + most_ / kRegrowth + 1);
  fit_ = std::max(limits_.least_rows, limits_.page_bytes / (bytes / rows + 1));
  rows_ = std::max(limits_.fewest_rows, std::min({fit_, most_, full ? std::max(rows_, kMostGrowth * asked) : rows_}));
}

bool PageSize::TooMuch(size_t* rows) {
  if (*rows <= limits_.fewest_rows) return false;
  most_ = *rows = std::max(limits_.fewest_rows, *rows / 4);
  rows_ = std::min(rows_, most_);
  return true;
}

void PageSize::Hit() { found_ = std::min(2 * found_, limits_.most_found); }

void PageSize::Missed(bool unread) { found_ = unread ? 1 : std::max<size_t>(found_, 2); }

void PageWalk::Seek(PageStart start) {
  start_ = std::move(start);
  page_ = {};
  at_ = next_ = 0;
}

absl::Status PageWalk::ReadPage(size_t max_rows) {
  page_ = {};
  at_ = next_ = 0;
  absl::StatusOr<Page> page = reader_->ReadPage(start_, max_rows);
  while (!page.ok() && reader_->IsTooMuch(page.status()) && size_.TooMuch(&max_rows)) {
    page = reader_->ReadPage(start_, max_rows);
  }
  ABSL_RETURN_IF_ERROR(page.status());
  page_ = *std::move(page);
  size_.Came(max_rows, page_.rows, page_.bytes);
  page_start_ = start_;
  if (page_.next.has_value()) {
    start_ = *page_.next;
  } else if (page_.rows > 0) {
    start_ = {PageStart::From::kBehind, Own(reader_->KeyAt(page_.rows - 1))};
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> PageWalk::Next() {
  while (next_ == page_.rows) {
    if (!page_.more) return false;
    ABSL_RETURN_IF_ERROR(ReadPage(size_.walk_rows()));
  }
  at_ = next_++;
  return true;
}

bool PageWalk::Covers(KeyView key) const {
  if (next_ == 0 && page_start_.from == PageStart::From::kFirst) return false;
  const KeyView passed = next_ > 0 ? reader_->KeyAt(next_ - 1) : ViewOf(page_start_.key);
  if (!reader_->IsBefore(passed, key)) return false;
  return !page_.more || (page_.rows > 0 && reader_->IsBefore(key, reader_->KeyAt(page_.rows - 1)));
}

absl::StatusOr<bool> PageWalk::Find(KeyView key) {
  for (size_t row = next_; row < page_.rows; ++row) {
    if (reader_->KeyAt(row) != key) continue;
    at_ = row;
    next_ = row + 1;
    size_.Hit();
    return true;
  }
  // Rows that are gone from the middle of a page cost no question.
  if (Covers(key)) {
    while (next_ < page_.rows && reader_->IsBefore(reader_->KeyAt(next_), key)) ++next_;
    return false;
  }
  size_.Missed(next_ < page_.rows);
  const Key wanted = Own(key);  // `key` may be of the page
  Seek({PageStart::From::kAt, wanted});
  ABSL_RETURN_IF_ERROR(ReadPage(size_.found_rows()));
  if (page_.rows == 0 || reader_->KeyAt(0) != ViewOf(wanted)) return false;  // what was read is behind the key
  next_ = 1;
  return true;
}

}  // namespace reembed
