// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SQLITE_FILE_H_
#define REEMBED_TESTS_FAKES_SQLITE_FILE_H_

#include <string>

#include "engine/location.h"

struct sqlite3;

namespace reembed {

// A database file in a folder of its own, removed at the end, seen through a connection like that of another program:
// straight SQLite, no code of ours. Failures of SQL fail the test.
class SqliteFile {
 public:
  SqliteFile();
  ~SqliteFile();
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  const std::string& folder() const { return folder_; }
  const std::string& path() const { return path_; }

  // Any number of statements.
  void Run(const std::string& sql);

  // All result rows: values as SQL literals, joined by "|", rows by "\n".
  std::string Ask(const std::string& sql);

  // Ends the connection; the next call makes a new one.
  void Close();

  // sqlite:path?parameters
  Location At(const std::string& parameters) const;

 private:
  sqlite3* Connection();

  std::string folder_;
  std::string path_;
  sqlite3* db_ = nullptr;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SQLITE_FILE_H_
