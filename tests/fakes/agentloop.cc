// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/agentloop.h"

#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>

#include "engine/number/json_text.h"
#include "engine/text/lexical_embedder.h"

namespace reembed {
namespace {

class Database {
 public:
  explicit Database(const std::string& path) {
    if (sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) Die();
    sqlite3_busy_timeout(db_, 10000);
  }
  ~Database() { sqlite3_close(db_); }

  template <typename Row>
  void ForEach(const std::string& sql, Row row) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) Die();
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) row(statement);
    sqlite3_finalize(statement);
    if (code != SQLITE_DONE) Die();
  }

  void Execute(const std::string& sql) {
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) Die();
  }

  bool HasColumn(const std::string& column) {
    bool has = false;
    ForEach("SELECT name FROM pragma_table_info('messages')",
            [&](sqlite3_stmt* row) { has |= column == reinterpret_cast<const char*>(sqlite3_column_text(row, 0)); });
    return has;
  }

 private:
  [[noreturn]] void Die() {
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(db_));
    std::abort();
  }
  sqlite3* db_ = nullptr;
};

std::string Bytes(sqlite3_stmt* row, int column) {
  const void* const bytes = sqlite3_column_blob(row, column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), sqlite3_column_bytes(row, column));
}

}  // namespace

std::map<int64_t, std::string> EmbeddableMessages(const std::string& db) {
  std::map<int64_t, std::string> messages;
  Database(db).ForEach("SELECT message_id, content FROM messages WHERE role IN ('user', 'assistant')",
                       [&](sqlite3_stmt* row) {
                         const std::string text = Bytes(row, 1);
                         if (!text.empty() && text.size() <= (1u << 20) && IsValidUtf8(text)) {
                           messages[sqlite3_column_int64(row, 0)] = text;
                         }
                       });
  return messages;
}

std::map<int64_t, std::string> StoredEmbeddings(const std::string& db) {
  std::map<int64_t, std::string> embeddings;
  Database database(db);
  if (!database.HasColumn("embedding")) return embeddings;
  database.ForEach("SELECT message_id, embedding FROM messages WHERE embedding IS NOT NULL",
                   [&](sqlite3_stmt* row) { embeddings[sqlite3_column_int64(row, 0)] = Bytes(row, 1); });
  return embeddings;
}

std::string DumpWithoutEmbeddings(const std::string& db) {
  std::string dump;
  for (const char* sql :
       {"SELECT quote(session_id), quote(user_id), quote(created_at), quote(last_active) FROM sessions ORDER BY 1",
        "SELECT message_id, quote(session_id), quote(chunk_index), quote(role), quote(content), quote(tokens), "
        "quote(timestamp), quote(metadata) FROM messages ORDER BY message_id",
        "SELECT rowid, quote(content), quote(session_id), quote(metadata), quote(role) FROM messages_fts ORDER BY "
        "rowid",
        "SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2"}) {
    for (const std::string& row : Query(db, sql)) dump += row + "\n";
  }
  return dump;
}

std::vector<std::string> Query(const std::string& db, const std::string& sql) {
  std::vector<std::string> rows;
  Database(db).ForEach(sql, [&](sqlite3_stmt* row) {
    std::string text;
    for (int i = 0; i < sqlite3_column_count(row); ++i) {
      const auto* value = reinterpret_cast<const char*>(sqlite3_column_text(row, i));
      text += (i > 0 ? "|" : "") + std::string(value == nullptr ? "NULL" : value);
    }
    rows.push_back(text);
  });
  return rows;
}

void Change(const std::string& db, const std::string& sql) { Database(db).Execute(sql); }

std::string ExpectedEmbedding(const std::string& text, int dim) {
  std::string bytes(dim * sizeof(float), '\0');
  EmbedLexically(text, {reinterpret_cast<float*>(bytes.data()), static_cast<size_t>(dim)});
  return bytes;
}

}  // namespace reembed
