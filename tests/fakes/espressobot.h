// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_ESPRESSOBOT_H_
#define REEMBED_TESTS_FAKES_ESPRESSOBOT_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/fakes/postgres_server.h"

namespace reembed {

// The shapes in which EspressoBot's own files make the table `memories`.
enum class EspressobotLayout { kSchema, kLanggraph, kSimple, kPrisma, kSqlAlchemy };
inline constexpr EspressobotLayout kEspressobotLayouts[] = {EspressobotLayout::kSchema, EspressobotLayout::kLanggraph,
                                                            EspressobotLayout::kSimple, EspressobotLayout::kPrisma,
                                                            EspressobotLayout::kSqlAlchemy};
std::string EspressobotLayoutName(EspressobotLayout layout);

struct EspressobotOptions {
  int64_t rows = 20000;
  int dim = 3072;  // of the columns, and of the vectors that some rows have
  uint64_t seed = 1;
};

// What the maker of the tables knows, by id as text.
struct EspressobotRows {
  std::map<std::string, std::string> texts;  // of the rows that lack a vector: what the system embeds
  std::set<std::string> has;                 // rows that have a vector, and keep it
  std::set<std::string> blank;               // rows that lack one and have no text
};

// Makes the tables in PostgreSQL as the system's own files do, anew, with rows of all kinds: vectors that are missing,
// broken or of another width where the column takes them; archived rows; odd whitespace, other languages, long texts.
EspressobotRows MakeEspressobotTables(PostgresServer* server, EspressobotLayout layout,
                                      const EspressobotOptions& options);

// One text of everything in `memories` but the vectors.
std::string EspressobotOtherColumns(PostgresServer* server);

// id -> bytes of the vector as float32, of all rows of `memories` that have one.
std::map<std::string, std::string> EspressobotVectors(PostgresServer* server, EspressobotLayout layout);

// A row of the SQLite file as it must be in PostgreSQL.
struct EspressobotMemory {
  std::string text;    // what is embedded
  std::string others;  // user_id|category|importance_score|metadata|created_at|content, as PostgreSQL prints them
};

struct EspressobotFile {
  std::map<std::string, EspressobotMemory> rows;  // "TABLE:id" -> what becomes of it
  std::set<std::string> rejected;                 // "TABLE:id" of what cannot be brought
};

// Makes the SQLite file that the older service leaves, with the tables memories, memory and user_memories: texts in one
// of three columns, metadata that is none, times of four kinds and one that is none, blank rows.
EspressobotFile MakeEspressobotFile(const std::string& path, const EspressobotOptions& options);

// "TABLE:id" -> the row as `reembed_ids` and `memories` have it now, `text` left empty; a row that is there twice fails
// the test.
std::map<std::string, EspressobotMemory> EspressobotBrought(PostgresServer* server, const std::string& file);

// The same keys -> bytes of the vectors.
std::map<std::string, std::string> EspressobotBroughtVectors(PostgresServer* server, const std::string& file);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_ESPRESSOBOT_H_
