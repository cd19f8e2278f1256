// SPDX-License-Identifier: Apache-2.0
#include "io/job/ledger_sql.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/own_file.h"

namespace reembed {
namespace {

// Another program (a backup, a `sqlite3` shell) may hold the file for a moment.
constexpr int kBusyTimeoutMilliseconds = 5000;
constexpr char kFirstRead[] = "SELECT 1 FROM sqlite_schema LIMIT 1";

// A quota or a file size limit is no I/O error to the user: room is missing.
bool IsRoom(int system_errno) { return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG; }

absl::StatusCode CodeOf(int primary, int system_errno) {
  switch (primary) {
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_IOERR:
      return IsRoom(system_errno) ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_CANTOPEN:
      if (IsRoom(system_errno)) return absl::StatusCode::kResourceExhausted;
      return system_errno == ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kPermissionDenied;
    default:
      return absl::StatusCode::kInternal;
  }
}

// Removes what is there of these; whether any was. A planted link is refused, as where one is opened.
absl::StatusOr<bool> RemoveLeft(absl::Span<const std::string> paths) {
  bool was_left = false;
  for (const std::string& path : paths) {
    ABSL_RETURN_IF_ERROR(ClaimOwnFile(path, Absent::kFail));
    const bool removed = unlink(path.c_str()) == 0;
    if (!removed && errno != ENOENT) return FileError(path, "remove", errno);
    was_left = was_left || removed;
  }
  return was_left;
}

// Whether there is no room for another file beside `path`. SQLite that could not make one looks whether it can be read,
// and forgets what was in the way.
bool HasNoRoomBeside(const std::string& path) {
  const std::string probe = path + "-probe";
  const File file(open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), probe);
  if (file.fd() < 0) return IsRoom(errno);
  unlink(probe.c_str());
  return false;
}

}  // namespace

void LedgerStatement::Finalizer::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void LedgerConnection::Closer::operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }

void LedgerStatement::NoteBind(int code) {
  if (code != SQLITE_OK && bind_error_ == SQLITE_OK) bind_error_ = code;
}

void LedgerStatement::Bind(int parameter, int64_t value) {
  NoteBind(sqlite3_bind_int64(statement_.get(), parameter, value));
}

void LedgerStatement::BindReal(int parameter, double value) {
  NoteBind(sqlite3_bind_double(statement_.get(), parameter, value));
}

void LedgerStatement::BindText(int parameter, absl::string_view value) {
  // A null pointer would bind NULL, and an empty view may have one.
  const char* const bytes = value.data() == nullptr ? "" : value.data();
  NoteBind(sqlite3_bind_text64(statement_.get(), parameter, bytes, value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void LedgerStatement::BindBlob(int parameter, absl::string_view value) {
  NoteBind(sqlite3_bind_blob64(statement_.get(), parameter, value.data(), value.size(), SQLITE_STATIC));
}

void LedgerStatement::BindNull(int parameter) { NoteBind(sqlite3_bind_null(statement_.get(), parameter)); }

void LedgerStatement::BindKey(int parameter, KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) {
    Bind(parameter, *number);
  } else {
    BindText(parameter, std::get<absl::string_view>(key));
  }
}

absl::StatusOr<bool> LedgerStatement::Step() {
  if (bind_error_ != SQLITE_OK) return connection_->Error(std::exchange(bind_error_, SQLITE_OK));
  errno = 0;
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  absl::Status status;
  if (code != SQLITE_DONE) status = connection_->Error(code);
  sqlite3_reset(statement_.get());
  ABSL_RETURN_IF_ERROR(status);
  return false;
}

absl::Status LedgerStatement::Run() {
  absl::StatusOr<bool> row = Step();
  while (row.ok() && *row) row = Step();
  return row.status();
}

void LedgerStatement::Reset() { sqlite3_reset(statement_.get()); }

int64_t LedgerStatement::Integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
double LedgerStatement::Real(int column) const { return sqlite3_column_double(statement_.get(), column); }

absl::string_view LedgerStatement::Text(int column) const {
  const auto* const text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return {};
  return {text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

absl::string_view LedgerStatement::Blob(int column) const {
  const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

KeyView LedgerStatement::KeyAt(int column) const {
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER) return Integer(column);
  return Text(column);
}

bool LedgerStatement::IsNull(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }

// A new file gets its name when it is whole, so that no journal has to be made durable, too. The name is durable before
// the first commit: SQLite syncs the folder for the log's sake then.
absl::Status LedgerConnection::MakeFile(const std::string& path, int page_bytes) {
  const absl::StatusOr<bool> exists = PathExists(path);
  // Of what is there, SQLite knows best; also of an empty file with a journal beside it.
  if (!exists.ok() || *exists) return exists.status();
  const std::string partial = path + ".partial";
  ABSL_RETURN_IF_ERROR(RemoveLeft({partial, partial + "-wal", partial + "-shm", partial + "-journal"}).status());
  // A log of a file that is gone would be taken for this one's, also if a power cut brought it back.
  ABSL_ASSIGN_OR_RETURN(const bool was_left, RemoveLeft({path + "-wal", path + "-shm", path + "-journal"}));
  if (was_left) ABSL_RETURN_IF_ERROR(SyncFolderOf(path));
  ABSL_RETURN_IF_ERROR(ClaimOwnFile(partial, Absent::kMake));
  {
    LedgerConnection file;
    ABSL_RETURN_IF_ERROR(file.Connect(partial, LedgerAccess::kReadWrite));
    ABSL_RETURN_IF_ERROR(file.Execute(absl::StrCat("PRAGMA synchronous=FULL; PRAGMA page_size=", page_bytes,
                                                   "; PRAGMA journal_mode=MEMORY; PRAGMA journal_mode=WAL")));
  }
  KillPoint("ledger: file made");
  if (rename(partial.c_str(), path.c_str()) != 0) return FileError(partial, absl::StrCat("rename to ", path), errno);
  KillPoint("ledger: file named");
  return absl::OkStatus();
}

absl::Status LedgerConnection::Connect(const std::string& path, LedgerAccess access) {
  path_ = path;
  writes_ = access == LedgerAccess::kReadWrite;
  sqlite3* connection = nullptr;
  const int flags = writes_ ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  // NOMUTEX: each connection has one user at a time, see the class.
  const int code = sqlite3_open_v2(path.c_str(), &connection, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  connection_.reset(connection);
  if (code != SQLITE_OK) return Error(code);
  sqlite3_extended_result_codes(connection, 1);
  sqlite3_busy_timeout(connection, kBusyTimeoutMilliseconds);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LedgerConnection>> LedgerConnection::Open(const std::string& path, LedgerAccess access,
                                                                         int page_bytes) {
  if (access == LedgerAccess::kReadWrite) ABSL_RETURN_IF_ERROR(MakeFile(path, page_bytes));
  // SQLite follows links, and gives the files beside the ledger's its rights. Nobody else writes into the folder.
  for (const char* const suffix : {"", "-wal", "-shm", "-journal"}) {
    if (access == LedgerAccess::kReadOnly) break;
    const Absent absent = *suffix == '\0' ? Absent::kMake : Absent::kFail;
    ABSL_RETURN_IF_ERROR(ClaimOwnFile(path + suffix, absent));
  }
  std::unique_ptr<LedgerConnection> ledger(new LedgerConnection);
  ABSL_RETURN_IF_ERROR(ledger->Connect(path, access));
  if (access == LedgerAccess::kReadWrite) {
    // 10,000 pages: bulk appends touch a page many times before it goes to the main file once.
    ABSL_RETURN_IF_ERROR(ledger->Execute(
        absl::StrCat("PRAGMA page_size=", page_bytes, "; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
                     "PRAGMA wal_autocheckpoint=10000; PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY;",
                     "PRAGMA cache_size=-1024")));
    return ledger;
  }
  // Opening reads nothing; this does.
  const absl::Status read = ledger->Execute(kFirstRead);
  const int read_code = sqlite3_extended_errcode(ledger->connection_.get());
  if (read_code != SQLITE_READONLY_ROLLBACK && read_code != SQLITE_READONLY_RECOVERY) {
    ABSL_RETURN_IF_ERROR(read);
    return ledger;
  }
  // A run died while it made the file: a connection that may write undoes what it left.
  ABSL_RETURN_IF_ERROR(Open(path, LedgerAccess::kReadWrite, page_bytes).status());
  ABSL_RETURN_IF_ERROR(ledger->Execute(kFirstRead));
  return ledger;
}

absl::StatusOr<LedgerStatement> LedgerConnection::Prepare(absl::string_view sql) {
  sqlite3_stmt* prepared = nullptr;
  const int code = sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
  if (code != SQLITE_OK) return Error(code);
  LedgerStatement statement;
  statement.statement_.reset(prepared);
  statement.connection_ = this;
  return statement;
}

absl::Status LedgerConnection::Execute(const std::string& sql) {
  errno = 0;
  const int code = sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : Error(code);
}

absl::StatusOr<int64_t> LedgerConnection::QueryInteger(absl::string_view sql) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, Prepare(sql));
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  return row ? query.Integer(0) : 0;
}

absl::Status LedgerConnection::Error(int code) const {
  // SQLite does not note the system's error when COMMIT fails; then it is where the system left it.
  int system_errno = errno;
  if (connection_ != nullptr && sqlite3_system_errno(connection_.get()) != 0) {
    system_errno = sqlite3_system_errno(connection_.get());
  }
  absl::StatusCode status_code = CodeOf(code & 0xFF, system_errno);
  if (writes_ && (code & 0xFF) == SQLITE_CANTOPEN && HasNoRoomBeside(path_)) {
    status_code = absl::StatusCode::kResourceExhausted;
  }
  const char* const words = connection_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(connection_.get());
  if (status_code == absl::StatusCode::kResourceExhausted) {
    return absl::Status(status_code, absl::StrCat(path_, ": disk full (", words, "): at least ", bytes_to_write_,
                                                  " more bytes are needed; make room and run the same command again"));
  }
  return absl::Status(status_code, absl::StrCat(path_, ": ", words));
}

}  // namespace reembed
