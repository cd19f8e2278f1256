// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/mcp_memory.h"

#include <sqlite3.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/fakes/old_vector.h"

namespace reembed {
namespace {

constexpr char kCommonTables[] =
    "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, name TEXT, created_at TEXT NOT NULL);"
    "INSERT INTO users VALUES ('u1', 'ann@example.com', 'Ann', '2025-01-01T00:00:00.000Z'),"
    "  ('u2', 'bob@example.com', 'Bob', '2025-01-01T00:00:00.000Z');"
    "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);"
    "INSERT INTO schema_version VALUES (2, '2025-01-01T00:00:00.000Z');";

constexpr char kIntegerTables[] =
    "CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT REFERENCES users(id), title TEXT NOT "
    "NULL, content TEXT NOT NULL, memory_type TEXT NOT NULL, importance INTEGER DEFAULT 2, tags TEXT, entity_ids TEXT, "
    "embedding TEXT, metadata TEXT, is_archived BOOLEAN DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);"
    "CREATE TABLE entities (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id TEXT, name TEXT NOT NULL, entity_type TEXT "
    "NOT NULL, description TEXT, company TEXT, title TEXT, notes TEXT, tags TEXT, created_at TEXT NOT NULL, updated_at "
    "TEXT NOT NULL);"
    "CREATE INDEX idx_memories_user_updated ON memories(user_id, updated_at DESC);"
    "CREATE VIRTUAL TABLE memories_fts USING fts5(title, content, tags, content='memories', content_rowid='id');"
    "CREATE TRIGGER memories_fts_insert AFTER INSERT ON memories BEGIN INSERT INTO memories_fts(rowid, title, content, "
    "tags) VALUES (new.id, new.title, new.content, new.tags); END;"
    "CREATE TRIGGER memories_fts_update AFTER UPDATE ON memories BEGIN DELETE FROM memories_fts WHERE rowid = old.id; "
    "INSERT INTO memories_fts(rowid, title, content, tags) VALUES (new.id, new.title, new.content, new.tags); END;";

constexpr char kTextTables[] =
    "CREATE TABLE memories (id TEXT PRIMARY KEY, user_id TEXT, title TEXT NOT NULL, content TEXT NOT NULL, memory_type "
    "TEXT NOT NULL, importance REAL DEFAULT 0.5, tags TEXT, entity_ids TEXT, embedding TEXT, metadata TEXT, "
    "is_archived "
    "BOOLEAN DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, description TEXT, active INTEGER);"
    "CREATE TRIGGER sync_memory_fields_update AFTER UPDATE ON memories BEGIN UPDATE memories SET description = "
    "new.content, active = NOT new.is_archived WHERE rowid = new.rowid; END;";

class Writer {
 public:
  explicit Writer(const std::string& path) { Check(sqlite3_open(path.c_str(), &db_)); }
  ~Writer() {
    sqlite3_finalize(insert_);
    sqlite3_close(db_);
  }
  void Run(const char* sql) { Check(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr)); }
  void Prepare(const char* sql) { Check(sqlite3_prepare_v2(db_, sql, -1, &insert_, nullptr)); }
  // nullptr: NULL
  void Insert(const std::vector<const std::string*>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const int at = static_cast<int>(i) + 1;
      Check(values[i] == nullptr ? sqlite3_bind_null(insert_, at)
                                 : sqlite3_bind_text(insert_, at, values[i]->data(),
                                                     static_cast<int>(values[i]->size()), SQLITE_STATIC));
    }
    if (sqlite3_step(insert_) != SQLITE_DONE) Check(SQLITE_ERROR);
    sqlite3_reset(insert_);
  }
  int64_t LastRowid() const { return sqlite3_last_insert_rowid(db_); }

 private:
  void Check(int code) const {
    if (code == SQLITE_OK) return;
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db_));
    std::abort();
  }
  sqlite3* db_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

struct Memory {
  std::string title, content, type, tags, text;
  bool tags_null = false;
};

Memory MakeMemory(int64_t row, std::mt19937_64* random) {
  static constexpr std::array<const char*, 8> kWords = {
      "deploy",           "Lisbon", "r\xC3\xA9sum\xC3\xA9", "invoice", "\xE4\xBC\x9A\xE8\xAD\xB0", "memory",
      "\xF0\x9F\x98\x80", "review"};
  static constexpr std::array<const char*, 4> kTypes = {"SYSTEM", "LEARNED", "MEMORY", "episodic"};
  const auto word = [&] { return kWords[(*random)() % kWords.size()]; };
  Memory memory{.title = absl::StrCat("T", row), .content = absl::StrCat("note ", row), .type = kTypes[row % 4]};
  for (int i = 0; i < 6; ++i) absl::StrAppend(&memory.content, " ", word());
  std::string tail;
  switch ((*random)() % 8) {
    case 0:
      memory.tags_null = true;
      break;
    case 1:
      memory.tags = "[]";
      break;
    case 2:
      memory.tags = "work, home";  // no JSON
      break;
    case 3:
      memory.tags = "[\"a\\u00e4\",\"b \\\"c\\\"\"]";
      tail = " Tags: a\xC3\xA4, b \"c\"";
      break;
    case 4:
      memory.tags = "[\"\"]";  // joins to nothing, and is there
      tail = " Tags:";
      break;
    case 5:
      memory.tags = "[1.0, null, [1e21, [2]], {\"a\": 1}, 9007199254740993]";
      tail = " Tags: 1, , 1e+21,2, [object Object], 9007199254740992";
      break;
    default:
      memory.tags = absl::StrCat("[\"t", row % 7, "\"]");
      tail = absl::StrCat(" Tags: t", row % 7);
  }
  if (row % 97 == 0) {
    memory.title = memory.content = memory.type = "";
    if (tail.empty()) return memory;
    memory.text = tail.substr(1);
    return memory;
  }
  if (row % 31 == 0) memory.content = "";
  memory.text = absl::StrCat(memory.title, memory.content.empty() ? "" : " ", memory.content, " ", memory.type, tail);
  return memory;
}

}  // namespace

McpMemoryRows MakeMcpMemory(const std::string& path, const McpMemoryOptions& options) {
  const bool integer = options.ids == McpMemoryOptions::Ids::kInteger;
  std::mt19937_64 random(options.seed);
  Writer writer(path);
  writer.Run("BEGIN");
  writer.Run(kCommonTables);
  writer.Run(integer ? kIntegerTables : kTextTables);
  writer.Prepare(
      "INSERT INTO memories (id, user_id, title, content, memory_type, importance, tags, embedding, is_archived, "
      "created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, 0.5, ?6, ?7, ?8, ?9, ?9)");
  McpMemoryRows rows;
  const std::string yes = "1", no = "0", when = "2025-10-01T12:00:00.000Z";
  for (int64_t row = 1; row <= options.rows; ++row) {
    const Memory memory = MakeMemory(row, &random);
    const std::string id = absl::StrCat("0190-", row), user = row % 3 == 0 ? "u2" : "u1";
    std::string embedding;
    bool null = false, has = false;
    switch (row % 10) {
      case 0:
        null = true;
        break;
      case 1:
        embedding = "";
        break;
      case 2:
        embedding = "[0.5,0.25";  // cut off
        break;
      case 3:
        embedding = "[1,2,3]";
        break;
      case 4:
        embedding = "null";
        break;
      case 5:
      case 6:
        embedding = absl::StrCat("[", OldVectorNumbers(memory.text, options.dim), "]");
        has = true;
        break;
      default:
        embedding = "[]";
    }
    // 728 of 751 ids were NULL in one database.
    const bool id_null = integer || row % 20 != 0;
    writer.Insert({id_null ? nullptr : &id, &user, &memory.title, &memory.content, &memory.type,
                   memory.tags_null ? nullptr : &memory.tags, null ? nullptr : &embedding, row % 5 == 0 ? &yes : &no,
                   &when});
    const int64_t rowid = writer.LastRowid();
    rows.user[rowid] = user;
    (has                   ? rows.has
     : memory.text.empty() ? rows.textless
                           : rows.texts)[rowid] = has || memory.text.empty() ? embedding : memory.text;
  }
  writer.Run("COMMIT");
  return rows;
}

std::string McpMemoryFullText(const std::string& path) {
  sqlite3* db = nullptr;
  std::string entries;
  const auto add = [](void* out, int columns, char** values, char**) {
    for (int i = 0; i < columns; ++i) absl::StrAppend(static_cast<std::string*>(out), values[i], "|");
    static_cast<std::string*>(out)->push_back('\n');
    return 0;
  };
  if (sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK ||
      sqlite3_exec(db, "CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, memories_fts, instance)", nullptr,
                   nullptr, nullptr) != SQLITE_OK ||
      sqlite3_exec(db, "SELECT term, doc, col, offset FROM temp.terms ORDER BY 1, 2, 3, 4", add, &entries, nullptr) !=
          SQLITE_OK) {
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db));
    std::abort();
  }
  sqlite3_close(db);
  return entries;
}

std::string FloatBytesOfJson(const std::string& json) {
  std::string bytes;
  const char* at = json.c_str();
  if (*at++ != '[') return "";
  while (true) {
    char* end = nullptr;
    const float x = std::strtof(at, &end);
    if (end == at) return "";
    bytes.append(reinterpret_cast<const char*>(&x), sizeof(x));
    at = end;
    if (*at == ']') return at[1] == '\0' ? bytes : "";
    if (*at++ != ',') return "";
  }
}

}  // namespace reembed
