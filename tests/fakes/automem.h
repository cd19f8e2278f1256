// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_AUTOMEM_H_
#define REEMBED_TESTS_FAKES_AUTOMEM_H_

#include <cstdint>
#include <map>
#include <string>

#include "tests/fakes/falkordb_server.h"
#include "tests/fakes/qdrant_server.h"

namespace reembed {

struct AutomemStoreOptions {
  int64_t rows = 20000;
  int dim = 768;
  uint64_t seed = 1;
  bool make_points = true;  // false: there is no collection
};

struct AutomemMemory {
  std::string text;                            // empty: there is nothing to embed
  bool has_vector = false;                     // a real one
  bool placeholder = false;                    // one that AutoMem made up
  std::map<std::string, std::string> payload;  // that a whole point of it must have: field -> JSON
};

struct AutomemStore {
  std::map<std::string, AutomemMemory> memories;      // by id
  std::map<std::string, QdrantServer::Point> points;  // as they were made, also those of nodes that are gone
  int64_t needed = 0;                                 // memories with a text and without a vector
  int64_t placeholders = 0;                           // of them
  int64_t empty = 0;                                  // memories without a text
  int64_t orphans = 0;
  int64_t stripped = 0;  // points that have lost what AutoMem's own script drops
};

// Fills the graph `memories` and the collection `memories` as AutoMem and its faults leave them: memories whose
// embedding failed (no point, or a placeholder), archived ones, some with an end of validity, nodes from before
// `tag_prefixes`, with a legacy `embeddings` property or without most properties; points that its re-embedding script
// has stripped; points whose node is gone; metadata that is no object; tags with `:`, `/`, capitals and spaces; texts
// twice, of any language, empty, absent; other labels and edges. Replaces what was there.
AutomemStore MakeAutomem(FalkorServer* graph, QdrantServer* qdrant, const AutomemStoreOptions& options);

// What a run should have made of it, compared with what is there.
struct AutomemCheck {
  int64_t needed = 0;         // memories that had to get a vector
  int64_t right = 0;          // of them, those that have that of their text
  int64_t changed = 0;        // points where anything else is not as it must be, or that are gone
  std::string first_problem;  // for people
};
// kInPlace: points that had a vector are untouched, the others keep their payload. kAll: likewise, and every memory has
// a new vector. kBeside: every memory has a new vector, and a payload that lacks nothing; no other point is there.
enum class AutomemRun { kInPlace, kAll, kBeside };
AutomemCheck CheckAutomem(const AutomemStore& store, const std::map<std::string, QdrantServer::Point>& points, int dim,
                          AutomemRun run);

// Whether `points` are a copy of those the store was made with: a collection scales a vector again when it is copied.
bool IsCopyOfAutomem(const AutomemStore& store, const std::map<std::string, QdrantServer::Point>& points);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_AUTOMEM_H_
