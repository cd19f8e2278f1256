// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_CONNECTION_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct pg_conn;
struct pg_result;

// PostgreSQL with owners and Status. Every error names the database, says the server's own first line, and has a code
// that tells the caller what to do: see PostgresCodeOf().
namespace reembed {

// Where a database is and how to get in, as libpq's keywords. Without a password among them libpq takes it from
// PGPASSWORD or ~/.pgpass.
struct PostgresAddress {
  std::string name;  // for messages: postgres://user@host:port/database
  std::vector<std::pair<std::string, std::string>> keywords;
  std::shared_ptr<std::atomic<bool>> answered;  // see Location
};

// A setting that holds for one transaction: SET LOCAL name = value. `value`: SQL of type text.
struct PostgresSetting {
  std::string name, value;
};

struct PostgresOptions {
  bool read_only = false;  // the server refuses every change
  std::vector<PostgresSetting> settings;
  // Settings for the whole connection, as libpq's `options` has them; for a direct connection only (see IsPooled).
  std::string startup;
  // How long Persist() tries again while the server is away, and opening where it has answered before.
  absl::Duration patience = absl::Minutes(2);
};

// One parameter of a statement. Text is NUL-terminated and has the type that the server infers; binary has the server's
// binary form of that type. The bytes are the caller's, until the call ends.
struct PostgresValue {
  const char* bytes = nullptr;  // null: NULL
  int size = 0;                 // of binary
  bool binary = false;

  static PostgresValue Text(const std::string& text) { return {.bytes = text.c_str()}; }
  static PostgresValue Binary(absl::string_view bytes) {
    return {.bytes = bytes.data(), .size = static_cast<int>(bytes.size()), .binary = true};
  }
};

// One or several result rows. Columns and rows count from 0; views live as long as the object.
class PostgresRows {
 public:
  explicit PostgresRows(pg_result* result) : result_(result) {}
  PostgresRows(PostgresRows&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
  PostgresRows& operator=(PostgresRows&& other) noexcept;
  ~PostgresRows();

  int size() const;
  bool IsNull(int row, int column) const;
  // As the statement was asked for: text, or the type's binary form.
  absl::string_view Bytes(int row, int column) const;
  std::string Text(int row, int column) const { return std::string(Bytes(row, column)); }
  // Of a text result: a number, 0 for NULL; t or f.
  int64_t Int(int row, int column) const;
  bool Bool(int row, int column) const { return Bytes(row, column) == "t"; }
  // Rows changed by INSERT, UPDATE or DELETE.
  int64_t ChangedRows() const;

 private:
  pg_result* result_;
};

// One connection. Used by one thread at a time.
//
// What stands at its other end may be a pooler that hands each transaction another server process, and each process to
// other clients next. So nothing is ever kept in the session: no SET, no statement or cursor with a name, no advisory
// lock, no temporary table. Each call below is a transaction of its own with the settings of PostgresOptions, or a part
// of the one that Begin() has opened.
class PostgresConnection {
 public:
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(PostgresAddress address, PostgresOptions options);
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;
  ~PostgresConnection();

  // Opens a transaction, with the settings; `how`: what follows BEGIN. It ends with Run("COMMIT") or Run("ROLLBACK").
  absl::Status Begin(absl::string_view how = "");

  // One statement; its result in text form.
  absl::StatusOr<PostgresRows> Query(const std::string& sql, absl::Span<const PostgresValue> values = {});

  // Statements whose results do not matter, joined by `;`, as one transaction.
  absl::Status Run(const std::string& sql);

  // One statement that must not be in a transaction, such as CREATE INDEX CONCURRENTLY. No setting holds for it but
  // PostgresOptions::startup.
  absl::Status RunAlone(const std::string& sql);

  // One statement whose rows come one by one, in binary form; the object holds row 0 and dies with the call. `take`
  // returns false when it wants no more; the rest is read and dropped. Memory: one row.
  absl::Status Stream(const std::string& sql, absl::Span<const PostgresValue> values,
                      absl::FunctionRef<bool(const PostgresRows&)> take);

  // COPY ... FROM STDIN. `next` appends the next bytes to *piece, which is empty, and returns false when there are
  // none.
  absl::Status CopyIn(const std::string& sql, absl::FunctionRef<bool(std::string* piece)> next);

  // COPY ... TO STDOUT. `take` gets the pieces in order; its first failure ends the statement and is returned.
  absl::Status CopyOut(const std::string& sql, absl::FunctionRef<absl::Status(absl::string_view piece)> take);

  // Runs `work`; while it answers kUnavailable, and for at most `patience`, waits, connects anew if the connection is
  // lost, and runs it again. Precondition: `work` is safe to repeat, also when it was done and only its answer lost.
  absl::Status Persist(absl::FunctionRef<absl::Status()> work);

  // From now on every transaction has it too. Errors: what the server says to it; then none has.
  absl::Status AddSetting(PostgresSetting setting);

  // Whether something stands between that gives each connection a number of its own: PgBouncer and its like. Such a
  // thing may also be one that keeps one server process for a connection; nobody can tell from here.
  absl::StatusOr<bool> IsPooled();

  // Whether the connection is up, as far as that is known here: asks nobody.
  bool IsWhole();

  const PostgresAddress& address() const { return address_; }
  // SQLSTATE of the last failed statement; empty when the connection itself failed.
  const std::string& last_code() const { return last_code_; }
  const std::string& name() const { return address_.name; }

 private:
  PostgresConnection(PostgresAddress address, PostgresOptions options);
  absl::Status Connect();
  std::string StartupOptions() const;
  absl::Status CheckStartup();
  std::string SettingsSql() const;
  // One statement, in a transaction of its own if none is open. `take` gets its results that are no errors, and owns
  // them.
  absl::Status Execute(const std::string& sql, absl::Span<const PostgresValue> values, bool one_by_one,
                       absl::FunctionRef<void(pg_result*)> take);
  // Several statements together, with the settings before them if no transaction is open; the last result.
  pg_result* Send(const std::string& sql);
  absl::Status Take(pg_result* result);
  // What the server says, as messages may have it.
  std::string Words(absl::string_view said) const;
  absl::Status ConnectionError() const;
  absl::Status ResultError(pg_result* result);
  // Takes the results behind the first of a COPY.
  absl::Status FinishResults();

  const PostgresAddress address_;
  PostgresOptions options_;
  pg_conn* connection_ = nullptr;
  std::string last_code_;
};

// "name" with quotes doubled, for use inside SQL; 'text' likewise.
std::string QuotePostgresName(absl::string_view name);
std::string QuotePostgresText(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_CONNECTION_H_
