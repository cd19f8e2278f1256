// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LEDGER_SQL_H_
#define REEMBED_IO_JOB_LEDGER_SQL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"

struct sqlite3;
struct sqlite3_stmt;

namespace reembed {

class LedgerConnection;

// One prepared statement. Parameters and columns count as in SQLite: parameters from 1, columns from 0.
// Must not outlive its connection. Used by one thread at a time.
class LedgerStatement {
 public:
  LedgerStatement() = default;

  // Bytes are not copied: they must stay until the next Run(), or until the last Step().
  void Bind(int parameter, int64_t value);
  void BindReal(int parameter, double value);
  void BindText(int parameter, absl::string_view value);
  void BindBlob(int parameter, absl::string_view value);
  void BindNull(int parameter);
  void BindKey(int parameter, KeyView key);

  // The next row, if any. After false the statement can be bound and stepped again.
  absl::StatusOr<bool> Step();

  // Steps to the end; for statements without rows.
  absl::Status Run();

  // Ends a read before its last row, so that it does not hold the log of the ledger.
  void Reset();

  // Views live until the next Step(), Run() or Reset().
  int64_t Integer(int column) const;
  double Real(int column) const;
  absl::string_view Text(int column) const;
  absl::string_view Blob(int column) const;
  KeyView KeyAt(int column) const;
  bool IsNull(int column) const;

 private:
  friend class LedgerConnection;
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const;
  };
  void NoteBind(int code);

  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
  const LedgerConnection* connection_ = nullptr;
  int bind_error_ = 0;  // first failure of a Bind, told by Step()
};

enum class LedgerAccess { kReadWrite, kReadOnly };

// One connection to JOB/ledger.db or JOB/undo.db, in WAL mode with synchronous=FULL. Used by one thread at a time.
//
// Errors of everything here: kResourceExhausted (disk full), kUnavailable (locked by another program), kDataLoss (not
// a database, or damaged), kNotFound (no such file), kPermissionDenied, kInternal (input/output errors and our bugs).
// The message begins with the path.
class LedgerConnection {
 public:
  // `page_bytes` is that of a file that is made.
  static absl::StatusOr<std::unique_ptr<LedgerConnection>> Open(const std::string& path, LedgerAccess access,
                                                                int page_bytes = 4096);

  const std::string& path() const { return path_; }

  absl::StatusOr<LedgerStatement> Prepare(absl::string_view sql);
  absl::Status Execute(const std::string& sql);

  // The first column of the first row of a query; 0 when it has no row, or NULL.
  absl::StatusOr<int64_t> QueryInteger(absl::string_view sql);

  // The next transaction writes about so many bytes: what a full disk is said to lack. At first it is a page.
  void ExpectToWrite(int64_t bytes) { bytes_to_write_ = bytes; }

  // The failure `code` of the last call, in words.
  absl::Status Error(int code) const;

 private:
  struct Closer {
    void operator()(sqlite3* connection) const;
  };
  LedgerConnection() = default;
  static absl::Status MakeFile(const std::string& path, int page_bytes);
  absl::Status Connect(const std::string& path, LedgerAccess access);

  std::string path_;
  bool writes_ = false;
  int64_t bytes_to_write_ = 4096;
  std::unique_ptr<sqlite3, Closer> connection_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LEDGER_SQL_H_
