// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_MCP_MEMORY_H_
#define REEMBED_TESTS_FAKES_MCP_MEMORY_H_

#include <cstdint>
#include <map>
#include <string>

namespace reembed {

struct McpMemoryOptions {
  int64_t rows = 20000;
  // kInteger: the schema of the code, with full-text indexes kept by triggers. kText: that of databases in the field,
  // TEXT ids of which some are NULL, and triggers that copy fields at every change.
  enum class Ids { kInteger, kText } ids = Ids::kInteger;
  int dim = 1536;  // of the vectors that some rows have
  uint64_t seed = 1;
};

// What the maker of the database knows of its rows, by rowid.
struct McpMemoryRows {
  std::map<int64_t, std::string> texts;     // of the rows that lack a vector: what the backfill recipe makes of them
  std::map<int64_t, std::string> has;       // embedding of the rows that have one already, and keep it
  std::map<int64_t, std::string> textless;  // embedding of the rows that lack one and have no text
  std::map<int64_t, std::string> user;      // user_id of every row
};

// Makes a database as mcp-memory-ts does, with every oddity that was seen: embeddings that are NULL, '', [], broken
// JSON or of another width; archived rows; other languages; tags that are no JSON; rows without any text.
McpMemoryRows MakeMcpMemory(const std::string& path, const McpMemoryOptions& options);

// A column like `embedding` as numbers, read with the C library alone; empty if it is no JSON array of numbers.
std::string FloatBytesOfJson(const std::string& json);

// Every entry of the full text index of memories, a line each: term, rowid, column, place.
std::string McpMemoryFullText(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_MCP_MEMORY_H_
