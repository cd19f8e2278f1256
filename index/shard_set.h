// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_SHARD_SET_H_
#define REEMBED_INDEX_SHARD_SET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "index/index_files.h"

namespace reembed {

// One of several files of FAISS that are an index together: an IndexIDMap2 of the rows behind those of the shard
// before.
struct IndexShard {
  std::string file;  // its name, in the folder of the set
  int64_t rows = 0;  // at least 1
  FileMark mark;
  friend bool operator==(const IndexShard&, const IndexShard&) = default;
};

// What the file at the set's path says: a line of JSON for each.
std::string ShardLines(absl::Span<const IndexShard> shards);

// Reads that file, checked against `mark`. The shards are not looked at.
// Errors: as CheckFile(); kDataLoss also for a line of another form, a name with a folder in it, no shard, or more rows
// than `rows`, or fewer.
absl::StatusOr<std::vector<IndexShard>> ReadShards(const std::string& path, const FileMark& mark, int64_t rows);

// Bytes of the index at `path`, with those of its shards. Errors: as ReadShards().
absl::StatusOr<int64_t> IndexBytes(const std::string& path, const IndexDescription& description);

// Where the shard of the set at `path` is.
std::string ShardPath(absl::string_view path, const IndexShard& shard);

}  // namespace reembed

#endif  // REEMBED_INDEX_SHARD_SET_H_
