// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/espressobot.h"

#include <sqlite3.h>

#include <array>
#include <cstring>
#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/fakes/mcp_memory.h"
#include "tests/fakes/old_vector.h"

namespace reembed {
namespace {

// A text of the database and what the system embeds of it.
struct Words {
  std::string raw, clean;
};

Words MakeWords(int64_t row, std::mt19937_64* random) {
  static constexpr std::array<const char*, 7> kWords = {
      "espresso", "Lisbon", "r\xC3\xA9sum\xC3\xA9", "invoice", "\xE4\xBC\x9A\xE8\xAD\xB0", "\xF0\x9F\x98\x80", "it's"};
  // Python's split takes each of them for whitespace.
  static constexpr std::array<const char*, 5> kSpaces = {" ", "  \n", "\t", "\xC2\xA0", "\xE2\x80\x83 "};
  Words words;
  words.clean = absl::StrCat("memory ", row % 9 == 8 ? row - 1 : row);  // some rows say the same
  words.raw = row % 7 == 3 ? "\n " + words.clean : words.clean;
  std::mt19937_64 own(static_cast<uint64_t>(row % 9 == 8 ? row - 1 : row));
  for (int i = 0; i < 6; ++i) {
    const char* const word = kWords[own() % kWords.size()];
    absl::StrAppend(&words.clean, " ", word);
    absl::StrAppend(&words.raw, kSpaces[(*random)() % kSpaces.size()], word);
  }
  if (row % 500 == 41) {
    // Above 30,000 characters, of which the last that stay take two bytes each.
    while (words.clean.size() < 20000) words.clean += " long";
    words.raw = words.clean;
    int64_t characters = 0;
    for (const char c : words.clean) characters += (c & 0xC0) != 0x80 ? 1 : 0;
    for (; characters < 30000; ++characters) {
      words.clean += "\xC3\xA4";
      words.raw += "\xC3\xA4";
    }
    words.clean += "...";
    words.raw += "\xC3\xB6 and more\n";
  } else if (row % 7 == 4) {
    words.raw += " \n";
  }
  return words;
}

std::string ListOf(int numbers) {
  std::string list = "0.25";
  for (int i = 1; i < numbers; ++i) list += i % 2 == 0 ? ",0.5" : ",-1e-3";
  return list;
}

std::string CreateSql(EspressobotLayout layout, int dim) {
  const std::string vector = absl::StrCat("vector(", dim, ")");
  const std::string fragments = absl::StrCat(
      "CREATE TABLE prompt_fragments (id SERIAL PRIMARY KEY, category VARCHAR(100) NOT NULL, priority INTEGER DEFAULT "
      "0, content TEXT NOT NULL, tags TEXT[] DEFAULT '{}', embedding ",
      layout == EspressobotLayout::kSimple ? "TEXT" : vector,
      ", agent_type VARCHAR(100), context_tier VARCHAR(20) DEFAULT 'standard' CHECK (context_tier IN ('core', "
      "'standard', 'full')), is_active BOOLEAN DEFAULT true, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, "
      "updated_at "
      "TIMESTAMP DEFAULT CURRENT_TIMESTAMP);");
  const std::string triggers =
      "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS TRIGGER AS $$ BEGIN NEW.updated_at = "
      "CURRENT_TIMESTAMP; RETURN NEW; END; $$ language 'plpgsql'; CREATE TRIGGER update_memories_updated_at BEFORE "
      "UPDATE ON memories FOR EACH ROW EXECUTE PROCEDURE update_updated_at_column(); CREATE TRIGGER "
      "update_prompt_fragments_updated_at BEFORE UPDATE ON prompt_fragments FOR EACH ROW EXECUTE PROCEDURE "
      "update_updated_at_column();";
  const std::string times =
      "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)";
  const auto documented = [&](absl::string_view id, absl::string_view type, absl::string_view more) {
    return absl::StrCat("CREATE TABLE memories (id ", id,
                        ", user_id VARCHAR(255) NOT NULL, content TEXT NOT NULL, embedding ", type,
                        ", metadata JSONB DEFAULT '{}', category VARCHAR(100), importance_score FLOAT DEFAULT 1.0, ",
                        more, "access_count INTEGER DEFAULT 0, last_accessed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, ",
                        times, "; CREATE INDEX memories_user_idx ON memories (user_id); ", fragments, triggers);
  };
  switch (layout) {
    case EspressobotLayout::kSchema:
      return documented("SERIAL PRIMARY KEY", vector, "");
    case EspressobotLayout::kLanggraph:
      return documented("SERIAL PRIMARY KEY", vector,
                        "confidence_score FLOAT DEFAULT 1.0, usefulness_score FLOAT DEFAULT 1.0, is_ephemeral BOOLEAN "
                        "DEFAULT false, status VARCHAR(20) DEFAULT 'active', extraction_method VARCHAR(50) DEFAULT "
                        "'gpt', ");
    case EspressobotLayout::kSimple:
      return documented("TEXT PRIMARY KEY DEFAULT gen_random_uuid()::text", "TEXT", "");
    case EspressobotLayout::kPrisma:
      return "CREATE TABLE memories (id TEXT NOT NULL, user_id TEXT NOT NULL, content TEXT NOT NULL, embedding BYTEA, "
             "metadata TEXT, created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP(3) NOT "
             "NULL, CONSTRAINT memories_pkey PRIMARY KEY (id)); CREATE INDEX memories_user_id_idx ON memories "
             "(user_id);";
    case EspressobotLayout::kSqlAlchemy:
      return "CREATE TABLE memories (id VARCHAR NOT NULL, user_id VARCHAR NOT NULL, content VARCHAR NOT NULL, "
             "embedding BYTEA, meta_data VARCHAR, created_at TIMESTAMP WITHOUT TIME ZONE, updated_at TIMESTAMP WITHOUT "
             "TIME ZONE, PRIMARY KEY (id));";
  }
  return "";
}

bool IsTyped(EspressobotLayout layout) {
  return layout == EspressobotLayout::kSchema || layout == EspressobotLayout::kLanggraph;
}

// Straight SQLite. Failures end the program.
class Writer {
 public:
  explicit Writer(const std::string& path) {
    Check(sqlite3_open(path.c_str(), &db_));
    Run("PRAGMA synchronous=OFF; BEGIN");
  }
  ~Writer() {
    Run("COMMIT");
    sqlite3_close(db_);
  }
  void Run(const std::string& sql) { Check(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr)); }

 private:
  void Check(int code) const {
    if (code == SQLITE_OK) return;
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db_));
    std::abort();
  }
  sqlite3* db_ = nullptr;
};

std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'"); }

// One kind of a column's value in SQLite, and what it is in PostgreSQL.
struct Case {
  const char* sqlite;
  const char* postgres;
};

void MakeMemories(const EspressobotOptions& options, Writer* db, EspressobotFile* file) {
  static constexpr std::array<Case, 6> kMetadata = {{{"NULL", "{}"},
                                                     {"''", "{}"},
                                                     {"'{\"a\":1}'", "{\"a\": 1}"},
                                                     {"'[1,2]'", "[1, 2]"},
                                                     {"'not {json'", "{\"original\": \"not {json\"}"},
                                                     {"'{\"k\":\"\xC3\xA4 it''s\"}'", "{\"k\": \"\xC3\xA4 it's\"}"}}};
  static constexpr std::array<Case, 4> kTimes = {{{"'2025-07-28 18:51:15'", "2025-07-28 18:51:15"},
                                                  {"'2025-07-28T18:51:15.250Z'", "2025-07-28 18:51:15.25"},
                                                  {"'2025-07-28T18:51:15+02:00'", "2025-07-28 16:51:15"},
                                                  {"1753728675000", "2025-07-28 18:51:15"}}};
  db->Run(
      "CREATE TABLE memories (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, content TEXT NOT NULL, embedding BLOB, "
      "metadata TEXT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP);"
      "CREATE INDEX idx_user_id ON memories (user_id); CREATE INDEX idx_created_at ON memories (created_at)");
  std::mt19937_64 random(options.seed);
  const std::string old = absl::StrCat("'[", ListOf(16), "]'");
  for (int64_t row = 0; row < options.rows; ++row) {
    const std::string id = absl::StrCat("mem_", 1750000000000 + row * 7919 % 1000003, "_", random() % 1000000);
    const std::string user = absl::StrCat("user", row % 5);
    const Case& metadata = kMetadata[static_cast<size_t>(random() % kMetadata.size())];
    const Case& time = kTimes[static_cast<size_t>(random() % kTimes.size())];
    Words words = MakeWords(row, &random);
    const bool blank = row % 50 == 7, no_time = row % 97 == 13;
    if (blank) words.raw = row % 100 == 7 ? " \n\t" : "";
    db->Run(absl::StrCat("INSERT INTO memories VALUES (", Quoted(id), ", ", Quoted(user), ", ", Quoted(words.raw), ", ",
                         row % 3 == 0 ? "NULL" : old, ", ", metadata.sqlite, ", ",
                         no_time ? "'last Tuesday'" : time.sqlite, ", '2025-08-01 00:00:00')"));
    if (blank || no_time) {
      file->rejected.insert("memories:" + id);
    } else {
      file->rows["memories:" + id] = {
          words.clean, absl::StrCat(user, "|migrated|1|", metadata.postgres, "|", time.postgres, "|", words.raw)};
    }
  }
}

}  // namespace

std::string EspressobotLayoutName(EspressobotLayout layout) {
  static constexpr std::array<const char*, 5> kNames = {"schema", "langgraph", "simple", "prisma", "sqlalchemy"};
  return kNames[static_cast<size_t>(layout)];
}

EspressobotRows MakeEspressobotTables(PostgresServer* server, EspressobotLayout layout,
                                      const EspressobotOptions& options) {
  server->Run(
      "DROP TABLE IF EXISTS memories, prompt_fragments, memory_duplicates, memory_analytics, reembed_ids CASCADE");
  server->Run(CreateSql(layout, options.dim));
  std::mt19937_64 random(options.seed);
  EspressobotRows rows;
  const bool serial = IsTyped(layout);
  const bool bytes = layout == EspressobotLayout::kPrisma || layout == EspressobotLayout::kSqlAlchemy;
  std::string sql;
  for (int64_t row = 1; row <= options.rows; ++row) {
    const std::string id = serial ? absl::StrCat(row) : absl::StrCat("id-", row * 7919 % 1000003, "-", row);
    Words words = MakeWords(row, &random);
    if (row % 50 == 7) words.raw = row % 100 == 7 ? " \n\t" : "";
    const std::string list = OldVectorNumbers(words.clean, options.dim);
    std::string vector;  // empty: NULL
    bool valid = false;
    switch (random() % (serial ? 3 : 6)) {
      case 0:
        vector = absl::StrCat("[", list, "]");
        valid = true;
        break;
      case 3:
        // Prisma's writers also leave the numbers bare.
        vector = bytes ? absl::StrReplaceAll(list, {{",", ", "}}) : absl::StrCat(" [", list, "]\n");
        valid = true;
        break;
      case 4:
        vector = "[]";
        break;
      case 5:
        vector = random() % 2 == 0 ? "[0.5,0.25]" : "nonsense";
        break;
      default:
        break;
    }
    if (valid) {
      rows.has.insert(id);
    } else if (row % 50 == 7) {
      rows.blank.insert(id);
    } else {
      rows.texts[id] = words.clean;
    }
    const std::string cell = vector.empty() ? "NULL"
                             : bytes        ? "convert_to('" + vector + "', 'UTF8')"
                                            : "'" + vector + "'";
    absl::StrAppend(&sql, sql.empty() ? "" : ", ", "('", id, "', 'user", row % 5, "', ", Quoted(words.raw), ", ", cell,
                    ", '2025-01-01 10:00:00', '2025-02-01 11:00:00')");
    if (sql.size() < (size_t{1} << 20) && row < options.rows) continue;
    server->Run("INSERT INTO memories (id, user_id, content, embedding, created_at, updated_at) VALUES " + sql);
    sql.clear();
  }
  if (layout == EspressobotLayout::kLanggraph) {
    server->Run(
        "SET session_replication_role = replica; UPDATE memories SET status = 'archived' WHERE id % 10 = 3; RESET "
        "session_replication_role");
  }
  return rows;
}

std::string EspressobotOtherColumns(PostgresServer* server) {
  return server->Ask(
      "SELECT count(*), md5(string_agg((to_jsonb(m) - 'embedding' - 'embedding_old')::text, ';' ORDER BY id)) FROM "
      "memories AS m");
}

namespace {

std::map<std::string, std::string> ReadVectors(PostgresServer* server, const std::string& sql) {
  std::map<std::string, std::string> vectors;
  const std::string answer = server->Ask(sql);
  for (const absl::string_view line : absl::StrSplit(answer, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> cells = absl::StrSplit(line, absl::MaxSplits('|', 1));
    EXPECT_TRUE(vectors.emplace(cells.first, FloatBytesOfJson(cells.second)).second)
        << cells.first << " is there twice";
  }
  return vectors;
}

}  // namespace

std::map<std::string, std::string> EspressobotVectors(PostgresServer* server, EspressobotLayout layout) {
  const bool bytes = layout == EspressobotLayout::kPrisma || layout == EspressobotLayout::kSqlAlchemy;
  return ReadVectors(server, absl::StrCat("SELECT id, ", bytes ? "convert_from(embedding, 'UTF8')" : "embedding::text",
                                          " FROM memories WHERE embedding IS NOT NULL AND ",
                                          bytes ? "octet_length(embedding)" : "length(embedding::text)", " > 20"));
}

EspressobotFile MakeEspressobotFile(const std::string& path, const EspressobotOptions& options) {
  EspressobotFile file;
  Writer db(path);
  MakeMemories(options, &db, &file);
  db.Run(
      "CREATE TABLE memory (id INTEGER PRIMARY KEY, userId TEXT, text TEXT, message TEXT, type TEXT, importance_score "
      "REAL); INSERT INTO memory VALUES (1, 'ann', 'first', NULL, 'fact', 0.5), (2, NULL, '', 'second  one', NULL, "
      "NULL), (3, '', NULL, NULL, '', 2); CREATE TABLE user_memories (id INTEGER PRIMARY KEY, user_id INTEGER, key "
      "TEXT, value TEXT); INSERT INTO user_memories VALUES (1, 7, 'k', 'v')");
  // In SQLite a PRIMARY KEY of type text may be NULL.
  for (int row = 1; row <= 2; ++row) {
    const int64_t rowid = options.rows + row;
    db.Run(absl::StrCat("INSERT INTO memories VALUES (NULL, 'ann', 'nameless  ", row,
                        "', NULL, NULL, '2025-07-28 18:51:15', '2025-08-01 00:00:00')"));
    file.rows[absl::StrCat("memories:rowid:", rowid)] = {
        absl::StrCat("nameless ", row), absl::StrCat("ann|migrated|1|{}|2025-07-28 18:51:15|nameless  ", row)};
  }
  file.rows["memory:1"] = {"first", "ann|fact|0.5|{}|now|first"};
  file.rows["memory:2"] = {"second one", "migrated_user|migrated|1|{}|now|second  one"};
  file.rejected = [&] {
    std::set<std::string> rejected = file.rejected;
    rejected.insert({"memory:3", "user_memories:1"});
    return rejected;
  }();
  return file;
}

std::map<std::string, EspressobotMemory> EspressobotBrought(PostgresServer* server, const std::string& file) {
  std::map<std::string, EspressobotMemory> rows;
  const std::string answer = server->Ask(absl::StrCat(
      "SELECT substr(i.source, length('", file,
      "/') + 1) || ':' || i.old_id, replace(concat_ws('|', m.user_id, "
      "m.category, m.importance_score, m.metadata, CASE WHEN m.created_at > now() - interval '1 day' THEN 'now' ELSE "
      "m.created_at::text END, m.content), chr(10), chr(11)) FROM memories m LEFT JOIN reembed_ids i ON i.new_id = "
      "m.id::text AND i.target = 'memories'"));
  for (const absl::string_view line : absl::StrSplit(answer, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> cells = absl::StrSplit(line, absl::MaxSplits('|', 1));
    EXPECT_TRUE(
        rows.emplace(cells.first, EspressobotMemory{"", absl::StrReplaceAll(cells.second, {{"\v", "\n"}})}).second)
        << cells.first << " is there twice";
  }
  return rows;
}

std::map<std::string, std::string> EspressobotBroughtVectors(PostgresServer* server, const std::string& file) {
  return ReadVectors(server, absl::StrCat("SELECT substr(i.source, length('", file,
                                          "/') + 1) || ':' || i.old_id, m.embedding FROM memories m JOIN reembed_ids i "
                                          "ON i.new_id = m.id::text AND i.target = 'memories'"));
}

}  // namespace reembed
