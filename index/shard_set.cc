// SPDX-License-Identifier: Apache-2.0
#include "index/shard_set.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "index/flat_json.h"

namespace reembed {
namespace {

template <typename T>
bool Take(const FlatJson& object, const char* name, T* value) {
  const auto found = object.find(name);
  if (found == object.end() || !std::holds_alternative<T>(found->second)) return false;
  *value = std::get<T>(found->second);
  return true;
}

bool ParseShard(absl::string_view line, IndexShard* shard) {
  const absl::StatusOr<FlatJson> object = ParseFlatJson(line);
  std::string checksum;
  return object.ok() && object->size() == 4 && Take(*object, "shard", &shard->file) &&
         Take(*object, "rows", &shard->rows) && Take(*object, "bytes", &shard->mark.bytes) &&
         Take(*object, "checksum", &checksum) && absl::SimpleHexAtoi(checksum, &shard->mark.checksum) &&
         shard->rows > 0 && shard->mark.bytes >= 0;
}

// A set never reaches into another folder.
bool IsPlainName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == absl::string_view::npos &&
         name.find('\0') == absl::string_view::npos;
}

}  // namespace

std::string ShardLines(absl::Span<const IndexShard> shards) {
  std::string lines;
  for (const IndexShard& shard : shards) {
    absl::StrAppend(&lines,
                    JsonWriter()
                        .Add("shard", shard.file)
                        .Add("rows", shard.rows)
                        .Add("bytes", shard.mark.bytes)
                        .Add("checksum", absl::StrCat(absl::Hex(shard.mark.checksum, absl::kZeroPad16)))
                        .ToString(),
                    "\n");
  }
  return lines;
}

absl::StatusOr<std::vector<IndexShard>> ReadShards(const std::string& path, const FileMark& mark, int64_t rows) {
  ABSL_ASSIGN_OR_RETURN(const std::string lines, ReadMarkedFile(path, mark));
  std::vector<IndexShard> shards;
  int64_t left = rows;
  for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    IndexShard shard;
    if (!ParseShard(line, &shard) || !IsPlainName(shard.file) || shard.rows > left) {
      return absl::DataLossError(
          absl::StrCat(path, ": line ", shards.size() + 1, ": expected a shard of this index, got something else"));
    }
    left -= shard.rows;
    shards.push_back(std::move(shard));
  }
  if (left == 0 && !shards.empty()) return shards;
  return absl::DataLossError(absl::StrCat(path, ": expected shards with ", rows, " rows, got ", rows - left));
}

absl::StatusOr<int64_t> IndexBytes(const std::string& path, const IndexDescription& description) {
  int64_t bytes = description.index_file.bytes;
  if (description.shards == 0) return bytes;
  ABSL_ASSIGN_OR_RETURN(const std::vector<IndexShard> shards,
                        ReadShards(path, description.index_file, description.rows));
  for (const IndexShard& shard : shards) bytes += shard.mark.bytes;
  return bytes;
}

std::string ShardPath(absl::string_view path, const IndexShard& shard) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? shard.file : absl::StrCat(path.substr(0, slash + 1), shard.file);
}

}  // namespace reembed
