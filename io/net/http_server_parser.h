// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_SERVER_PARSER_H_
#define REEMBED_IO_NET_HTTP_SERVER_PARSER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// Bytes behind HttpServerRequest::body that may be read, whatever they hold: parsers that work on whole SIMD registers
// want them.
inline constexpr size_t kHttpBodyPadding = 64;

struct HttpServerHeader {
  absl::string_view name;  // lower case
  absl::string_view value;
};

// One request as a handler sees it. All views live until the handler returns.
struct HttpServerRequest {
  absl::string_view method;                    // as sent; methods are case-sensitive
  absl::string_view target;                    // as sent, with the query
  absl::string_view path;                      // the target up to '?', still percent-encoded
  absl::Span<const HttpServerHeader> headers;  // in order of arrival; a name may come twice
  absl::string_view body;                      // followed by kHttpBodyPadding readable bytes
  int worker = 0;                              // which thread of the server asks, from 0: for state that needs no lock

  // Value of the first header of this name (lower case); empty when there is none.
  absl::string_view Header(absl::string_view name) const;
};

struct HttpServerLimits {
  size_t max_head_bytes = size_t{64} << 10;  // request line and headers; also trailers
  size_t max_body_bytes = size_t{64} << 20;  // after removal of the chunked framing
};

// Cuts the byte stream of one connection into HTTP/1.1 requests. No sockets. Not thread-safe.
// Strict where leniency has been used for smuggling: bare line feeds, folded headers, spaces before the colon, several
// lengths, or a length with a transfer coding are refused. Source: RFC 9112, sections 2 to 7.
class HttpServerParser {
 public:
  enum class Result { kIncomplete, kReady, kRefused };

  explicit HttpServerParser(const HttpServerLimits& limits) : limits_(limits) {}

  // Room for the next bytes of the connection, at least 16 KiB; then say how many came. Memory grows with what came,
  // not with what the peer announced. Not while a request is ready.
  absl::Span<char> Room();
  void Received(size_t bytes) { used_ += bytes; }

  // Looks at what came since.
  Result Parse();

  // Once per request: the head is complete, and the peer waits for "100 Continue" before it sends the body.
  [[nodiscard]] bool TakeContinue();

  // After kReady, until Next().
  const HttpServerRequest& request() const { return request_; }
  bool keep_alive() const { return keep_alive_; }
  // After kRefused: the status to answer before closing. The connection is of no further use.
  int refused_status() const { return refused_status_; }
  absl::string_view refused_reason() const { return refused_reason_; }

  // Drops the request that is ready. Bytes behind it are kept.
  void Next();

  // Whether no byte of a further request has come.
  bool idle() const { return phase_ == Phase::kHead && begin_ == used_; }
  // Whether the end of its head has not come.
  bool in_head() const { return phase_ == Phase::kHead; }
  // Bytes of memory for what came.
  size_t capacity() const { return capacity_; }

 private:
  enum class Phase { kHead, kSizedBody, kChunkSize, kChunkData, kTrailer, kReady, kRefused };

  void Refuse(int status, absl::string_view reason);
  void FindHead();
  void ParseHead();
  void ParseRequestLine(absl::string_view line);
  void AddHeader(size_t line_begin, size_t line_end);
  void ChooseFraming();
  void ParseSizedBody();
  void ParseChunkSize();
  void ParseChunkData();
  void ParseTrailer();
  void Ready(size_t body_end);

  // The line that begins at position_, without its CRLF; sets *found, or leaves it when the line is not complete.
  absl::string_view Line(bool* found) const;

  const HttpServerLimits limits_;
  std::unique_ptr<char[]> buffer_;
  size_t capacity_ = 0;
  size_t used_ = 0;      // end of the bytes that came
  size_t begin_ = 0;     // where the head begins, then the body
  size_t scanned_ = 0;   // no end of the head begins before this
  size_t position_ = 0;  // chunked: the next byte to look at. kReady: behind the request
  size_t body_end_ = 0;  // chunked: data is moved together in place, and ends here so far
  size_t chunk_left_ = 0;
  size_t trailer_bytes_ = 0;

  Phase phase_ = Phase::kHead;
  std::string head_;  // a copy, because the buffer moves while the body comes in
  std::vector<HttpServerHeader> headers_;
  HttpServerRequest request_;
  size_t content_length_ = 0;
  bool keep_alive_ = true;
  bool continue_wanted_ = false;
  bool http_1_0_ = false;
  int refused_status_ = 0;
  std::string refused_reason_;
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_SERVER_PARSER_H_
