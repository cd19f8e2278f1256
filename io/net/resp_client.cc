// SPDX-License-Identifier: Apache-2.0
#include "io/net/resp_client.h"

#include <hiredis/hiredis.h>
#include <sys/time.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/kill_point.h"
#include "engine/pace/retry.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"
#include "io/net/resp_limits.h"
#include "io/net/tls_stream.h"

namespace reembed {
namespace {

constexpr size_t kMaxWordsShown = 300;

absl::StatusCode CodeOf(absl::string_view words) {
  const absl::string_view kind = words.substr(0, words.find(' '));
  for (const absl::string_view known : {"LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN"}) {
    if (kind == known) return absl::StatusCode::kUnavailable;
  }
  if (kind == "NOAUTH" || kind == "WRONGPASS" || absl::StrContains(words, "invalid password") ||
      absl::StrContains(words, "AUTH <password> called without any password")) {
    return absl::StatusCode::kUnauthenticated;
  }
  if (kind == "NOPERM") return absl::StatusCode::kPermissionDenied;
  if (kind == "OOM" || absl::StrContains(words, "mem consumption exceeded")) {
    return absl::StatusCode::kResourceExhausted;
  }
  if (kind == "READONLY" || absl::StrContains(words, "unknown command")) return absl::StatusCode::kFailedPrecondition;
  if (absl::StrContains(words, "timed out")) return absl::StatusCode::kDeadlineExceeded;
  if (absl::StrContains(words, "Max pending queries exceeded")) return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kInvalidArgument;
}

}  // namespace

bool RespValue::Is(int type) const { return reply_ != nullptr && reply_->type == type; }
bool RespValue::IsNull() const { return reply_ == nullptr || Is(REDIS_REPLY_NIL); }
bool RespValue::IsArray() const { return Is(REDIS_REPLY_ARRAY); }
bool RespValue::IsError() const { return Is(REDIS_REPLY_ERROR); }
bool RespValue::IsInteger() const { return Is(REDIS_REPLY_INTEGER); }
int64_t RespValue::Integer() const { return IsInteger() ? reply_->integer : 0; }
absl::string_view RespValue::Text() const {
  const bool text = Is(REDIS_REPLY_STRING) || Is(REDIS_REPLY_STATUS) || IsError();
  return text ? absl::string_view(reply_->str, reply_->len) : absl::string_view();
}
size_t RespValue::size() const { return IsArray() ? reply_->elements : 0; }
RespValue RespValue::operator[](size_t i) const { return RespValue(i < size() ? reply_->element[i] : nullptr); }

RespReply::~RespReply() {
  if (reply_ != nullptr) freeReplyObject(reply_);
}

RespClient::RespClient(RespAddress address, absl::Duration patience)
    : address_(std::move(address)), patience_(patience), functions_(std::make_unique<redisReplyObjectFunctions>()) {}

RespClient::~RespClient() { Disconnect(); }

void RespClient::Disconnect() {
  if (context_ != nullptr) redisFree(context_);
  context_ = nullptr;
  tls_.reset();
}

absl::StatusOr<std::unique_ptr<RespClient>> RespClient::Connect(RespAddress address, absl::Duration patience) {
  auto client = std::unique_ptr<RespClient>(new RespClient(std::move(address), patience));
  absl::Status status = client->Connect();
  const std::shared_ptr<std::atomic<bool>>& answered = client->address_.answered;
  if (absl::IsUnavailable(status) && answered != nullptr && *answered) {
    status = client->Persist([] { return absl::OkStatus(); });
  }
  ABSL_RETURN_IF_ERROR(status);
  return client;
}

absl::Status RespClient::Connect() {
  Disconnect();
  if (address_.tls) {
    absl::StatusOr<std::unique_ptr<TlsStream>> tls =
        TlsStream::Connect(address_.host, address_.port, address_.ca_file, address_.connect_timeout);
    if (!tls.ok()) {
      return absl::Status(tls.status().code(), absl::StrCat(address_.name, ": no connection over TLS (",
                                                            tls.status().message(), "); does the server speak it?"));
    }
    tls_ = *std::move(tls);
    context_ = redisConnectFd(-1);  // for its reader alone
  } else {
    context_ = redisConnectWithTimeout(address_.host.c_str(), address_.port, absl::ToTimeval(address_.connect_timeout));
  }
  if (context_ == nullptr) return absl::ResourceExhaustedError("out of memory");
  if (context_->err != 0) {
    absl::Status status = absl::UnavailableError(
        absl::StrCat(address_.name, ": no connection (", context_->errstr, "); is the server running there?"));
    Disconnect();
    return status;
  }
  LimitArrays(context_->reader, functions_.get());
  if (tls_ == nullptr) {
    redisSetTimeout(context_, absl::ToTimeval(address_.reply_timeout));
    redisEnableKeepAlive(context_);
  }
  std::vector<absl::string_view> greeting = {"PING"};
  if (!address_.password.empty() || !address_.user.empty()) {
    greeting = {"AUTH"};
    if (!address_.user.empty()) greeting.push_back(address_.user);
    greeting.push_back(address_.password);
  }
  absl::Status status = Call(greeting).status();
  if (status.ok() && address_.database != 0) status = Call({"SELECT", absl::StrCat(address_.database)}).status();
  ++connections_;
  if (!status.ok()) Disconnect();
  return status;
}

absl::Status RespClient::ErrorOf(absl::string_view words) const {
  const absl::StatusCode code = CodeOf(words);
  absl::string_view next_step;
  if (code == absl::StatusCode::kUnauthenticated) next_step = "; check the user, and the password in ";
  const std::string shown =
      ServerWords(words.substr(0, words.find_first_of("\r\n")), {address_.password}, kMaxWordsShown);
  return absl::Status(
      code, absl::StrCat(address_.name, ": ", shown, next_step, next_step.empty() ? "" : address_.password_variable));
}

absl::StatusOr<RespReply> RespClient::Call(absl::Span<const absl::string_view> words) {
  if (context_ == nullptr) return absl::UnavailableError(absl::StrCat(address_.name, ": not connected"));
  ABSL_RETURN_IF_ERROR(Write(words));
  absl::StatusOr<RespReply> reply = Read();
  KillPoint("falkordb: answered");
  if (reply.ok() && reply->value().IsError()) return ErrorOf(reply->value().Text());
  return reply;
}

absl::Status RespClient::Write(absl::Span<const absl::string_view> words) {
  std::vector<const char*> bytes;
  std::vector<size_t> sizes;
  for (const absl::string_view word : words) {
    bytes.push_back(word.data());
    sizes.push_back(word.size());
  }
  const int count = static_cast<int>(words.size());
  if (tls_ != nullptr) {
    char* command = nullptr;
    const int size = redisFormatCommandArgv(&command, count, bytes.data(), sizes.data());
    if (size < 0) return absl::ResourceExhaustedError("out of memory");
    const absl::Status written =
        tls_->Write({command, static_cast<size_t>(size)}, absl::Now() + address_.reply_timeout);
    redisFreeCommand(command);
    return written.ok() ? written : LostTo(written.message());
  }
  int sent = 0;
  bool good = redisAppendCommandArgv(context_, count, bytes.data(), sizes.data()) == REDIS_OK;
  while (good && sent == 0) good = redisBufferWrite(context_, &sent) == REDIS_OK;
  return good ? absl::OkStatus() : Lost();
}

// How many bytes came.
absl::StatusOr<size_t> RespClient::Receive() {
  if (tls_ != nullptr) {
    char bytes[size_t{16} << 10];
    const absl::StatusOr<size_t> size = tls_->Read(bytes, sizeof(bytes), absl::Now() + address_.reply_timeout);
    if (!size.ok()) return LostTo(size.status().message());
    if (redisReaderFeed(context_->reader, bytes, *size) != REDIS_OK) return Lost();
    return *size;
  }
  const size_t before = context_->reader->len;
  if (redisBufferRead(context_) != REDIS_OK) return Lost();
  return context_->reader->len - before;
}

absl::StatusOr<RespReply> RespClient::Read() {
  size_t received = 0;
  while (true) {
    void* raw = nullptr;
    if (redisGetReplyFromReader(context_, &raw) != REDIS_OK) return Lost();
    if (raw != nullptr) {
      if (address_.answered != nullptr) *address_.answered = true;
      return RespReply(static_cast<redisReply*>(raw));
    }
    if (AwaitsTooMuch(*context_->reader) || received > kMaxRespReplyBytes) {
      Disconnect();
      return absl::FailedPreconditionError(
          absl::StrCat(address_.name, ": the answer is longer than any that was asked for; is this the right server?"));
    }
    ABSL_ASSIGN_OR_RETURN(const size_t size, Receive());
    received += size;
  }
}

absl::Status RespClient::Lost() {
  // The reader has no memory only for an array whose length was refused.
  const bool is_odd = context_->err == REDIS_ERR_PROTOCOL || context_->err == REDIS_ERR_OOM;
  const std::string words = Shorten(context_->errstr, kMaxWordsShown);
  Disconnect();
  if (is_odd) {
    return absl::FailedPreconditionError(absl::StrCat(address_.name, ": expected an answer in RESP of a length that ",
                                                      "was asked for, got another one (", words,
                                                      "); is this the right server?"));
  }
  return LostTo(words);
}

absl::Status RespClient::LostTo(absl::string_view why) {
  const std::string words(why);
  Disconnect();
  return absl::UnavailableError(
      absl::StrCat(address_.name, ": the connection is lost (", words, "); is the server running?"));
}

absl::Status RespClient::Persist(absl::FunctionRef<absl::Status()> work) {
  const RetryPolicy policy{.first_backoff = absl::Milliseconds(100), .max_wait = absl::Seconds(5)};
  std::mt19937_64 random(std::random_device{}());
  absl::Duration waited;
  for (int attempt = 1;; ++attempt) {
    absl::Status status;
    if (context_ == nullptr) status = Connect();
    if (status.ok()) status = work();
    if (!absl::IsUnavailable(status) || waited >= patience_) return status;
    const absl::Duration wait =
        std::min(Backoff(policy, attempt, &random) + absl::Milliseconds(10), patience_ - waited);
    // Blocks this thread, which is the sink's or the reader's own and has nothing else to do.
    absl::SleepFor(wait);
    waited += std::max(wait, absl::Milliseconds(1));
  }
}

}  // namespace reembed
