// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr int kStepsPerTurn = 64;  // so that one busy connection does not starve the others
// A refused client may still be sending: closing at once would reset the connection and could destroy the answer, so
// what it sends is thrown away for a while. RFC 9112, section 9.6.
constexpr std::chrono::seconds kDrainTime(2);
constexpr size_t kMaxDrainBytes = size_t{256} << 20;
constexpr size_t kSmallBytes = size_t{64} << 10;  // of a request that is served however much others hold

absl::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";  // may be empty: RFC 9112, section 4
  }
}

// "localhost", "127.x.x.x" or "[::1]", with or without a port; clients of HTTP/1.0 say nothing.
bool IsLocalHost(absl::string_view host) {
  if (host.empty() || absl::StartsWith(host, "[::1]")) return true;
  const absl::string_view name = host.substr(0, host.find(':'));
  if (absl::EqualsIgnoreCase(name, "localhost")) return true;
  in_addr address;
  return inet_pton(AF_INET, std::string(name).c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

}  // namespace

HttpServerConnection::HttpServerConnection(OwnedFd socket, const HttpServerOptions& options, const HttpHandler& handler,
                                           std::atomic<int64_t>* held, int worker)
    : socket_(std::move(socket)),
      options_(options),
      handler_(handler),
      held_(held),
      worker_(worker),
      parser_(options.limits),
      active_(Clock::now()),
      began_(active_) {}

HttpServerConnection::Waits HttpServerConnection::Advance() {
  const Waits waits = Go();
  CountHeld();
  return waits;
}

void HttpServerConnection::CountHeld() {
  const auto holds = static_cast<int64_t>(parser_.capacity() + head_.size() + body_.size());
  if (holds == counted_) return;
  *held_ += holds - counted_;
  counted_ = holds;
}

// Whether it is to be refused, so that the others can be served. Small requests always find room.
bool HttpServerConnection::HoldsTooMuch() const {
  return parser_.capacity() > kSmallBytes && held_->load() > options_.max_held_bytes;
}

std::optional<HttpServerConnection::Clock::time_point> HttpServerConnection::idle_since() const {
  return state_ == State::kReading && parser_.idle() ? std::optional(active_) : std::nullopt;
}

HttpServerConnection::Waits HttpServerConnection::Go() {
  for (int step = 0; step < kStepsPerTurn; ++step) {
    bool more = false;
    switch (state_) {
      case State::kReading:
        more = Read();
        break;
      case State::kDelaying:
        break;
      case State::kPausing:
        if (PeerHasLeft()) state_ = State::kClosed;
        break;
      case State::kWriting:
        more = Write();
        break;
      case State::kDraining:
        more = Drain();
        break;
      case State::kClosed:
        return Waits::kClosed;
    }
    if (!more) return state_ == State::kClosed ? Waits::kClosed : Waits::kEvent;
  }
  return Waits::kTurn;
}

void HttpServerConnection::OnDeadline() {
  if (state_ == State::kDelaying) {
    state_ = State::kWriting;
    active_ = Clock::now();
  } else if (state_ == State::kPausing) {
    active_ = Clock::now();
    TakeNextPiece();
  } else if (state_ == State::kReading && !parser_.idle()) {
    Refuse(408, parser_.in_head() ? "the headers of the request did not come in time"
                                  : "the body of the request did not come in time");
  } else {
    state_ = State::kClosed;
  }
}

HttpServerConnection::Clock::time_point HttpServerConnection::deadline() const {
  if (state_ == State::kDelaying || state_ == State::kPausing || state_ == State::kDraining) return due_;
  const Clock::time_point idle = active_ + absl::ToChronoNanoseconds(options_.idle_timeout);
  if (state_ != State::kReading || parser_.idle()) return idle;
  const absl::Duration whole = parser_.in_head() ? options_.head_timeout : options_.request_timeout;
  return std::min(idle, began_ + absl::ToChronoNanoseconds(whole));
}

void HttpServerConnection::EndSoon() {
  ending_ = true;
  readable_ = true;
  // What the kernel has received is under way too.
  if (Advance() == Waits::kEvent && state_ == State::kReading && parser_.idle()) state_ = State::kClosed;
  if (state_ == State::kDraining) state_ = State::kClosed;
  if (state_ == State::kPausing) {
    // The last word of what is told, so that whoever reads knows how it ended.
    TakeNextPiece();
    after_write_ = AfterWrite::kClose;
    Advance();
  }
}

void HttpServerConnection::TakeNextPiece() {
  if (!next_(&body_)) after_write_ = AfterWrite::kClose;
  state_ = State::kWriting;
}

// A peer that only listens says nothing more but that it goes.
bool HttpServerConnection::PeerHasLeft() {
  std::array<char, 1024> scrap;
  while (readable_) {
    const ssize_t bytes = recv(socket_.get(), scrap.data(), scrap.size(), 0);
    if (bytes == 0 || (bytes < 0 && errno != EINTR && errno != EAGAIN)) return true;
    if (bytes < 0 && errno == EAGAIN) readable_ = false;
  }
  return false;
}

bool HttpServerConnection::Read() {
  switch (parser_.Parse()) {
    case HttpServerParser::Result::kReady:
      Answer();
      return true;
    case HttpServerParser::Result::kRefused:
      Refuse(parser_.refused_status(), parser_.refused_reason());
      return true;
    case HttpServerParser::Result::kIncomplete:
      break;
  }
  if (parser_.TakeContinue()) {
    head_ = "HTTP/1.1 100 Continue\r\n\r\n";
    after_write_ = AfterWrite::kReadOn;
    state_ = State::kWriting;
    return true;
  }
  return Receive();
}

bool HttpServerConnection::Receive() {
  if (!readable_) return false;
  if (HoldsTooMuch()) {
    Refuse(503, "the server holds as many bytes of other requests as it may; try again later");
    return true;
  }
  const bool begins = parser_.idle();
  const absl::Span<char> room = parser_.Room();
  CountHeld();
  const ssize_t bytes = recv(socket_.get(), room.data(), room.size(), 0);
  if (bytes > 0) {
    parser_.Received(static_cast<size_t>(bytes));
    active_ = Clock::now();
    if (begins) began_ = active_;
    return true;
  }
  if (bytes < 0 && errno == EINTR) return true;
  if (bytes < 0 && errno == EAGAIN) {
    readable_ = false;
  } else {
    state_ = State::kClosed;
  }
  return false;
}

void HttpServerConnection::Answer() {
  HttpServerRequest request = parser_.request();
  request.worker = worker_;
  if (options_.only_local_hosts && !IsLocalHost(request.Header("host"))) {
    return Refuse(403, "the name in `Host` is not one of this machine's; say 127.0.0.1 or localhost");
  }
  HttpServerResponse response = handler_(request);
  if (response.reset) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    state_ = State::kClosed;
    return;
  }
  const absl::Duration delay = response.delay;
  if (request.method == "HEAD") response.next = nullptr;
  next_ = std::move(response.next);
  every_ = absl::ToChronoNanoseconds(response.every);
  SetReply(std::move(response), next_ != nullptr && !ending_       ? AfterWrite::kGoOn
                                : parser_.keep_alive() && !ending_ ? AfterWrite::kReadOn
                                                                   : AfterWrite::kClose);
  if (request.method == "HEAD") {
    shared_body_.reset();
    body_.clear();
  }
  if (delay > absl::ZeroDuration()) {
    due_ = active_ + absl::ToChronoNanoseconds(delay);
    state_ = State::kDelaying;
  }
  parser_.Next();
}

void HttpServerConnection::Refuse(int status, absl::string_view reason) {
  HttpServerResponse response;
  response.status = status;
  response.body = OpenAiErrorBody(reason, status == 503 ? "server_error" : "invalid_request_error", "", "");
  SetReply(std::move(response), AfterWrite::kDrain);
}

void HttpServerConnection::SetReply(HttpServerResponse response, AfterWrite after_write) {
  shared_body_ = std::move(response.shared_body);
  body_ = std::move(response.body);
  const size_t length = body_.size() + (shared_body_ == nullptr ? 0 : shared_body_->size());
  head_ = absl::StrCat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
                       "\r\ncontent-type: ", response.content_type, "\r\n");
  // Without a length a reply ends with its connection: RFC 9112, section 6.3.
  if (after_write != AfterWrite::kGoOn) absl::StrAppend(&head_, "content-length: ", length, "\r\n");
  for (const auto& [name, value] : response.headers) absl::StrAppend(&head_, name, ": ", value, "\r\n");
  // HTTP/1.1 takes keep-alive for granted; clients of 1.0 want to read it.
  head_.append(after_write == AfterWrite::kReadOn ? "connection: keep-alive\r\n\r\n" : "connection: close\r\n\r\n");
  after_write_ = after_write;
  state_ = State::kWriting;
}

bool HttpServerConnection::Write() {
  std::array<iovec, 3> parts;
  size_t count = 0;
  size_t before = 0;  // bytes of earlier parts
  for (const std::string* part :
       {static_cast<const std::string*>(&head_), shared_body_.get(), static_cast<const std::string*>(&body_)}) {
    if (part == nullptr) continue;
    const size_t skip = std::min(part->size(), sent_ - std::min(sent_, before));
    before += part->size();
    // The kernel only reads from it, but iovec knows no const.
    if (skip < part->size()) parts[count++] = {const_cast<char*>(part->data()) + skip, part->size() - skip};
  }
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  const ssize_t bytes = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (bytes < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN) state_ = State::kClosed;
    return false;
  }
  active_ = Clock::now();
  sent_ += static_cast<size_t>(bytes);
  if (sent_ < before) return true;
  sent_ = 0;
  head_.clear();
  shared_body_.reset();
  body_.clear();
  switch (after_write_) {
    case AfterWrite::kGoOn:
      due_ = active_ + every_;
      state_ = State::kPausing;
      break;
    case AfterWrite::kReadOn:
      state_ = State::kReading;
      began_ = active_;  // of the next one some may be there
      break;
    case AfterWrite::kClose:
      state_ = State::kClosed;
      break;
    case AfterWrite::kDrain:
      shutdown(socket_.get(), SHUT_WR);
      due_ = active_ + kDrainTime;
      readable_ = true;
      state_ = State::kDraining;
      break;
  }
  return true;
}

bool HttpServerConnection::Drain() {
  std::array<char, 16384> scrap;
  const ssize_t bytes = recv(socket_.get(), scrap.data(), scrap.size(), 0);
  if (bytes < 0 && errno == EAGAIN) return false;
  if (bytes > 0) drained_ += static_cast<size_t>(bytes);
  if (bytes == 0 || (bytes < 0 && errno != EINTR) || drained_ > kMaxDrainBytes) state_ = State::kClosed;
  return state_ != State::kClosed;
}

}  // namespace reembed
