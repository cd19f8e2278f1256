// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/hrana.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/kill_point.h"
#include "engine/number/base64.h"
#include "engine/number/json_text.h"
#include "engine/pace/retry.h"
#include "engine/pace/wait_hints.h"
#include "engine/setting.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/hrana_answer.h"

namespace reembed {
namespace {

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

constexpr char kClose[] = ",{\"type\":\"close\"}]}";

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
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HttpLoop> http, HttpLoop::Make({}));
  return std::unique_ptr<HranaConnection>(new HranaConnection(std::move(server), patience, std::move(http)));
}

absl::Status HranaConnection::StatusOf(int http_status, absl::string_view body) const {
  const std::string words = ServerWords(body, {server_.token}, kMaxWordsShown);
  const std::string answered = absl::StrCat(server_.name, ": answered ", http_status, words.empty() ? "" : ": ", words);
  if (http_status == 401 || http_status == 403) {
    return WithSetting(absl::UnauthenticatedError(absl::StrCat(
                           answered, server_.token.empty()
                                         ? "; it wants a token: put it into TURSO_AUTH_TOKEN or LIBSQL_AUTH_TOKEN, or "
                                           "name another variable"
                                         : "; it does not take the token that was given (TURSO_AUTH_TOKEN, "
                                           "LIBSQL_AUTH_TOKEN or another variable); is it for this database, may it "
                                           "write, and is it not expired?")),
                       Setting::kDatabaseToken);
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
  ABSL_RETURN_IF_ERROR(Persist([&] {
    ABSL_ASSIGN_OR_RETURN(const std::string answer, Post(body));
    return ReadHranaParameters(server_, answer, &parameters);
  }));
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
    ABSL_ASSIGN_OR_RETURN(const std::string answer, Post(body));
    return ReadHranaRows(server_, answer, rows);
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
  ABSL_ASSIGN_OR_RETURN(const std::string answer, Post(body, stream->base_url));
  ABSL_RETURN_IF_ERROR(ReadHranaStream(server_, answer, stream));
  return ReadHranaRows(server_, answer, rows);
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
    ABSL_RETURN_IF_ERROR(answer.status());
    return ReadHranaSteps(server_, *answer, batch.statements_, steps);
  });
}

}  // namespace reembed
