// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_RESP_CLIENT_H_
#define REEMBED_IO_NET_RESP_CLIENT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

struct redisContext;
struct redisReply;
struct redisReplyObjectFunctions;

// Servers that speak RESP2, as Redis, Valkey and FalkorDB do, with owners and Status.
// Source: https://redis.io/docs/latest/develop/reference/protocol-spec
namespace reembed {

// Where a server is and how to get in.
struct RespAddress {
  std::string name;  // for messages: falkordb://user@host:port; never with a password
  std::string host;
  int port = 6379;
  std::string user;               // empty: the default user
  std::string password;           // empty: none
  std::string password_variable;  // where the user can put it; for messages
  int database = 0;               // its number
  bool tls = false;
  std::string ca_file;  // PEM file of who may sign the server's certificate; empty: as the system has them
  absl::Duration connect_timeout = absl::Seconds(10);
  // Long enough for any one command of a store; a server that is silent for longer is not there.
  absl::Duration reply_timeout = absl::Minutes(10);
  std::shared_ptr<std::atomic<bool>> answered;  // set when it has; null: nobody asks
};

// One value of a reply. Borrows from its RespReply.
class RespValue {
 public:
  explicit RespValue(const redisReply* reply) : reply_(reply) {}

  bool IsNull() const;
  bool IsArray() const;
  bool IsError() const;
  bool IsInteger() const;
  int64_t Integer() const;         // 0 if it is none
  absl::string_view Text() const;  // of a string, status or error; else empty
  size_t size() const;             // of an array; else 0
  // Behind the end, and of what is no array: a null.
  RespValue operator[](size_t i) const;

 private:
  bool Is(int type) const;

  const redisReply* reply_;  // null: there is none
};

// A whole reply.
class RespReply {
 public:
  explicit RespReply(redisReply* reply) : reply_(reply) {}
  RespReply(RespReply&& other) noexcept : reply_(std::exchange(other.reply_, nullptr)) {}
  RespReply& operator=(RespReply&& other) noexcept {
    std::swap(reply_, other.reply_);
    return *this;
  }
  ~RespReply();

  RespValue value() const { return RespValue(reply_); }

 private:
  redisReply* reply_;
};

class TlsStream;

// One connection. Used by one thread at a time.
// Errors: kUnavailable (no connection, or the server is starting or busy), kUnauthenticated, kPermissionDenied,
// kResourceExhausted (out of memory), kFailedPrecondition (read-only server, unknown command, an answer that is not
// RESP or larger than any that is asked for here), kDeadlineExceeded (the server gave the command up), kInvalidArgument
// (any other refusal). Messages have the address and the first line of the server's own words.
class RespClient {
 public:
  // Tries once, unless the server has answered before. `patience`: how long is tried again while it is away, also by
  // Persist().
  static absl::StatusOr<std::unique_ptr<RespClient>> Connect(RespAddress address, absl::Duration patience);
  RespClient(const RespClient&) = delete;
  RespClient& operator=(const RespClient&) = delete;
  ~RespClient();

  // One command and its answer; the bytes of `words` may be any. An error inside an array is the caller's to find.
  absl::StatusOr<RespReply> Call(absl::Span<const absl::string_view> words);

  // What an error of the server, at the top or inside a reply, means.
  absl::Status ErrorOf(absl::string_view words) const;

  // Runs `work`; while it answers kUnavailable, and for at most `patience`, waits, connects anew if the connection is
  // lost, and runs it again. Precondition: `work` is safe to repeat, also when it was done and only its answer lost.
  absl::Status Persist(absl::FunctionRef<absl::Status()> work);

  const std::string& name() const { return address_.name; }

  // How often it has connected.
  int connections() const { return connections_; }

 private:
  RespClient(RespAddress address, absl::Duration patience);
  absl::Status Connect();
  void Disconnect();
  absl::Status Write(absl::Span<const absl::string_view> words);
  absl::StatusOr<size_t> Receive();
  // Reads until there is a whole answer.
  absl::StatusOr<RespReply> Read();
  // Of a connection that is of no use any more, which it ends.
  absl::Status Lost();
  absl::Status LostTo(absl::string_view why);

  const RespAddress address_;
  const absl::Duration patience_;
  redisContext* context_ = nullptr;  // null: not connected
  std::unique_ptr<TlsStream> tls_;   // what it goes through; null: a plain socket
  int connections_ = 0;
  const std::unique_ptr<redisReplyObjectFunctions> functions_;  // of its reader
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_RESP_CLIENT_H_
