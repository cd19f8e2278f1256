// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/sqlite_file.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

std::string Literal(sqlite3_stmt* statement, int column) {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement, column));
  const std::string value(bytes == nullptr ? "" : bytes, sqlite3_column_bytes(statement, column));
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
      return "NULL";
    case SQLITE_TEXT:
      return absl::StrCat("'", value, "'");
    case SQLITE_BLOB: {
      std::string hex = "x'";
      for (const char c : value) absl::StrAppendFormat(&hex, "%02x", static_cast<unsigned char>(c));
      return hex + "'";
    }
    default:
      return reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  }
}

}  // namespace

SqliteFile::SqliteFile() {
  std::string folder = absl::StrCat(testing::TempDir(), "/reembed-sqlite-XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) ADD_FAILURE() << "no temporary folder at " << folder;
  ::chmod(folder.c_str(), 0755);
  folder_ = folder;
  path_ = folder + "/test.db";
}

SqliteFile::~SqliteFile() {
  Close();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

sqlite3* SqliteFile::Connection() {
  if (db_ == nullptr) {
    EXPECT_EQ(sqlite3_open(path_.c_str(), &db_), SQLITE_OK) << path_;
    sqlite3_busy_timeout(db_, 5000);
  }
  return db_;
}

void SqliteFile::Run(const std::string& sql) {
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(Connection(), sql.c_str(), nullptr, nullptr, &message), SQLITE_OK)
      << sql << ": " << (message == nullptr ? "" : message);
  sqlite3_free(message);
}

std::string SqliteFile::Ask(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(Connection(), sql.c_str(), -1, &statement, nullptr), SQLITE_OK)
      << sql << ": " << sqlite3_errmsg(db_);
  std::string rows;
  int result = 0;
  while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
    if (!rows.empty()) rows.push_back('\n');
    for (int column = 0; column < sqlite3_column_count(statement); ++column) {
      absl::StrAppend(&rows, column == 0 ? "" : "|", Literal(statement, column));
    }
  }
  EXPECT_EQ(result, SQLITE_DONE) << sql << ": " << sqlite3_errmsg(db_);
  sqlite3_finalize(statement);
  return rows;
}

void SqliteFile::Close() {
  sqlite3_close(db_);
  db_ = nullptr;
}

Location SqliteFile::At(const std::string& parameters) const {
  const absl::StatusOr<Location> location = ParseLocation(absl::StrCat("sqlite:", path_, "?", parameters));
  EXPECT_TRUE(location.ok()) << location.status();
  return location.ok() ? *location : Location{};
}

}  // namespace reembed
