// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "engine/kill_point.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/retry.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_error.h"

namespace reembed {
namespace {

constexpr int kConnectSeconds = 10;  // where the location does not say connect_timeout

constexpr char kOptionsWantDirect[] =
    "options= and PGOPTIONS are for a session, which a pooler such as PgBouncer shares among its clients: they need a "
    "direct connection. Give the host and port of the server itself, or leave them out";

constexpr size_t kMaxWordsShown = 1000;

// PQconnectdbParams(), but with messages that hold the SQLSTATE. `timeout_seconds` 0: waits for ever. False: no answer
// came in that time.
bool Establish(const std::vector<const char*>& keywords, const std::vector<const char*>& values, int timeout_seconds,
               pg_conn** connection) {
  *connection = PQconnectStartParams(keywords.data(), values.data(), 0);
  if (*connection == nullptr) return true;
  PQsetErrorVerbosity(*connection, PQERRORS_VERBOSE);
  const Moment deadline =
      timeout_seconds > 0 ? MonotonicNow() + absl::Seconds(timeout_seconds) : absl::InfiniteDuration();
  PostgresPollingStatusType state =
      PQstatus(*connection) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED) {
    pollfd ready{.fd = PQsocket(*connection),
                 .events = static_cast<int16_t>(state == PGRES_POLLING_READING ? POLLIN : POLLOUT)};
    const absl::Duration left = deadline - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    const int answers =
        poll(&ready, 1, left < absl::Hours(1) ? static_cast<int>(absl::ToInt64Milliseconds(left)) + 1 : -1);
    if (answers > 0) state = PQconnectPoll(*connection);
  }
  PQsetErrorVerbosity(*connection, PQERRORS_DEFAULT);
  return true;
}

using Keywords = std::vector<std::pair<std::string, std::string>>;

// Of several hosts, as libpq lists them; false: there is only one.
bool DropFirstHost(Keywords* keywords) {
  bool dropped = false;
  for (auto& [keyword, value] : *keywords) {
    if (keyword != "host" && keyword != "hostaddr" && keyword != "port") continue;
    const size_t comma = value.find(',');
    if (comma == std::string::npos) continue;
    value.erase(0, comma + 1);
    dropped = dropped || keyword != "port";
  }
  return dropped;
}

}  // namespace

PostgresRows& PostgresRows::operator=(PostgresRows&& other) noexcept {
  std::swap(result_, other.result_);
  return *this;
}

PostgresRows::~PostgresRows() { PQclear(result_); }

int PostgresRows::size() const { return PQntuples(result_); }

bool PostgresRows::IsNull(int row, int column) const { return PQgetisnull(result_, row, column) != 0; }

absl::string_view PostgresRows::Bytes(int row, int column) const {
  return {PQgetvalue(result_, row, column), static_cast<size_t>(PQgetlength(result_, row, column))};
}

int64_t PostgresRows::Int(int row, int column) const {
  int64_t number = 0;
  return absl::SimpleAtoi(Bytes(row, column), &number) ? number : 0;
}

int64_t PostgresRows::ChangedRows() const {
  int64_t number = 0;
  return absl::SimpleAtoi(PQcmdTuples(result_), &number) ? number : 0;
}

PostgresConnection::PostgresConnection(PostgresAddress address, PostgresOptions options)
    : address_(std::move(address)), options_(std::move(options)) {}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(PostgresAddress address,
                                                                             PostgresOptions options) {
  auto connection = std::unique_ptr<PostgresConnection>(new PostgresConnection(std::move(address), std::move(options)));
  absl::Status status = connection->Connect();
  const std::shared_ptr<std::atomic<bool>>& answered = connection->address_.answered;
  if (absl::IsUnavailable(status) && answered != nullptr && *answered) {
    status = connection->Persist([] { return absl::OkStatus(); });
  }
  ABSL_RETURN_IF_ERROR(status);
  return connection;
}

absl::Status PostgresConnection::Connect() {
  PQfinish(connection_);
  connection_ = nullptr;
  last_code_.clear();
  int timeout_seconds = kConnectSeconds;
  for (const auto& [keyword, value] : address_.keywords) {
    if (keyword == "connect_timeout" && !absl::SimpleAtoi(value, &timeout_seconds)) timeout_seconds = kConnectSeconds;
  }
  const std::string startup = StartupOptions();
  Keywords asked = address_.keywords;
  while (true) {
    std::vector<const char*> keywords, values;
    const auto add = [&](const char* keyword, const char* value) {
      keywords.push_back(keyword);
      values.push_back(value);
    };
    // The later of two values for one keyword wins, so what the user says overrules these defaults.
    add("application_name", "reembed");
    for (const auto& [keyword, value] : asked) add(keyword.c_str(), value.c_str());
    if (!options_.startup.empty()) add("options", startup.c_str());
    add("client_encoding", "UTF8");
    add(nullptr, nullptr);
    if (Establish(keywords, values, timeout_seconds, &connection_)) break;
    // libpq goes on to the next host when one refuses, not when one is silent.
    if (!DropFirstHost(&asked)) {
      return absl::UnavailableError(absl::StrCat(address_.name, ": no answer within ", timeout_seconds, " s",
                                                 PostgresConnectAdvice(absl::StatusCode::kUnavailable)));
    }
    PQfinish(connection_);
    connection_ = nullptr;
  }
  if (connection_ == nullptr) return absl::ResourceExhaustedError("out of memory");
  if (PQstatus(connection_) != CONNECTION_OK) {
    // The last line: libpq tries several addresses and says one line about each.
    std::string message(absl::StripAsciiWhitespace(PQerrorMessage(connection_)));
    const PostgresConnectError error = ReadPostgresConnectError(std::move(message));
    // One that is starting is there.
    if (error.by_server && address_.answered != nullptr) *address_.answered = true;
    message = absl::StrReplaceAll(error.message, {{"\n", " "}, {"\t", ""}});
    if (absl::StrContains(message, "unsupported startup parameter: options")) {
      return absl::FailedPreconditionError(absl::StrCat(address_.name, ": ", kOptionsWantDirect));
    }
    return absl::Status(error.code,
                        absl::StrCat(address_.name, ": ", Words(message), PostgresConnectAdvice(error.code)));
  }
  if (address_.answered != nullptr) *address_.answered = true;
  // A notice belongs to nobody's output.
  PQsetNoticeReceiver(
      connection_, [](void*, const PGresult*) {}, nullptr);
  return CheckStartup();
}

// Those of PostgresOptions, behind what the user asks for.
std::string PostgresConnection::StartupOptions() const {
  std::string asked;
  if (const char* const options = std::getenv("PGOPTIONS"); options != nullptr) asked = options;
  for (const auto& [keyword, value] : address_.keywords) {
    if (keyword == "options") asked = value;
  }
  return asked.empty() ? options_.startup : absl::StrCat(asked, " ", options_.startup);
}

// `options` is for the session, which a pooler shares or never hears of.
absl::Status PostgresConnection::CheckStartup() {
  PQconninfoOption* const effective = PQconninfo(connection_);  // also from PGOPTIONS and services
  std::string options;
  for (const PQconninfoOption* option = effective; option != nullptr && option->keyword != nullptr; ++option) {
    if (absl::string_view(option->keyword) == "options" && option->val != nullptr) options = option->val;
  }
  PQconninfoFree(effective);
  // Other words name a tenant or an endpoint to the pooler itself.
  if (!absl::StrContains(options, "-c") && !absl::StrContains(options, "--")) return absl::OkStatus();
  const absl::StatusOr<bool> pooled = IsPooled();
  if (!pooled.ok() || !*pooled) return pooled.status();
  return absl::FailedPreconditionError(absl::StrCat(address_.name, ": ", kOptionsWantDirect));
}

absl::StatusOr<bool> PostgresConnection::IsPooled() {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows process, Query("SELECT pg_catalog.pg_backend_pid()"));
  return process.Int(0, 0) != PQbackendPID(connection_);
}

bool PostgresConnection::IsWhole() {
  // Takes notice of an end that the other side has sent. The first look may find its last words, the second the end.
  return PQconsumeInput(connection_) == 1 && PQconsumeInput(connection_) == 1 && PQstatus(connection_) == CONNECTION_OK;
}

absl::Status PostgresConnection::AddSetting(PostgresSetting setting) {
  options_.settings.push_back(std::move(setting));
  absl::Status tried = Query("SELECT 1").status();
  if (!tried.ok()) options_.settings.pop_back();
  return tried;
}

std::string PostgresConnection::SettingsSql() const {
  // A limit made for web requests must not end the count of a large table.
  std::string sql = "SELECT pg_catalog.set_config('statement_timeout', '0', true)";
  if (PQserverVersion(connection_) >= 170000) {
    absl::StrAppend(&sql, ", pg_catalog.set_config('transaction_timeout', '0', true)");
  }
  if (options_.read_only) absl::StrAppend(&sql, ", pg_catalog.set_config('transaction_read_only', 'on', true)");
  for (const PostgresSetting& setting : options_.settings) {
    absl::StrAppend(&sql, ", pg_catalog.set_config(", QuotePostgresText(setting.name), ", ", setting.value, ", true)");
  }
  return sql;
}

// A server, or what stands before it, may repeat what it was sent: the password, from wherever libpq has it, and
// settings that are named like one.
std::string PostgresConnection::Words(absl::string_view said) const {
  std::vector<std::string> secrets = SecretValues(StartupOptions());
  if (const char* const password = PQpass(connection_); password != nullptr) secrets.emplace_back(password);
  for (const auto& [keyword, value] : address_.keywords) {
    if (keyword == "password") secrets.push_back(value);
  }
  return ServerWords(said, secrets, kMaxWordsShown);
}

absl::Status PostgresConnection::ConnectionError() const {
  return absl::UnavailableError(absl::StrCat(address_.name, ": the connection is lost (",
                                             Words(PostgresFirstLine(PQerrorMessage(connection_))),
                                             "); is the server running?"));
}

absl::Status PostgresConnection::ResultError(PGresult* result) {
  const char* const code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  last_code_ = code == nullptr ? "" : code;
  if (PQstatus(connection_) != CONNECTION_OK && last_code_.empty()) return ConnectionError();
  const char* const primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const absl::string_view said = PostgresFirstLine(primary != nullptr ? primary : PQresultErrorMessage(result));
  return absl::Status(PostgresCodeOf(last_code_), absl::StrCat(address_.name, ": ", Words(said)));
}

absl::Status PostgresConnection::FinishResults() {
  absl::Status status;
  while (PGresult* const rest = PQgetResult(connection_)) {
    const PostgresRows owned(rest);
    const ExecStatusType state = PQresultStatus(rest);
    // Ends a COPY that the server still waits for.
    if (state == PGRES_COPY_IN) PQputCopyEnd(connection_, "given up");
    if (state == PGRES_FATAL_ERROR && status.ok()) status = ResultError(rest);
  }
  if (status.ok() && PQstatus(connection_) != CONNECTION_OK) status = ConnectionError();
  return status;
}

absl::Status PostgresConnection::Execute(const std::string& sql, absl::Span<const PostgresValue> values,
                                         bool one_by_one, absl::FunctionRef<void(pg_result*)> take) {
  std::vector<const char*> bytes;
  std::vector<int> sizes, formats;
  for (const PostgresValue& value : values) {
    bytes.push_back(value.bytes);
    sizes.push_back(value.size);
    formats.push_back(value.binary ? 1 : 0);
  }
  const auto send = [&](const std::string& statement) {
    return PQsendQueryParams(connection_, statement.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1;
  };
  last_code_.clear();
  const bool is_alone = PQtransactionStatus(connection_) == PQTRANS_IDLE;
  // BEGIN, the settings, the statement and COMMIT leave together, so that a transaction costs no more round trips than
  // a statement.
  bool sent = !is_alone || (PQenterPipelineMode(connection_) == 1 && send("BEGIN") && send(SettingsSql()));
  sent = sent && PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr, bytes.data(),
                                   sizes.data(), formats.data(), one_by_one ? 1 : 0) == 1;
  sent = sent && (!is_alone || (send("COMMIT") && PQpipelineSync(connection_) == 1));
  if (!sent) return ConnectionError();
  const int before = is_alone ? 2 : 0, count = is_alone ? 4 : 1;
  absl::Status status;
  for (int i = 0; i < count; ++i) {
    if (i == before && one_by_one) PQsetSingleRowMode(connection_);
    while (PGresult* const result = PQgetResult(connection_)) {
      const ExecStatusType state = PQresultStatus(result);
      if (state == PGRES_FATAL_ERROR && status.ok()) status = ResultError(result);
      const bool is_good = state == PGRES_TUPLES_OK || state == PGRES_COMMAND_OK || state == PGRES_SINGLE_TUPLE;
      if (is_good && i == before) {
        take(result);
      } else {
        PQclear(result);
      }
    }
  }
  if (is_alone && PQstatus(connection_) == CONNECTION_OK) {
    PQclear(PQgetResult(connection_));  // of the sync
    if (PQexitPipelineMode(connection_) != 1 && status.ok()) status = ConnectionError();
    if (PQtransactionStatus(connection_) != PQTRANS_IDLE) PQclear(PQexec(connection_, "ROLLBACK"));
  }
  if (status.ok() && PQstatus(connection_) != CONNECTION_OK) status = ConnectionError();
  return status;
}

absl::StatusOr<PostgresRows> PostgresConnection::Query(const std::string& sql, absl::Span<const PostgresValue> values) {
  PostgresRows rows(nullptr);
  ABSL_RETURN_IF_ERROR(Execute(sql, values, false, [&](PGresult* result) { rows = PostgresRows(result); }));
  return rows;
}

absl::Status PostgresConnection::Stream(const std::string& sql, absl::Span<const PostgresValue> values,
                                        absl::FunctionRef<bool(const PostgresRows&)> take) {
  bool wanted = true;
  return Execute(sql, values, true, [&](PGresult* result) {
    const PostgresRows row(result);
    if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) wanted = wanted && take(row);
  });
}

PGresult* PostgresConnection::Send(const std::string& sql) {
  last_code_.clear();
  if (PQtransactionStatus(connection_) != PQTRANS_IDLE) return PQexec(connection_, sql.c_str());
  // Statements that are sent together are one transaction.
  return PQexec(connection_, absl::StrCat(SettingsSql(), ";\n", sql).c_str());
}

absl::Status PostgresConnection::Take(PGresult* result) {
  if (result == nullptr) return ConnectionError();
  const PostgresRows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  KillPoint("postgres: answered");
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) return absl::OkStatus();
  return ResultError(result);
}

absl::Status PostgresConnection::Begin(absl::string_view how) {
  last_code_.clear();
  return Take(PQexec(connection_, absl::StrCat("BEGIN ", how, ";", SettingsSql()).c_str()));
}

absl::Status PostgresConnection::Run(const std::string& sql) { return Take(Send(sql)); }

absl::Status PostgresConnection::RunAlone(const std::string& sql) {
  last_code_.clear();
  return Take(PQexec(connection_, sql.c_str()));
}

absl::Status PostgresConnection::CopyIn(const std::string& sql, absl::FunctionRef<bool(std::string* piece)> next) {
  {
    PGresult* const result = Send(sql);
    if (result == nullptr) return ConnectionError();
    const PostgresRows rows(result);
    if (PQresultStatus(result) != PGRES_COPY_IN) return ResultError(result);
  }
  std::string piece;
  bool sent = true;
  while (sent && next(&piece)) {
    sent = PQputCopyData(connection_, piece.data(), static_cast<int>(piece.size())) == 1;
    piece.clear();
  }
  if (PQputCopyEnd(connection_, sent ? nullptr : "given up") != 1) return ConnectionError();
  PGresult* const result = PQgetResult(connection_);
  if (result == nullptr) return ConnectionError();
  const PostgresRows rows(result);
  const absl::Status status = PQresultStatus(result) == PGRES_COMMAND_OK ? absl::OkStatus() : ResultError(result);
  const absl::Status finished = FinishResults();
  return status.ok() ? finished : status;
}

absl::Status PostgresConnection::CopyOut(const std::string& sql,
                                         absl::FunctionRef<absl::Status(absl::string_view piece)> take) {
  {
    PGresult* const result = Send(sql);
    if (result == nullptr) return ConnectionError();
    const PostgresRows rows(result);
    if (PQresultStatus(result) != PGRES_COPY_OUT) return ResultError(result);
  }
  absl::Status failure;
  char* piece = nullptr;
  int bytes;
  while ((bytes = PQgetCopyData(connection_, &piece, 0)) > 0) {
    // What nobody wants any more is read and dropped.
    if (failure.ok()) failure = take({piece, static_cast<size_t>(bytes)});
    PQfreemem(piece);
  }
  PGresult* const result = PQgetResult(connection_);
  if (result == nullptr) return ConnectionError();
  const PostgresRows rows(result);
  const absl::Status status = PQresultStatus(result) == PGRES_COMMAND_OK ? absl::OkStatus() : ResultError(result);
  const absl::Status finished = FinishResults();
  ABSL_RETURN_IF_ERROR(failure);
  return status.ok() ? finished : status;
}

absl::Status PostgresConnection::Persist(absl::FunctionRef<absl::Status()> work) {
  const RetryPolicy policy{.first_backoff = absl::Milliseconds(100), .max_wait = absl::Seconds(5)};
  std::mt19937_64 random(std::random_device{}());
  absl::Duration waited;
  for (int attempt = 1;; ++attempt) {
    absl::Status status;
    if (PQstatus(connection_) != CONNECTION_OK) status = Connect();
    if (status.ok()) status = work();
    // What is not known to have come from a refusal by the server may pass: it is starting, or the network is gone.
    if (!absl::IsUnavailable(status) || waited >= options_.patience) return status;
    if (PQtransactionStatus(connection_) != PQTRANS_IDLE && PQstatus(connection_) == CONNECTION_OK) {
      if (absl::Status undone = Run("ROLLBACK"); !undone.ok() && !absl::IsUnavailable(undone)) return undone;
    }
    const absl::Duration wait =
        std::min(Backoff(policy, attempt, &random) + absl::Milliseconds(10), options_.patience - waited);
    // Blocks this thread, which is the sink's or the reader's own and has nothing else to do.
    absl::SleepFor(wait);
    waited += std::max(wait, absl::Milliseconds(1));
  }
}

std::string QuotePostgresName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

std::string QuotePostgresText(absl::string_view text) {
  // E'' reads the same whatever standard_conforming_strings says.
  return absl::StrCat("E'", absl::StrReplaceAll(text, {{"'", "''"}, {"\\", "\\\\"}}), "'");
}

}  // namespace reembed
