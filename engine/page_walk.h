// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PAGE_WALK_H_
#define REEMBED_ENGINE_PAGE_WALK_H_

#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/key.h"

// Reading rows of a store in the order of their keys, a page at a time: each page is a question of its own that begins
// behind the last key, so between two of them nothing is held there, rows that change meanwhile shift nothing, and a
// server that restarts is picked up.
namespace reembed {

// How many rows to ask for: as many as fit into a page of so many bytes, fewer after a page that was too much.
// Pure logic. Used by one thread.
class PageSize {
 public:
  struct Limits {
    size_t first_rows = 64;
    size_t least_rows = 16;   // of rows that are long; a page that is too much may have fewer
    size_t fewest_rows = 1;   // of any page
    size_t most_rows = 4096;  // of a page of a walk
    size_t most_found = 512;  // of a page that begins at a key that was asked for
    size_t page_bytes = size_t{1} << 20;
  };

  explicit PageSize(const Limits& limits);

  // Of the next page of a walk, and of one that begins at a key that was asked for.
  size_t walk_rows() const { return rows_; }
  size_t found_rows() const;

  // A page of `rows` rows and so many bytes came, where `asked` were asked for.
  void Came(size_t asked, size_t rows, size_t bytes);

  // A page of *rows was too much: too long, or too slow. Sets how many to ask for in its place; later pages have few as
  // well, and grow again slowly. False: there is no smaller page.
  bool TooMuch(size_t* rows);

  // A key that was asked for was on the page; or it was not, where rows of the page are `unread`. Keys that come in
  // another order should not fetch rows that nobody asks for.
  void Hit();
  void Missed(bool unread);

 private:
  const Limits limits_;
  size_t most_;  // what was not too much
  size_t fit_;   // of rows as long as the last ones
  size_t rows_;
  size_t found_ = 1;
};

// Where a page begins, in the order of the store's keys.
struct PageStart {
  enum class From { kFirst, kAt, kBehind };
  From from = From::kFirst;
  Key key;  // at it or the first one behind it, or only behind it
};

// What a page turned out to be.
struct Page {
  size_t rows = 0;
  size_t bytes = 0;               // about what they take
  bool more = true;               // rows may follow; a page without rows must say where they begin
  std::optional<PageStart> next;  // where the next page begins; nullopt: behind the last row
};

// How one store reads a page, and keeps it until the next.
class PageReader {
 public:
  virtual ~PageReader() = default;

  // Replaces the page by one that begins at `start` and has at most so many rows. Errors: the store's; then no page is
  // there, and the same page may be asked for again.
  virtual absl::StatusOr<Page> ReadPage(const PageStart& start, size_t max_rows) = 0;

  // Whether such an error means that fewer rows may do.
  virtual bool IsTooMuch(const absl::Status&) const { return false; }

  // The key of a row of the page, in the form that keys to seek have.
  virtual KeyView KeyAt(size_t row) const = 0;

  // Whether the store has `a` before `b`; false also where only the store knows.
  virtual bool IsBefore(KeyView, KeyView) const { return false; }
};

// A walk over rows by pages. Used by one thread; the reader is borrowed.
class PageWalk {
 public:
  PageWalk(PageReader* reader, const PageSize::Limits& limits) : reader_(reader), size_(limits) {}
  PageWalk(const PageWalk&) = delete;
  PageWalk& operator=(const PageWalk&) = delete;

  // Where Next() goes on. Default: the first row.
  void Seek(PageStart start);

  // To the next row; false at the end. Errors: the reader's; then the same call tries again.
  absl::StatusOr<bool> Next();

  // To the row with this key; false: there is none. Reads ahead when keys are asked for in the order of the store.
  // Next() goes on behind the key.
  absl::StatusOr<bool> Find(KeyView key);

  // The row of the page that Next() or Find() came to.
  size_t at() const { return at_; }

 private:
  absl::Status ReadPage(size_t max_rows);
  // Whether the page would show the row with this key, which is not on it.
  bool Covers(KeyView key) const;

  PageReader* const reader_;
  PageSize size_;
  PageStart start_;       // of the next page
  PageStart page_start_;  // of this one
  Page page_;
  size_t at_ = 0;
  size_t next_ = 0;  // row of the page that Next() comes to
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PAGE_WALK_H_
