// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_SERVER_CONNECTION_H_
#define REEMBED_IO_NET_HTTP_SERVER_CONNECTION_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "io/net/http_server.h"
#include "io/net/http_server_parser.h"
#include "io/net/owned_fd.h"

namespace reembed {

// One connection of an HttpServer, on a non-blocking socket; internal to the server. One request at a time: read, ask
// the handler, perhaps wait, write. While it writes it does not read, so a client that does not take its replies
// stops itself. Used by one thread.
class HttpServerConnection {
 public:
  using Clock = std::chrono::steady_clock;

  // What it waits for. kEvent: the socket, or deadline(). kTurn: nothing, it only lets others go first.
  enum class Waits { kEvent, kTurn, kClosed };

  // `options` and `handler` are borrowed, and so is `held`: the bytes that all connections of the server hold.
  HttpServerConnection(OwnedFd socket, const HttpServerOptions& options, const HttpHandler& handler,
                       std::atomic<int64_t>* held, int worker);
  HttpServerConnection(const HttpServerConnection&) = delete;
  HttpServerConnection& operator=(const HttpServerConnection&) = delete;
  ~HttpServerConnection() { *held_ -= counted_; }

  // Goes as far as it can without waiting.
  Waits Advance();

  // What the socket or the clock said; then comes Advance().
  void OnReadable() { readable_ = true; }
  void OnBroken() { state_ = State::kClosed; }
  void OnDeadline();

  // When OnDeadline() is due, if nothing happens before: a delayed reply, or patience at its end.
  Clock::time_point deadline() const;

  // Since when it waits for a request of which no byte has come; nullopt: it has other things to do.
  std::optional<Clock::time_point> idle_since() const;

  // The server stops: the request that is under way, if any, is the last one.
  void EndSoon();

 private:
  enum class State { kReading, kDelaying, kWriting, kPausing, kDraining, kClosed };
  enum class AfterWrite { kReadOn, kGoOn, kClose, kDrain };

  Waits Go();
  void CountHeld();
  bool HoldsTooMuch() const;
  // These return whether there is more to do now.
  bool Read();
  bool Receive();
  bool Write();
  bool Drain();
  bool PeerHasLeft();
  void TakeNextPiece();
  void Answer();
  void Refuse(int status, absl::string_view reason);
  void SetReply(HttpServerResponse response, AfterWrite after_write);

  const OwnedFd socket_;
  const HttpServerOptions& options_;
  const HttpHandler& handler_;
  std::atomic<int64_t>* const held_;
  int64_t counted_ = 0;  // of *held_
  const int worker_;
  HttpServerParser parser_;

  State state_ = State::kReading;
  AfterWrite after_write_ = AfterWrite::kReadOn;
  bool readable_ = true;  // the kernel may have bytes, or the end
  bool ending_ = false;
  std::string head_;  // of the reply
  std::shared_ptr<const std::string> shared_body_;
  std::string body_;
  std::function<bool(std::string* piece)> next_;  // see HttpServerResponse
  Clock::duration every_{};                       // likewise
  size_t sent_ = 0;                               // bytes of head_, shared_body_ and body_
  size_t drained_ = 0;                            // bytes thrown away
  Clock::time_point active_;                      // last byte in or out
  Clock::time_point began_;                       // first byte of the request that is coming in
  Clock::time_point due_;                         // kDelaying, kPausing: when to write; kDraining: when to give up
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_SERVER_CONNECTION_H_
