// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_SCAN_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_SCAN_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {

// A walk over rows of a table in the order of their keys, as the database orders them. It reads pages, each by a
// statement of its own, so between two calls it holds no transaction, no lock and no snapshot: vacuum goes on, rows
// that change under the walk shift nothing, and a server that restarts is picked up behind the last key. Memory: one
// page, about 1 MiB, or the longest cell when that is longer.
//
// Borrows `connection`. Used by one thread.
class PostgresScan {
 public:
  // `cell`: SQL expression to be shown; `where`: SQL condition, never NULL, on the rows to be shown.
  PostgresScan(PostgresConnection* connection, PostgresTable table, std::string cell, std::string where);
  PostgresScan(const PostgresScan&) = delete;
  PostgresScan& operator=(const PostgresScan&) = delete;

  // Where Next() goes on. Default: the first row. Errors: kInvalidArgument (the table cannot have such a key).
  void SeekToStart();
  absl::Status SeekTo(KeyView key);  // at this key, or the first one behind it
  absl::Status SeekAfter(KeyView key);

  // To the next row; false at the end. Errors: as PostgresConnection; then the same call tries again.
  absl::StatusOr<bool> Next();

  // To the row with this key; false: there is none. Reads ahead when keys are asked for in the order of the table.
  // Next() goes on behind the key.
  absl::StatusOr<bool> Find(KeyView key);

  // The row that Next() or Find() came to. Views die at the next call of anything but these two. nullopt: NULL.
  KeyView key() const { return ViewOf(page_[at_].key); }
  std::optional<absl::string_view> cell() const;

 private:
  struct Row {
    Key key;
    size_t begin = 0, size = 0;
    bool is_null = false;
  };
  enum class From { kStart, kAt, kBehind };
  absl::Status ReadPage(size_t max_rows);
  void DropPage();

  PostgresConnection* const connection_;
  const PostgresTable table_;
  const std::string cell_, where_;
  From from_ = From::kStart;  // of the next page
  std::string from_key_;      // in text form
  bool at_end_ = false;       // there was no row behind the page
  std::vector<Row> page_;
  std::string bytes_;
  size_t at_ = 0;    // of the current row
  size_t next_ = 0;  // of the row that Next() comes to
  size_t page_rows_ = 64;
  size_t find_rows_ = 1;  // to read ahead when a key is not in the page
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SCAN_H_
