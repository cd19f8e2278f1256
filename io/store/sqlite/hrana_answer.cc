// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/hrana_answer.h"

#include <simdjson.h>

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/number/base64.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

using simdjson::dom::element;

constexpr size_t kMaxWordsShown = 300;

std::string TextOf(const element& object, absl::string_view name) {
  std::string_view text;
  if (object.at_key({name.data(), name.size()}).get_string().get(text) != simdjson::SUCCESS) return "";
  return std::string(text);
}

// Replies have base64 without padding; other servers may pad.
bool DecodeBlob(std::string_view text, std::string* scratch, std::string* out) {
  scratch->assign(text);
  while (!scratch->empty() && scratch->back() == '=') scratch->pop_back();
  if (scratch->size() % 4 == 1) return false;
  while (scratch->size() % 4 != 0) scratch->push_back('=');
  out->resize(DecodedBase64Size(*scratch));
  return DecodeBase64(*scratch, {reinterpret_cast<unsigned char*>(out->data()), out->size()});
}

bool TakeValue(const element& json, std::string* scratch, HranaRows* rows) {
  SqliteValue value;
  std::string_view type, text;
  if (json["type"].get_string().get(type) != simdjson::SUCCESS) return false;
  if (type == "integer") {
    value.type = SqliteType::kInteger;
    if (json["value"].get_string().get(text) != simdjson::SUCCESS) return false;
    if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &value.integer)) return false;
  } else if (type == "float") {
    value.type = SqliteType::kReal;
    // What is not finite comes as null.
    if (json["value"].get_double().get(value.real) != simdjson::SUCCESS) value.real = 0;
  } else if (type == "text") {
    value.type = SqliteType::kText;
    if (json["value"].get_string().get(text) != simdjson::SUCCESS) return false;
    rows->bytes.emplace_back(text);
    value.bytes = rows->bytes.back();
  } else if (type == "blob") {
    value.type = SqliteType::kBlob;
    if (json["base64"].get_string().get(text) != simdjson::SUCCESS) return false;
    if (!DecodeBlob(text, scratch, &rows->bytes.emplace_back())) return false;
    value.bytes = rows->bytes.back();
  } else if (type != "null") {
    return false;
  }
  rows->values.push_back(value);
  return true;
}

absl::Status Malformed(const HranaServer& server, absl::string_view expected) {
  return absl::UnavailableError(absl::StrCat(server.name, ": expected ", expected,
                                             " in the answer, got something else; is it a libSQL server, and whole?"));
}

bool TakeRows(const element& result, HranaRows* rows) {
  simdjson::dom::array columns, lines;
  if (result["cols"].get_array().get(columns) != simdjson::SUCCESS) return false;
  if (result["rows"].get_array().get(lines) != simdjson::SUCCESS) return false;
  rows->columns = columns.size();
  std::string scratch;
  for (const element line : lines) {
    simdjson::dom::array values;
    if (line.get_array().get(values) != simdjson::SUCCESS || values.size() != rows->columns) return false;
    for (const element value : values) {
      if (!TakeValue(value, &scratch, rows)) return false;
    }
  }
  return true;
}

// A statement that failed, by the server's code. Sources: libsql-server/src/hrana, sqlite.org/rescode.html.
absl::Status StatementStatus(const HranaServer& server, const element& error) {
  const std::string code = TextOf(error, "code");
  const std::string message =
      absl::StrCat(server.name, ": ", ServerWords(TextOf(error, "message"), {server.token}, kMaxWordsShown));
  const auto is = [&](std::initializer_list<absl::string_view> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](absl::string_view p) { return absl::StartsWith(code, p); });
  };
  if (is({"TRANSACTION_TIMEOUT"})) return absl::DeadlineExceededError(message);
  if (is({"SQLITE_BUSY", "SQLITE_LOCKED", "TRANSACTION_BUSY", "SQLITE_IOERR", "PROXY_ERROR", "STREAM_EXPIRED"})) {
    return absl::UnavailableError(message);
  }
  if (is({"RESPONSE_TOO_LARGE"})) return absl::OutOfRangeError(message);
  if (is({"SQLITE_FULL", "SQLITE_NOMEM"})) return absl::ResourceExhaustedError(message);
  if (is({"SQLITE_CONSTRAINT", "SQLITE_READONLY", "BLOCKED", "SQLITE_MISMATCH"})) {
    return absl::FailedPreconditionError(message);
  }
  if (is({"SQLITE_CORRUPT", "SQLITE_NOTADB"})) return absl::DataLossError(message);
  if (is({"SQLITE_AUTH", "SQLITE_PERM"})) return absl::PermissionDeniedError(message);
  return absl::InvalidArgumentError(message);
}

bool IsRefusal(const element& error) {
  const std::string code = TextOf(error, "code");
  return absl::StartsWith(code, "SQLITE_CONSTRAINT") || code == "SQLITE_MISMATCH" || code == "SQLITE_TOOBIG";
}

// The first result of a pipeline of the expected type.
absl::StatusOr<element> TakeResult(const HranaServer& server, const std::string& answer, absl::string_view type,
                                   simdjson::dom::parser* parser) {
  element root;
  // Answers have room behind them; one that has not is copied by the parser.
  const bool roomy = answer.capacity() - answer.size() >= simdjson::SIMDJSON_PADDING;
  simdjson::dom::array results;
  if (parser->parse(answer.data(), answer.size(), !roomy).get(root) != simdjson::SUCCESS ||
      root["results"].get_array().get(results) != simdjson::SUCCESS) {
    return Malformed(server, "results");
  }
  for (const element result : results) {
    element inner;
    if (result["error"].get(inner) == simdjson::SUCCESS) return StatementStatus(server, inner);
    if (result["response"].get(inner) != simdjson::SUCCESS) return Malformed(server, "a response");
    if (TextOf(inner, "type") != type) continue;
    element found;
    if (inner["result"].get(found) != simdjson::SUCCESS) break;
    return found;
  }
  return Malformed(server, absl::StrCat("a result of `", type, "`"));
}

// Steps of the batch: BEGIN, the statements, COMMIT, ROLLBACK.
absl::Status TakeSteps(const HranaServer& server, const element& result, size_t statements,
                       std::vector<HranaStep>* steps) {
  simdjson::dom::array results, errors;
  if (result["step_results"].get_array().get(results) != simdjson::SUCCESS ||
      result["step_errors"].get_array().get(errors) != simdjson::SUCCESS || results.size() != statements + 3 ||
      errors.size() != statements + 3) {
    return Malformed(server, absl::StrCat("the results of ", statements + 3, " steps"));
  }
  absl::Status begin, commit, busy;
  bool ended_early = false;
  size_t i = 0;
  auto done = results.begin();
  for (const element error : errors) {
    const element outcome = *done;
    ++done;
    const size_t step = i++;
    absl::Status status;
    if (!error.is_null()) {
      status = StatementStatus(server, error);
    } else if (outcome.is_null()) {
      status = absl::AbortedError(absl::StrCat(server.name, ": the transaction had not begun"));
    }
    if (step == 0) begin = status;
    if (step == statements + 1) commit = status;
    if (step == 0 || step > statements) continue;
    HranaStep taken{.status = status, .refused = !error.is_null() && IsRefusal(error)};
    if (status.ok() && outcome["affected_row_count"].get_int64().get(taken.changed_rows) != simdjson::SUCCESS) {
      return Malformed(server, "affected_row_count");
    }
    ended_early = ended_early || taken.refused;
    if (absl::IsUnavailable(status)) busy = status;
    // A transaction that is over takes no more statements; nothing of it is stored.
    if (absl::IsDeadlineExceeded(status)) commit = status;
    steps->push_back(std::move(taken));
  }
  ABSL_RETURN_IF_ERROR(begin);
  ABSL_RETURN_IF_ERROR(busy);
  if (commit.ok()) return absl::OkStatus();
  if (ended_early) return absl::AbortedError(commit.message());
  return commit;
}

}  // namespace

absl::Status ReadHranaParameters(const HranaServer& server, const std::string& answer, int* parameters) {
  simdjson::dom::parser parser;
  ABSL_ASSIGN_OR_RETURN(const element result, TakeResult(server, answer, "describe", &parser));
  simdjson::dom::array list;
  if (result["params"].get_array().get(list) != simdjson::SUCCESS) return Malformed(server, "params");
  *parameters = static_cast<int>(list.size());
  return absl::OkStatus();
}

absl::Status ReadHranaRows(const HranaServer& server, const std::string& answer, HranaRows* rows) {
  simdjson::dom::parser parser;
  ABSL_ASSIGN_OR_RETURN(const element result, TakeResult(server, answer, "execute", &parser));
  *rows = HranaRows{.answer_bytes = answer.size()};
  return TakeRows(result, rows) ? absl::OkStatus() : Malformed(server, "rows");
}

absl::Status ReadHranaStream(const HranaServer& server, const std::string& answer, HranaStream* stream) {
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(answer.data(), answer.size()).get(root) != simdjson::SUCCESS) return Malformed(server, "JSON");
  stream->baton = TextOf(root, "baton");
  stream->base_url = TextOf(root, "base_url");
  return stream->baton.empty() ? Malformed(server, "a baton") : absl::OkStatus();
}

absl::Status ReadHranaSteps(const HranaServer& server, const std::string& answer, size_t statements,
                            std::vector<HranaStep>* steps) {
  simdjson::dom::parser parser;
  ABSL_ASSIGN_OR_RETURN(const element result, TakeResult(server, answer, "batch", &parser));
  return TakeSteps(server, result, statements, steps);
}

}  // namespace reembed
