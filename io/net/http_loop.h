// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_LOOP_H_
#define REEMBED_IO_NET_HTTP_LOOP_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"
#include "io/net/url.h"

namespace reembed {

struct HttpRequest {
  std::string method = "POST";
  std::string url;                   // http:// or https://
  std::vector<std::string> headers;  // "name: value"
  absl::string_view body;            // sent from where it lies: must stay untouched until the answer

  absl::Duration connect_timeout = absl::Seconds(10);
  absl::Duration total_timeout = absl::Seconds(60);  // from leaving to the last byte; infinite: none
  // No byte in either direction for so long, waiting for the first byte of the reply included; noticed within twice
  // that time.
  absl::Duration stall_timeout = absl::InfiniteDuration();

  size_t max_reply_bytes = size_t{64} << 20;
  std::string reply_buffer;  // its allocation, if any, becomes that of HttpReply::body
  // Reads the body of an answer with status 200 while it arrives, piece by piece, and appends to `body` what is to stay
  // of it. Runs on a loop thread, before the callback; not again once that has run. Null: all stays.
  absl::AnyInvocable<void(absl::string_view piece, std::string* body)> read_body;
};

struct HttpReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  // If its length was announced, is below 16 MiB, and nobody reads it: with room for kReplySlackBytes more.
  std::string body;

  // The first header of this (lower-case) name; empty if there is none.
  absl::string_view Header(absl::string_view name) const;
};

// Room behind a reply for parsers that read past the end, so that they need no copy.
inline constexpr size_t kReplySlackBytes = 64;

struct HttpLoopOptions {
  int threads = 1;      // each with connections of its own
  std::string ca_file;  // PEM bundle; empty: see FindTrustStore()
  std::string proxy;    // scheme://[user:password@]host:port; empty: as the environment says, see ProxyFor()
  // Ask for replies in gzip: that makes numbers less than half as long, and base64 hardly shorter. Their announced
  // length is then that of the compressed body. What comes compressed without being asked for is understood, too.
  bool accept_gzip = false;
};

// HTTP requests, many at a time, on threads of its own that nobody waits for. Connections are kept alive; HTTP/2 where
// a TLS server offers it; proxies as the options or else the environment say (ProxyFor()), and messages name the one
// that was used; redirects are not followed, so a key goes to no other host. Thread-safe.
class HttpLoop {
 public:
  // Runs exactly once, on a loop thread or in the destructor, and only hands work on. Any HTTP status is an answer.
  // Errors: kUnavailable (no connection, or it broke), kDeadlineExceeded, kDataLoss (longer than max_reply_bytes, or
  // bad encoding), kFailedPrecondition (the server's certificate), kInvalidArgument (URL), kCancelled.
  using Callback = absl::AnyInvocable<void(absl::StatusOr<HttpReply>) &&>;

  // `on_timer` runs on a loop thread when the moment of SetTimer() has come; it may start requests.
  static absl::StatusOr<std::unique_ptr<HttpLoop>> Make(const HttpLoopOptions& options,
                                                        absl::AnyInvocable<void()> on_timer = nullptr);

  // As Cancel(), then waits for the threads. Not on a loop thread.
  ~HttpLoop();

  // Names one request of one loop, for Abandon().
  using Ticket = uint64_t;

  Ticket Start(HttpRequest request, Callback callback);

  // Answers this request with kCancelled soon, unless it is answered already.
  void Abandon(Ticket ticket);

  // Calls on_timer once at `when`, or a millisecond later. An earlier moment replaces a later one.
  void SetTimer(Moment when);

  // Start() and wait for the answer. Not on a loop thread.
  absl::StatusOr<HttpReply> Call(HttpRequest request);

  // Answers everything under way, and whatever is started later, with kCancelled.
  void Cancel();

 private:
  class Loop;
  explicit HttpLoop(std::vector<std::unique_ptr<Loop>> loops);

  std::vector<std::unique_ptr<Loop>> loops_;
  std::atomic<uint64_t> next_{0};  // loops take turns
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_LOOP_H_
