#include "io/store/postgres_connection.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "engine/retry.h"

namespace reembed {
namespace {

// The first line without its severity: what follows (DETAIL, CONTEXT) may show the values of a row.
std::string FirstLine(const char* message) {
  absl::string_view line = message == nullptr ? "" : message;
  line = absl::StripAsciiWhitespace(line.substr(0, line.find('\n')));
  for (const absl::string_view severity : {"ERROR:", "FATAL:", "PANIC:"}) {
    if (absl::StartsWith(line, severity)) line = absl::StripLeadingAsciiWhitespace(line.substr(severity.size()));
  }
  return std::string(line);
}

bool IsOneOf(absl::string_view code, std::initializer_list<absl::string_view> codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

absl::StatusCode CodeOf(absl::string_view sqlstate) {
  const absl::string_view kind = sqlstate.substr(0, 2);
  if (sqlstate.empty() || kind == "08" || kind == "40" || IsOneOf(sqlstate, {"55P03", "57014", "53300"}) ||
      absl::StartsWith(sqlstate, "57P")) {
    return absl::StatusCode::kUnavailable;
  }
  if (kind == "28") return absl::StatusCode::kUnauthenticated;
  if (sqlstate == "42501") return absl::StatusCode::kPermissionDenied;
  if (IsOneOf(sqlstate, {"42P01", "42703", "42883", "42704", "3D000", "3F000"})) return absl::StatusCode::kNotFound;
  if (kind == "42") return absl::StatusCode::kInvalidArgument;
  if (kind == "53") return absl::StatusCode::kResourceExhausted;
  if (IsOneOf(kind, {"22", "23", "25", "44", "54", "55", "P0", "0A"})) return absl::StatusCode::kFailedPrecondition;
  if (absl::StartsWith(sqlstate, "XX00") && sqlstate != "XX000") return absl::StatusCode::kDataLoss;
  return absl::StatusCode::kInternal;
}

// libpq does not show the SQLSTATE of a connection that was refused, so the server's words must do; a server that
// speaks another language is taken for one that is away.
absl::StatusCode ConnectCodeOf(absl::string_view message) {
  for (const absl::string_view words : {"password authentication failed", "no password supplied", "role \"",
                                        "authentication failed", "SCRAM", "no pg_hba.conf entry"}) {
    if (absl::StrContains(message, words)) return absl::StatusCode::kUnauthenticated;
  }
  if (absl::StrContains(message, "database \"") && absl::StrContains(message, "does not exist")) {
    return absl::StatusCode::kNotFound;
  }
  if (absl::StrContains(message, "permission denied for database")) return absl::StatusCode::kPermissionDenied;
  return absl::StatusCode::kUnavailable;
}

absl::string_view NextStepOf(absl::StatusCode connect_code) {
  switch (connect_code) {
    case absl::StatusCode::kUnauthenticated:
      return "; set PGPASSWORD, or write a line into ~/.pgpass, and check the user";
    case absl::StatusCode::kNotFound:
      return "; check the name of the database";
    case absl::StatusCode::kPermissionDenied:
      return "; GRANT CONNECT ON DATABASE to this user";
    default:
      return "; check that the server runs and takes connections at this address";
  }
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
  if (absl::Status status = connection->Connect(); !status.ok()) return status;
  return connection;
}

absl::Status PostgresConnection::Connect() {
  PQfinish(connection_);
  connection_ = nullptr;
  std::vector<const char*> keywords, values;
  // The later of two values for one keyword wins, so what the user says overrules these defaults.
  for (const auto& [keyword, value] : {std::pair("connect_timeout", "10"), std::pair("application_name", "reembed")}) {
    keywords.push_back(keyword);
    values.push_back(value);
  }
  for (const auto& [keyword, value] : address_.keywords) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back("client_encoding");
  values.push_back("UTF8");
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  connection_ = PQconnectdbParams(keywords.data(), values.data(), 0);
  if (connection_ == nullptr) return absl::ResourceExhaustedError("out of memory");
  last_code_.clear();
  if (PQstatus(connection_) != CONNECTION_OK) {
    // The last line: libpq tries several addresses and says one line about each.
    std::string message(absl::StripAsciiWhitespace(PQerrorMessage(connection_)));
    const absl::StatusCode code = ConnectCodeOf(message);
    message = absl::StrReplaceAll(message, {{"\n", " "}, {"\t", ""}});
    return absl::Status(code, absl::StrCat(address_.name, ": ", message, NextStepOf(code)));
  }
  // A notice belongs to nobody's output.
  PQsetNoticeReceiver(
      connection_, [](void*, const PGresult*) {}, nullptr);
  std::vector<std::string> setup = options_.setup;
  // A limit made for web requests must not end the count of a large table, or an index half built.
  setup.push_back("SET statement_timeout = 0");
  if (options_.read_only) setup.push_back("SET default_transaction_read_only = on");
  for (const std::string& statement : setup) {
    if (absl::Status status = Run(statement); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PostgresConnection::ConnectionError() const {
  return absl::UnavailableError(absl::StrCat(address_.name, ": the connection is lost (",
                                             FirstLine(PQerrorMessage(connection_)), "); is the server running?"));
}

absl::Status PostgresConnection::ResultError(PGresult* result) {
  const char* const code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  last_code_ = code == nullptr ? "" : code;
  if (PQstatus(connection_) != CONNECTION_OK && last_code_.empty()) return ConnectionError();
  const char* const primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return absl::Status(CodeOf(last_code_),
                      absl::StrCat(address_.name, ": ",
                                   primary != nullptr ? FirstLine(primary) : FirstLine(PQresultErrorMessage(result))));
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

absl::Status PostgresConnection::SendQuery(const std::string& sql, absl::Span<const PostgresValue> values,
                                           bool binary_result) {
  std::vector<const char*> bytes;
  std::vector<int> sizes, formats;
  for (const PostgresValue& value : values) {
    bytes.push_back(value.bytes);
    sizes.push_back(value.size);
    formats.push_back(value.binary ? 1 : 0);
  }
  last_code_.clear();
  // Not prepared by name: a pooler may hand each transaction another server process.
  if (PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr, bytes.data(), sizes.data(),
                        formats.data(), binary_result ? 1 : 0) == 1) {
    return absl::OkStatus();
  }
  return ConnectionError();
}

absl::StatusOr<PostgresRows> PostgresConnection::Query(const std::string& sql, absl::Span<const PostgresValue> values) {
  if (absl::Status sent = SendQuery(sql, values, false); !sent.ok()) return sent;
  PGresult* const result = PQgetResult(connection_);
  if (result == nullptr) return ConnectionError();
  PostgresRows rows(result);
  absl::Status status;
  if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
    status = ResultError(result);
  }
  const absl::Status finished = FinishResults();
  if (!status.ok()) return status;
  if (!finished.ok()) return finished;
  return rows;
}

absl::Status PostgresConnection::Run(const std::string& sql) {
  last_code_.clear();
  PGresult* const result = PQexec(connection_, sql.c_str());
  if (result == nullptr) return ConnectionError();
  const PostgresRows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return absl::OkStatus();
  return ResultError(result);
}

absl::Status PostgresConnection::Stream(const std::string& sql, absl::Span<const PostgresValue> values,
                                        absl::FunctionRef<bool(const PostgresRows&)> take) {
  if (absl::Status sent = SendQuery(sql, values, true); !sent.ok()) return sent;
  PQsetSingleRowMode(connection_);
  bool wanted = true;
  absl::Status status;
  while (PGresult* result = PQgetResult(connection_)) {
    const PostgresRows row(result);
    const ExecStatusType state = PQresultStatus(result);
    if (state == PGRES_SINGLE_TUPLE) {
      wanted = wanted && take(row);
    } else if (state != PGRES_TUPLES_OK && status.ok()) {
      status = ResultError(result);
    }
  }
  return status;
}

absl::Status PostgresConnection::CopyIn(const std::string& sql, absl::FunctionRef<bool(std::string* piece)> next) {
  last_code_.clear();
  {
    PGresult* const result = PQexec(connection_, sql.c_str());
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

bool IsPostgresRefusal(absl::string_view code) {
  const absl::string_view kind = code.substr(0, 2);
  return kind == "22" || kind == "23" || kind == "44" || kind == "54" || kind == "P0";
}

std::string QuotePostgresName(absl::string_view name) {
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

std::string QuotePostgresText(absl::string_view text) {
  // E'' reads the same whatever standard_conforming_strings says.
  return absl::StrCat("E'", absl::StrReplaceAll(text, {{"'", "''"}, {"\\", "\\\\"}}), "'");
}

}  // namespace reembed
