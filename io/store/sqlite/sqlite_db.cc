// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_db.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::Status CheckFile(const std::string& path, SqliteAccess access) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    if (access == SqliteAccess::kCreate) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(path, ": no such file; check the path"));
  }
  if (error) return absl::PermissionDeniedError(absl::StrCat(path, ": ", error.message()));
  if (std::filesystem::is_directory(status)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, not an SQLite database; name the file"));
  }
  // SQLite takes an empty file for an empty database; whoever named one meant another file.
  if (access != SqliteAccess::kCreate && std::filesystem::is_regular_file(status) &&
      std::filesystem::file_size(path, error) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is empty, not an SQLite database; check the path"));
  }
  return absl::OkStatus();
}

// Waits for a lock, and looks every few milliseconds: SQLite's own handler does so ten times a second, and hardly ever
// meets a moment between the commits of one who writes all the time. `timeout`: in milliseconds, as a pointer; 0: there
// is no other try.
int WaitForLock(void* timeout, int tries) {
  constexpr int64_t kQuickTries = 50, kMilliseconds = 5;
  const int64_t waited =
      std::min<int64_t>(tries, kQuickTries) + kMilliseconds * std::max<int64_t>(0, tries - kQuickTries);
  if (waited >= reinterpret_cast<intptr_t>(timeout)) return 0;
  sqlite3_sleep(tries < kQuickTries ? 1 : kMilliseconds);
  return 1;
}

bool IsNoAccess(int system_error) { return system_error == EACCES || system_error == EPERM || system_error == EROFS; }

absl::Status StatusFrom(int code, int system_error, const std::string& path, absl::string_view words) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return absl::UnavailableError(absl::StrCat(path, ": locked by another program; close it or try again"));
    case SQLITE_NOTADB:
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": is not an SQLite database (or is encrypted); check the path"));
    case SQLITE_CORRUPT:
      return absl::DataLossError(
          absl::StrCat(path, ": damaged: ", words, "; restore a backup, or see `sqlite3 ", path, " .recover`"));
    case SQLITE_READONLY:
      if (code == SQLITE_READONLY_ROLLBACK || code == SQLITE_READONLY_RECOVERY) {
        return absl::FailedPreconditionError(
            absl::StrCat(path, ": a program died while writing to it; open it once with that program, or `sqlite3 ",
                         path, " .tables`, so that the unfinished change is undone"));
      }
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": ", words, "; make the file and its folder writable, or work on a copy"));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(path, ": the disk is full; free some space and run again"));
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory"));
    case SQLITE_CANTOPEN:
      if (IsNoAccess(system_error)) {
        return absl::PermissionDeniedError(absl::StrCat(path, ": ", words, ": ",
                                                        std::generic_category().message(system_error),
                                                        "; check the permissions of the file and its folder"));
      }
      return absl::UnavailableError(absl::StrCat(path, ": ", words));
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(absl::StrCat(path, ": ", words));
    case SQLITE_IOERR:
      return absl::UnavailableError(absl::StrCat(path, ": ", words, " (code ", code, ")"));
    case SQLITE_CONSTRAINT:
      return absl::FailedPreconditionError(absl::StrCat(path, ": ", words));
    case SQLITE_INTERRUPT:
      return absl::CancelledError(absl::StrCat(path, ": ", words));
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_INTERNAL:
      return absl::InternalError(absl::StrCat(path, ": ", words, " (code ", code, "); please report this"));
    default:  // SQLITE_ERROR: the SQL is wrong; SQLITE_TOOBIG, SQLITE_MISMATCH: the value is
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", words));
  }
}

}  // namespace

// SQLite's own statement.
class SqliteDb::Cursor final : public SqlCursor {
 public:
  Cursor(const SqliteDb* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor() override { sqlite3_finalize(statement_); }

  void Bind(int parameter, const SqliteValue& value) override {
    const int result = BindValue(parameter, value);
    if (bind_error_ == SQLITE_OK) bind_error_ = result;
  }

  absl::StatusOr<bool> Step() override {
    if (const int bind_error = std::exchange(bind_error_, SQLITE_OK); bind_error != SQLITE_OK) {
      return StatusFrom(bind_error, 0, db_->path(), sqlite3_errstr(bind_error));
    }
    const int result = sqlite3_step(statement_);
    if (result == SQLITE_ROW) return true;
    absl::Status status = result == SQLITE_DONE ? absl::OkStatus() : db_->Error(result);
    Reset();
    ABSL_RETURN_IF_ERROR(status);
    return false;
  }

  void Reset() override { sqlite3_reset(statement_); }

  SqliteValue Get(int column) const override {
    // Each of SQLite's own questions about a column costs some nanoseconds of a row; a connection has one user at a
    // time, so its value may be asked instead.
    sqlite3_value* const value = sqlite3_column_value(statement_, column);
    switch (sqlite3_value_type(value)) {
      case SQLITE_INTEGER:
        return {.type = SqliteType::kInteger, .integer = sqlite3_value_int64(value)};
      case SQLITE_FLOAT:
        return {.type = SqliteType::kReal, .real = sqlite3_value_double(value)};
      case SQLITE_TEXT: {
        const unsigned char* text = sqlite3_value_text(value);
        // No memory for another encoding: asked for through the statement, it fails.
        if (text == nullptr) text = sqlite3_column_text(statement_, column);
        return {.type = SqliteType::kText, .bytes = Bytes(text, value)};
      }
      case SQLITE_BLOB:
        return {.type = SqliteType::kBlob, .bytes = Bytes(sqlite3_value_blob(value), value)};
      default:
        return {};
    }
  }

  int parameters() const override { return sqlite3_bind_parameter_count(statement_); }

 private:
  int BindValue(int parameter, const SqliteValue& value) {
    // A null pointer would bind NULL.
    const char* const bytes = value.bytes.data() == nullptr ? "" : value.bytes.data();
    switch (value.type) {
      case SqliteType::kNull:
        return sqlite3_bind_null(statement_, parameter);
      case SqliteType::kInteger:
        return sqlite3_bind_int64(statement_, parameter, value.integer);
      case SqliteType::kReal:
        return sqlite3_bind_double(statement_, parameter, value.real);
      case SqliteType::kText:
        return sqlite3_bind_text64(statement_, parameter, bytes, value.bytes.size(), SQLITE_STATIC, SQLITE_UTF8);
      case SqliteType::kBlob:
        return sqlite3_bind_blob64(statement_, parameter, bytes, value.bytes.size(), SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
  }

  // The call order matters: asking for the text may convert, and only then is the size that of the UTF-8 form.
  static absl::string_view Bytes(const void* bytes, sqlite3_value* value) {
    if (bytes == nullptr) return "";
    return {static_cast<const char*>(bytes), static_cast<size_t>(sqlite3_value_bytes(value))};
  }

  const SqliteDb* const db_;
  sqlite3_stmt* const statement_;
  int bind_error_ = SQLITE_OK;  // first failed binding since the last Step()
};

// Finds out whether the file is a database that can be read.
constexpr char kFirstRead[] = "SELECT 1 FROM sqlite_schema LIMIT 1";

absl::StatusOr<std::unique_ptr<SqliteDb>> SqliteDb::Open(const std::string& path, SqliteAccess access,
                                                         absl::Duration busy_timeout) {
  ABSL_RETURN_IF_ERROR(CheckFile(path, access));
  const bool writes = access == SqliteAccess::kReadWrite || access == SqliteAccess::kCreate;
  int flags = writes ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
  if (access == SqliteAccess::kCreate) flags |= SQLITE_OPEN_CREATE;
  std::string name = path;
  if (access == SqliteAccess::kUnchanging) {
    name = absl::StrCat("file:", absl::StrReplaceAll(path, {{"%", "%25"}, {"?", "%3f"}, {"#", "%23"}}), "?immutable=1");
    flags |= SQLITE_OPEN_URI;
  }
  sqlite3* handle = nullptr;
  const int result = sqlite3_open_v2(name.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  if (handle == nullptr) return absl::ResourceExhaustedError(absl::StrCat(path, ": out of memory"));
  auto db = std::unique_ptr<SqliteDb>(new SqliteDb(path, handle));
  if (result != SQLITE_OK) return db->Error(result);
  sqlite3_extended_result_codes(handle, 1);
  const intptr_t milliseconds = absl::ToInt64Milliseconds(busy_timeout);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a handler gets a pointer alone, and the number lives as long as it does.
  sqlite3_busy_handler(handle, WaitForLock, reinterpret_cast<void*>(milliseconds));
  // Opening reads nothing; this does.
  absl::Status read = db->Exec(kFirstRead);
  const int code = sqlite3_extended_errcode(handle);
  if (!read.ok() && (code == SQLITE_READONLY_ROLLBACK || code == SQLITE_READONLY_RECOVERY)) {
    // A program died while writing, and this connection may not undo what it left: one that can write does, as every
    // program would that opens the file.
    ABSL_RETURN_IF_ERROR(Open(path, SqliteAccess::kReadWrite, busy_timeout).status());
    read = db->Exec(kFirstRead);
  }
  ABSL_RETURN_IF_ERROR(read);
  // FULL does not sync the folder behind the removal of a journal: after a power cut the journal can be back, and with
  // it all that was there before a commit that was thought durable.
  if (writes) {
    ABSL_RETURN_IF_ERROR(db->Exec("PRAGMA synchronous = EXTRA"));
  }
  // A write-protected file is opened for reading, without a word.
  if (writes && sqlite3_db_readonly(handle, "main") == 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the file is write-protected; make it and its folder writable, or work on a copy"));
  }
  return db;
}

SqliteDb::~SqliteDb() { sqlite3_close_v2(db_); }

absl::StatusOr<SqliteStatement> SqliteDb::Prepare(absl::string_view sql) const {
  sqlite3_stmt* handle = nullptr;
  const char* tail = nullptr;
  const int result =
      sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &handle, &tail);
  if (result != SQLITE_OK) return Error(result);
  SqliteStatement statement(std::make_unique<Cursor>(this, handle));
  const size_t used = static_cast<size_t>(tail - sql.data());
  if (handle == nullptr || !absl::StripAsciiWhitespace(sql.substr(used)).empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": expected one SQL statement, without a semicolon"));
  }
  return statement;
}

absl::Status SqliteDb::LoadExtension(const std::string& file) {
  char* words = nullptr;
  sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 1, nullptr);
  const int result = sqlite3_load_extension(db_, file.c_str(), nullptr, &words);
  // Not for the SQL of anybody's triggers.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  if (result == SQLITE_OK) return absl::OkStatus();
  const std::string reason = words == nullptr ? sqlite3_errstr(result) : words;
  sqlite3_free(words);
  return absl::InvalidArgumentError(
      absl::StrCat(path(), ": the extension ", file, " cannot be loaded: ", reason, "; check extension="));
}

absl::Status SqliteDb::CopyTo(SqliteDb* to, const std::function<void(int64_t, int64_t)>& told) const {
  // A few pages at a time let writers of a rollback journal in, and each of them makes the copy begin anew; so after
  // some of them it is made in one go, for which they wait. With a write-ahead log nobody waits in any case.
  constexpr int kPages = 4096;
  constexpr int kMaxRestarts = 5;
  ABSL_ASSIGN_OR_RETURN(SqliteStatement mode, Prepare("PRAGMA journal_mode"));
  ABSL_ASSIGN_OR_RETURN(const bool row, mode.Step());
  int restarts = row && mode.Text(0) == "wal" ? kMaxRestarts : 0;
  mode.Reset();
  ABSL_ASSIGN_OR_RETURN(SqliteStatement page, Prepare("PRAGMA page_size"));
  ABSL_ASSIGN_OR_RETURN(const bool has_size, page.Step());
  const int64_t page_bytes = has_size ? page.Int(0) : 0;
  page.Reset();
  sqlite3_backup* const copy = sqlite3_backup_init(to->db_, "main", db_, "main");
  if (copy == nullptr) return to->Error(sqlite3_errcode(to->db_));
  int left = std::numeric_limits<int>::max();
  int result;
  const auto tell = [&] {
    if (told == nullptr) return;
    const int64_t pages = sqlite3_backup_pagecount(copy);
    told((pages - sqlite3_backup_remaining(copy)) * page_bytes, pages * page_bytes);
  };
  // Who wants to be told has a source that nobody writes to.
  while ((result = sqlite3_backup_step(copy, told != nullptr || restarts < kMaxRestarts ? kPages : -1)) == SQLITE_OK) {
    const int now = sqlite3_backup_remaining(copy);
    if (now >= left) ++restarts;
    left = now;
    tell();
  }
  if (result == SQLITE_DONE) tell();
  const int finished = sqlite3_backup_finish(copy);
  if (result == SQLITE_DONE) result = finished;
  if (result == SQLITE_OK) return absl::OkStatus();
  return StatusFrom(result, sqlite3_system_errno(to->db_), absl::StrCat(path(), ", copied to ", to->path()),
                    sqlite3_errstr(result));
}

int64_t SqliteDb::ChangedRows() const { return sqlite3_changes64(db_); }
bool SqliteDb::InTransaction() const { return sqlite3_get_autocommit(db_) == 0; }
int SqliteDb::LastCode() const { return sqlite3_errcode(db_) & 0xff; }
std::string SqliteDb::LastMessage() const { return sqlite3_errmsg(db_); }

absl::Status SqliteDb::Error(int code) const {
  return StatusFrom(sqlite3_extended_errcode(db_) == SQLITE_OK ? code : sqlite3_extended_errcode(db_),
                    sqlite3_system_errno(db_), path(), sqlite3_errmsg(db_));
}

}  // namespace reembed
