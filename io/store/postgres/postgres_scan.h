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
#include "engine/page_walk.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {

// A walk over rows of a table in the order of their keys, as the database orders them. Each page is a statement of its
// own, so between two calls it holds no transaction, no lock and no snapshot, and vacuum goes on. Memory: one page,
// about 1 MiB, or the longest cell when that is longer.
//
// Borrows `connection`. Used by one thread.
class PostgresScan final : private PageReader {
 public:
  // `cell`: SQL expression to be shown; `where`: SQL condition, never NULL, on the rows to be shown.
  PostgresScan(PostgresConnection* connection, PostgresTable table, std::string cell, std::string where);
  PostgresScan(const PostgresScan&) = delete;
  PostgresScan& operator=(const PostgresScan&) = delete;

  // Where Next() goes on. Default: the first row. Errors: kInvalidArgument (the table cannot have such a key).
  absl::Status SeekTo(KeyView key);  // at this key, or the first one behind it
  absl::Status SeekAfter(KeyView key);

  // As PageWalk's. Errors: as PostgresConnection.
  absl::StatusOr<bool> Next() { return walk_.Next(); }
  absl::StatusOr<bool> Find(KeyView key);

  // The row that Next() or Find() came to. Views die at the next call of anything but these two. nullopt: NULL.
  KeyView key() const { return KeyAt(walk_.at()); }
  std::optional<absl::string_view> cell() const;

 private:
  struct Row {
    Key key;
    size_t begin = 0, size = 0;
    bool is_null = false;
  };
  absl::StatusOr<Page> ReadPage(const PageStart& start, size_t max_rows) override;
  KeyView KeyAt(size_t row) const override { return ViewOf(page_[row].key); }
  absl::Status Seek(PageStart::From from, KeyView key);
  void DropPage();

  PostgresConnection* const connection_;
  const PostgresTable table_;
  const std::string cell_, where_;
  std::vector<Row> page_;
  std::string bytes_;
  PageWalk walk_;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SCAN_H_
