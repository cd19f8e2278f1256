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
#include "io/store/falkordb/falkordb_nodes.h"

namespace reembed {

// A walk over nodes in the order of their keys, as the server orders them. It reads pages, each by a query of its own
// that begins behind the last key, so it holds nothing on the server, and a server that restarts is picked up.
//
// The server may cut any answer without saying so (RESULTSET_SIZE). So a short page is never taken for the end: the
// walk ends when the server counts no node behind the last key.
//
// Borrows `nodes`. Used by one thread. Memory: one page, about 1 MiB, and every 2,048th key.
class FalkorScan {
 public:
  // `property`: what to show of each node; `where`: Cypher condition over `n`.
  FalkorScan(const FalkorNodes* nodes, const std::string& property, std::string where);
  FalkorScan(const FalkorScan&) = delete;
  FalkorScan& operator=(const FalkorScan&) = delete;

  // Next() goes on behind this key. Errors: kInvalidArgument (no node can have it).
  absl::Status SeekAfter(KeyView key);
  absl::Status SeekTo(KeyView key);  // at this key, or the first one behind it

  // To the next node; false at the end. Errors: as RespClient; then the same call tries again. kDataLoss: the server
  // counts nodes that it does not show.
  absl::StatusOr<bool> Next();

  // To the node with this key; false: there is none. Reads ahead when keys are asked for in order. Next() goes on
  // behind the key.
  absl::StatusOr<bool> Find(KeyView key);

  // The node that Next() or Find() came to; both die at the next call of anything else.
  KeyView key() const { return KeyOf(at_); }
  FalkorCell cell() const { return (*page_)(at_, 1); }

 private:
  enum class From { kStart, kAt, kBehind };
  KeyView KeyOf(size_t row) const;
  void LoadBounds();
  // The next page; none at the end.
  absl::Status ReadPage(size_t max_rows);
  absl::StatusOr<FalkorRows> Ask(size_t max_rows, const std::optional<Key>& bound);
  absl::Status CheckEnd();
  std::string Range() const;
  void DropPage();

  const FalkorNodes* const nodes_;
  const std::string property_, where_;
  From from_ = From::kStart;  // of the next page
  Key from_key_;
  bool has_bounds_ = false;
  std::vector<Key> bounds_;  // ascending keys, some thousand nodes apart when they were read; only hints
  std::optional<FalkorRows> page_;
  size_t rows_ = 0;  // of the page
  size_t at_ = 0;    // of the current node
  size_t next_ = 0;  // of the node that Next() comes to
  size_t page_rows_ = 64;
  size_t find_rows_ = 1;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_SCAN_H_
