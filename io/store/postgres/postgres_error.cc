// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_error.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace reembed {
namespace {

bool IsOneOf(absl::string_view code, std::initializer_list<absl::string_view> codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

}  // namespace

absl::StatusCode PostgresCodeOf(absl::string_view sqlstate) {
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

PostgresRefusal PostgresRefusalOf(absl::string_view code) {
  const absl::string_view kind = code.substr(0, 2);
  if (code.empty() || code == "55P03" || code == "XX001" || code == "XX002" ||
      IsOneOf(kind, {"08", "25", "28", "2D", "34", "3B", "40", "53", "57", "58", "72", "F0"})) {
    return PostgresRefusal::kNo;
  }
  if (IsOneOf(kind, {"0A", "26", "3D", "3F", "42", "55", "HV", "XX"})) return PostgresRefusal::kMaybe;
  return PostgresRefusal::kYes;
}

PostgresConnectError ReadPostgresConnectError(std::string message) {
  constexpr size_t kCodeBytes = 5;
  std::string code;
  for (size_t at = message.find(":  "); at != std::string::npos; at = message.find(":  ", at + 1)) {
    const size_t begin = at + 3;
    const absl::string_view found = absl::string_view(message).substr(begin, kCodeBytes + 2);
    const bool is_code = found.size() == kCodeBytes + 2 && absl::EndsWith(found, ": ") &&
                         std::all_of(found.begin(), found.begin() + kCodeBytes, [](char c) {
                           return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'A' && c <= 'Z');
                         });
    if (!is_code) continue;
    code = std::string(found.substr(0, kCodeBytes));
    message.erase(begin, kCodeBytes + 2);
  }
  for (size_t at = message.find("\nLOCATION:"); at != std::string::npos; at = message.find("\nLOCATION:")) {
    message.erase(at, std::min(message.find('\n', at + 1), message.size()) - at);
  }
  if (!code.empty()) return {.code = PostgresCodeOf(code), .by_server = true, .message = std::move(message)};
  // libpq's own words, which it never translates for a program that does not ask for it.
  for (const absl::string_view words : {"no password supplied", "SCRAM", "authentication method"}) {
    if (absl::StrContains(message, words)) {
      return {.code = absl::StatusCode::kUnauthenticated, .message = std::move(message)};
    }
  }
  return {.message = std::move(message)};
}

absl::string_view PostgresConnectAdvice(absl::StatusCode code) {
  switch (code) {
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

absl::string_view PostgresFirstLine(const char* message) {
  absl::string_view line = message == nullptr ? "" : message;
  line = absl::StripAsciiWhitespace(line.substr(0, line.find('\n')));
  for (const absl::string_view severity : {"ERROR:", "FATAL:", "PANIC:"}) {
    if (absl::StartsWith(line, severity)) line = absl::StripLeadingAsciiWhitespace(line.substr(severity.size()));
  }
  return line;
}

}  // namespace reembed
