// SPDX-License-Identifier: Apache-2.0
// The list of the files that an index is in.
#include <string>

#include "index/shard_set.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const auto read = [&](absl::string_view lines, int64_t rows) {
    Checksum checksum;
    checksum.Add(lines.data(), lines.size());
    const FileMark mark{.bytes = static_cast<int64_t>(lines.size()), .checksum = checksum.Value()};
    return ReadShards(scratch.Write("index.faiss", lines), mark, rows);
  };
  // How many rows there are is in the description; the first byte stands for it.
  const int64_t rows = size == 0 ? 0 : data[0];
  const absl::string_view lines(reinterpret_cast<const char*>(data) + (size == 0 ? 0 : 1), size == 0 ? 0 : size - 1);
  const absl::StatusOr<std::vector<IndexShard>> shards = read(lines, rows);
  Saw(shards.status());
  if (!shards.ok()) return 0;
  int64_t sum = 0;
  for (const IndexShard& shard : *shards) {
    Require(shard.rows > 0 && shard.mark.bytes >= 0, "a shard has rows");
    Require(ShardPath("folder/index.faiss", shard) == "folder/" + shard.file, "a shard is in the folder of its list");
    Require(shard.file.find('/') == std::string::npos && shard.file != "..", "a shard is in no other folder");
    sum += shard.rows;
  }
  Require(sum == rows, "the shards have the rows of the index");
  const absl::StatusOr<std::vector<IndexShard>> again = read(ShardLines(*shards), rows);
  Require(again.ok() && *again == *shards, "a list is read as it was written");
  return 0;
}
