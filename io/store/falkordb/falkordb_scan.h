// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_SCAN_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_SCAN_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/page_walk.h"
#include "io/store/falkordb/falkordb_nodes.h"

namespace reembed {

// A walk over nodes in the order of their keys, as the server orders them, by pages that are a query each.
//
// The server may cut any answer without saying so (RESULTSET_SIZE). So a short page is never taken for the end: the
// walk ends when the server counts no node behind the last key.
//
// Borrows `nodes`. Used by one thread. Memory: one page, about 1 MiB, and every 2,048th key.
class FalkorScan final : private PageReader {
 public:
  // `property`: what to show of each node; `where`: Cypher condition over `n`.
  FalkorScan(const FalkorNodes* nodes, const std::string& property, std::string where);
  FalkorScan(const FalkorScan&) = delete;
  FalkorScan& operator=(const FalkorScan&) = delete;

  // Where Next() goes on. Default: the first node. Errors: kInvalidArgument (no node can have such a key).
  absl::Status SeekAfter(KeyView key);
  absl::Status SeekTo(KeyView key);  // at this key, or the first one behind it

  // As PageWalk's. Errors: as RespClient; kDataLoss (the server counts nodes that it does not show).
  absl::StatusOr<bool> Next() { return walk_.Next(); }
  absl::StatusOr<bool> Find(KeyView key);

  // The node that Next() or Find() came to; both die at the next call of anything else.
  KeyView key() const { return KeyAt(walk_.at()); }
  FalkorCell cell() const { return (*page_)(walk_.at(), 1); }

 private:
  absl::StatusOr<Page> ReadPage(const PageStart& start, size_t max_rows) override;
  // TIMEOUT of the server: a smaller page may be in time.
  bool IsTooMuch(const absl::Status& status) const override { return absl::IsDeadlineExceeded(status); }
  KeyView KeyAt(size_t row) const override;
  absl::Status Seek(PageStart::From from, KeyView key);
  void LoadBounds();
  absl::StatusOr<FalkorRows> Ask(const PageStart& start, size_t max_rows, const std::optional<Key>& bound);
  absl::Status CheckEnd(const PageStart& start);
  std::string Range(const PageStart& start) const;

  const FalkorNodes* const nodes_;
  const std::string property_, where_;
  bool has_bounds_ = false;
  std::vector<Key> bounds_;  // ascending keys, some thousand nodes apart when they were read; only hints
  std::optional<FalkorRows> page_;
  PageWalk walk_;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_SCAN_H_
