// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_SERVER_H_
#define REEMBED_IO_NET_HTTP_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "io/net/http_server_parser.h"

namespace reembed {

struct HttpServerOptions {
  std::string address = "127.0.0.1";  // IPv4 or IPv6, as numbers
  int port = 0;                       // 0: the kernel chooses a free one
  int threads = 1;
  int max_connections = 4096;  // a further one takes the place of the one that is idle longest, or is answered 503
  absl::Duration idle_yields = absl::Seconds(1);  // so long it must have been idle for that
  HttpServerLimits limits;
  // Of requests that come in and replies that go out, of all connections: beyond it, a request that is longer than a
  // few KiB is answered 503.
  int64_t max_held_bytes = int64_t{512} << 20;
  absl::Duration idle_timeout = absl::Seconds(120);     // without a byte in or out
  absl::Duration head_timeout = absl::Seconds(15);      // from the first byte of a request to the end of its headers
  absl::Duration request_timeout = absl::Seconds(120);  // likewise to the end of its body; then it is answered 408
  // Requests must name this machine in `Host` (localhost, 127.0.0.1, [::1]): a web page whose name leads here, as DNS
  // rebinding makes it, is answered 403.
  bool only_local_hosts = false;
  absl::Duration stop_timeout = absl::Seconds(5);  // how long Stop() waits for requests under way
};

// What goes back. The body is `shared_body` followed by `body`: the first is for large replies that many requests
// share, and is sent without a copy.
struct HttpServerResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // further ones; neither length nor connection
  std::shared_ptr<const std::string> shared_body;
  std::string body;
  // If set, the reply does not end with its body: this is asked for more whenever `every` has passed and all is sent.
  // It appends to what it is given, perhaps nothing, and answers false when that was the last; then the connection
  // closes, as it does when the server stops. Called on a thread of the server, never two at a time. `every` should be
  // shorter than the idle timeout.
  std::function<bool(std::string* piece)> next;
  absl::Duration every = absl::Seconds(1);
  bool reset = false;                           // nothing is sent: the connection is reset
  absl::Duration delay = absl::ZeroDuration();  // sent this long after the request was complete; no thread waits
};

// Called on the server's threads, several at a time. What it takes, other requests of the same thread wait.
using HttpHandler = absl::AnyInvocable<HttpServerResponse(const HttpServerRequest&) const>;

// A small HTTP/1.1 server: keep-alive, pipelining, chunked bodies, everything bounded. Its memory is about
// max_held_bytes at most, and 64 KiB for each connection besides; it grows only with what clients really send.
// Refuses by itself, with an OpenAI-shaped JSON error: what is not HTTP/1.1 (400), too long (413, 431), too slow (408),
// or asks for more of the protocol than it has (417, 501, 505). When descriptors or places run out, the connection that
// is idle longest makes room.
class HttpServer {
 public:
  // Listens and starts the threads.
  // Errors: kInvalidArgument (address or port), kUnavailable (the port is taken; out of descriptors or threads).
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options, HttpHandler handler);

  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

  // Accepts no more, closes idle connections, and finishes requests of which something has come, for at most
  // stop_timeout. Then all threads have ended. Call it from any thread but the server's own; once is enough.
  void Stop();

 private:
  class Shared;
  explicit HttpServer(std::unique_ptr<Shared> shared);

  std::unique_ptr<Shared> shared_;
};

// {"error":{"message":...,"type":...,"param":...,"code":...}}, as OpenAI's API words its errors. `param` and `code`
// are null when empty. Source: OpenAI's API reference, "Error codes".
std::string OpenAiErrorBody(absl::string_view message, absl::string_view type, absl::string_view param,
                            absl::string_view code);

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_SERVER_H_
