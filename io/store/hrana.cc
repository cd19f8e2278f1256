#include "io/store/hrana.h"

#include <simdjson.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "engine/base64.h"
#include "engine/json_text.h"
#include "engine/kill_point.h"
#include "engine/retry.h"
#include "engine/shown_text.h"
#include "engine/wait_hints.h"

namespace reembed {
namespace {

using simdjson::dom::element;

constexpr size_t kMaxReplyBytes = size_t{64} << 20;  // servers send at most 10 MB for one statement by default
constexpr size_t kMaxWordsShown = 300;

void AppendValue(const SqliteValue& value, std::string* base64, std::string* out) {
  switch (value.type) {
    case SqliteType::kNull:
      out->append("{\"type\":\"null\"}");
      return;
    case SqliteType::kInteger:
      // A string, as JSON's numbers may be read as doubles.
      absl::StrAppend(out, "{\"type\":\"integer\",\"value\":\"", value.integer, "\"}");
      return;
    case SqliteType::kReal:
      absl::StrAppendFormat(out, "{\"type\":\"float\",\"value\":%.17g}", value.real);
      return;
    case SqliteType::kText:
      out->append("{\"type\":\"text\",\"value\":");
      AppendJsonString(value.bytes, out);
      out->push_back('}');
      return;
    case SqliteType::kBlob:
      EncodeBase64({reinterpret_cast<const unsigned char*>(value.bytes.data()), value.bytes.size()}, base64);
      absl::StrAppend(out, "{\"type\":\"blob\",\"base64\":\"", *base64, "\"}");
      return;
  }
}

void AppendArguments(absl::Span<const SqliteValue> arguments, std::string* base64, std::string* out) {
  out->append("[");
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendValue(arguments[i], base64, out);
  }
  out->push_back(']');
}

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

constexpr char kClose[] = ",{\"type\":\"close\"}]}";

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
  if (!begin.ok()) return begin;
  if (!busy.ok()) return busy;
  if (commit.ok()) return absl::OkStatus();
  if (ended_early) return absl::AbortedError(commit.message());
  return commit;
}

}  // namespace

HranaBatch::HranaBatch(absl::string_view sql) {
  head_ = "{\"requests\":[{\"type\":\"store_sql\",\"sql_id\":1,\"sql\":";
  AppendJsonString(sql, &head_);
  head_ += "},{\"type\":\"batch\",\"batch\":{\"steps\":[{\"stmt\":{\"sql\":\"BEGIN IMMEDIATE\"}}";
  Clear();
}

void HranaBatch::Clear() {
  body_ = head_;
  statements_ = 0;
}

void HranaBatch::Add(absl::Span<const SqliteValue> arguments) {
  body_ += ",{\"condition\":{\"type\":\"ok\",\"step\":0},\"stmt\":{\"sql_id\":1,\"want_rows\":false,\"args\":";
  AppendArguments(arguments, &base64_, &body_);
  body_ += "}}";
  ++statements_;
}

void HranaBatch::AddOther(absl::string_view sql) {
  body_ += ",{\"condition\":{\"type\":\"ok\",\"step\":0},\"stmt\":{\"want_rows\":false,\"sql\":";
  AppendJsonString(sql, &body_);
  body_ += "}}";
  ++statements_;
}

absl::StatusOr<std::unique_ptr<HranaConnection>> HranaConnection::Make(HranaServer server, absl::Duration patience) {
  absl::StatusOr<std::unique_ptr<HttpLoop>> http = HttpLoop::Make({});
  if (!http.ok()) return http.status();
  return std::unique_ptr<HranaConnection>(new HranaConnection(std::move(server), patience, *std::move(http)));
}

absl::Status HranaConnection::StatusOf(int http_status, absl::string_view body) const {
  const std::string words = ServerWords(body, {server_.token}, kMaxWordsShown);
  const std::string answered = absl::StrCat(server_.name, ": answered ", http_status, words.empty() ? "" : ": ", words);
  if (http_status == 401 || http_status == 403) {
    return absl::UnauthenticatedError(absl::StrCat(
        answered,
        server_.token.empty()
            ? "; it wants a token: put it into TURSO_AUTH_TOKEN or LIBSQL_AUTH_TOKEN, or "
              "name another variable with --db-token-env"
            : "; it does not take the token that was given (TURSO_AUTH_TOKEN, "
              "LIBSQL_AUTH_TOKEN or --db-token-env); is it for this database, may it write, and is it not expired?"));
  }
  if (http_status == 404) return absl::NotFoundError(absl::StrCat(answered, "; check the name of the database"));
  if (http_status == 429 || http_status >= 500) return absl::UnavailableError(answered);
  return absl::InvalidArgumentError(answered);
}

absl::StatusOr<std::string> HranaConnection::Post(absl::string_view body, absl::string_view base_url) {
  HttpRequest request{.url = absl::StrCat(base_url.empty() ? server_.url : base_url, "/v2/pipeline"),
                      .headers = {"content-type: application/json"},
                      .body = body,
                      .max_reply_bytes = kMaxReplyBytes};
  if (!server_.token.empty()) request.headers.push_back(absl::StrCat("authorization: Bearer ", server_.token));
  absl::StatusOr<HttpReply> reply = http_->Call(std::move(request));
  asked_wait_ = absl::ZeroDuration();
  if (!reply.ok()) {
    const absl::string_view words = reply.status().message();
    const std::string message = absl::StrCat(server_.name, ": ", words);
    return absl::IsDeadlineExceeded(reply.status()) ? absl::UnavailableError(message)
                                                    : absl::Status(reply.status().code(), message);
  }
  if (reply->status != 200) {
    const WaitHints hints{.headers = reply->headers, .over_quota = reply->status == 429};
    asked_wait_ = NamedWait(hints, absl::Now()).value_or(absl::ZeroDuration());
    return StatusOf(reply->status, reply->body);
  }
  *server_.answered = true;
  return std::move(reply->body);
}

absl::Status HranaConnection::Persist(absl::FunctionRef<absl::Status()> work) {
  const RetryPolicy policy{.first_backoff = absl::Milliseconds(100), .max_wait = absl::Seconds(5)};
  std::mt19937_64 random(std::random_device{}());
  absl::Duration waited;
  for (int attempt = 1;; ++attempt) {
    absl::Status status = work();
    if (!absl::IsUnavailable(status) || !*server_.answered || waited >= patience_) return status;
    const absl::Duration own = Backoff(policy, attempt, &random) + absl::Milliseconds(10);
    const absl::Duration wait = std::min(std::max(own, std::min(asked_wait_, policy.max_wait)), patience_ - waited);
    // Blocks this thread, which is the sink's or the reader's own and has nothing else to do.
    absl::SleepFor(wait);
    waited += std::max(wait, absl::Milliseconds(1));
  }
}

absl::StatusOr<int> HranaConnection::CountParameters(absl::string_view sql) {
  std::string body = "{\"requests\":[{\"type\":\"describe\",\"sql\":";
  AppendJsonString(sql, &body);
  absl::StrAppend(&body, "}", kClose);
  int parameters = 0;
  absl::Status status = Persist([&] {
    const absl::StatusOr<std::string> answer = Post(body);
    if (!answer.ok()) return answer.status();
    simdjson::dom::parser parser;
    const absl::StatusOr<element> result = TakeResult(server_, *answer, "describe", &parser);
    if (!result.ok()) return result.status();
    simdjson::dom::array list;
    if ((*result)["params"].get_array().get(list) != simdjson::SUCCESS) return Malformed(server_, "params");
    parameters = static_cast<int>(list.size());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return parameters;
}

absl::Status HranaConnection::Query(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaRows* rows) {
  std::string base64;
  std::string body = "{\"requests\":[{\"type\":\"execute\",\"stmt\":{\"sql\":";
  AppendJsonString(sql, &body);
  body += ",\"args\":";
  AppendArguments(arguments, &base64, &body);
  absl::StrAppend(&body, "}}", kClose);
  return Persist([&] {
    const absl::StatusOr<std::string> answer = Post(body);
    if (!answer.ok()) return answer.status();
    simdjson::dom::parser parser;
    const absl::StatusOr<element> result = TakeResult(server_, *answer, "execute", &parser);
    if (!result.ok()) return result.status();
    *rows = HranaRows{.answer_bytes = answer->size()};
    if (!TakeRows(*result, rows)) return Malformed(server_, "rows");
    return absl::OkStatus();
  });
}

absl::Status HranaConnection::QueryInStream(absl::string_view sql, absl::Span<const SqliteValue> arguments,
                                            HranaStream* stream, HranaRows* rows) {
  std::string base64;
  std::string body = "{\"baton\":";
  if (stream->baton.empty()) {
    body += "null";
  } else {
    AppendJsonString(stream->baton, &body);
  }
  body += ",\"requests\":[{\"type\":\"execute\",\"stmt\":{\"sql\":";
  AppendJsonString(sql, &body);
  body += ",\"args\":";
  AppendArguments(arguments, &base64, &body);
  body += "}}]}";
  const absl::StatusOr<std::string> answer = Post(body, stream->base_url);
  if (!answer.ok()) return answer.status();
  simdjson::dom::parser parser;
  element root;
  if (parser.parse(answer->data(), answer->size()).get(root) != simdjson::SUCCESS) return Malformed(server_, "JSON");
  stream->baton = TextOf(root, "baton");
  stream->base_url = TextOf(root, "base_url");
  if (stream->baton.empty()) return Malformed(server_, "a baton");
  simdjson::dom::parser again;
  const absl::StatusOr<element> result = TakeResult(server_, *answer, "execute", &again);
  if (!result.ok()) return result.status();
  *rows = HranaRows{.answer_bytes = answer->size()};
  return TakeRows(*result, rows) ? absl::OkStatus() : Malformed(server_, "rows");
}

absl::Status HranaConnection::Transact(const HranaBatch& batch, std::vector<HranaStep>* steps) {
  const std::string body = absl::StrCat(
      batch.body_, ",{\"condition\":{\"type\":\"ok\",\"step\":0},\"stmt\":{\"sql\":\"COMMIT\"}},",
      "{\"condition\":{\"type\":\"and\",\"conds\":[{\"type\":\"ok\",\"step\":0},{\"type\":\"not\",\"cond\":{\"type\":",
      "\"ok\",\"step\":", batch.statements_ + 1, "}}]},\"stmt\":{\"sql\":\"ROLLBACK\"}}]}}", kClose);
  return Persist([&] {
    steps->clear();
    const absl::StatusOr<std::string> answer = Post(body);
    KillPoint("libsql: answered");
    if (!answer.ok()) return answer.status();
    simdjson::dom::parser parser;
    const absl::StatusOr<element> result = TakeResult(server_, *answer, "batch", &parser);
    if (!result.ok()) return result.status();
    return TakeSteps(server_, *result, batch.statements_, steps);
  });
}

}  // namespace reembed
