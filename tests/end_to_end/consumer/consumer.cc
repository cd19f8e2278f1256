// SPDX-License-Identifier: Apache-2.0
// A program of somebody else: all public headers, and the six lines of the README on a table, with a server of ours for
// the API. Runs in a folder of its own; wants to be run twice. Prints what is wrong.
#include <sqlite3.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "public_headers.inc"

namespace {

constexpr int kNotes = 300;

std::string TextOf(int id) { return "note " + std::to_string(id) + " about the trip to Lisbon"; }

int MakeNotes() {
  sqlite3* db = nullptr;
  if (sqlite3_open("notes.db", &db) != SQLITE_OK) return 1;
  std::string sql = "BEGIN; CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, body TEXT);";
  for (int id = 1; id <= kNotes; ++id) {
    sql += "INSERT OR IGNORE INTO notes(id, body) VALUES (" + std::to_string(id) + ", '" + TextOf(id) + "');";
  }
  const int code = sqlite3_exec(db, (sql + "COMMIT").c_str(), nullptr, nullptr, nullptr);
  sqlite3_close(db);
  return code;
}

// How many notes have exactly the vector of their text.
int RightNotes() {
  sqlite3* db = nullptr;
  sqlite3_open("notes.db", &db);
  sqlite3_stmt* rows = nullptr;
  sqlite3_prepare_v2(db, "SELECT id, embedding FROM notes", -1, &rows, nullptr);
  int right = 0;
  std::vector<float> vector(512);
  while (sqlite3_step(rows) == SQLITE_ROW) {
    reembed::EmbedLexically(TextOf(sqlite3_column_int(rows, 0)), absl::MakeSpan(vector));
    const int bytes = sqlite3_column_bytes(rows, 1);
    right += bytes == static_cast<int>(vector.size() * sizeof(float)) &&
             std::memcmp(sqlite3_column_blob(rows, 1), vector.data(), bytes) == 0;
  }
  sqlite3_finalize(rows);
  sqlite3_close(db);
  return right;
}

}  // namespace

int main() {
  if (MakeNotes() != 0) return std::puts("no table"), 1;
  const auto server = reembed::EmbeddingServer::Start({.dim = 512}).value();
  const std::string base = server->base_url(), key;
#include "six_lines.inc"
  const long long bought = server->counts().texts;
  std::printf("%s, %d of %d notes are right, %lld texts bought\n", done.ToString().c_str(), RightNotes(), kNotes,
              bought);
  return done.ok() && RightNotes() == kNotes && (bought == kNotes || bought == 0) ? 0 : 1;
}
