// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

// Much longer than whoever is waited for takes on any machine; then the test goes on and fails.
constexpr std::chrono::seconds kPatience(120);

constexpr size_t kMaxHeadBytes = 64 * 1024;
constexpr size_t kMaxBodyBytes = size_t{256} << 20;

// The server belongs to a test: without a socket there is nothing to test.
void Require(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::abort();
}

bool SendAll(int socket, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(sent);
  }
  return true;
}

// Appends what the socket has. False: closed.
bool Receive(int socket, std::string* buffer) {
  const size_t before = buffer->size();
  buffer->resize(before + 64 * 1024);
  const ssize_t got = recv(socket, buffer->data() + before, 64 * 1024, 0);
  buffer->resize(before + std::max<ssize_t>(0, got));
  return got > 0;
}

// Takes one request off the connection; `buffer` keeps what came behind it. False: closed, or not HTTP.
bool ReadRequest(int socket, std::string* buffer, ServerRequest* request) {
  size_t end_of_head;
  while ((end_of_head = buffer->find("\r\n\r\n")) == std::string::npos) {
    if (buffer->size() > kMaxHeadBytes || !Receive(socket, buffer)) return false;
  }
  const std::vector<std::string> lines = absl::StrSplit(buffer->substr(0, end_of_head), "\r\n");
  const std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
  if (first.size() != 3) return false;
  request->method = first[0];
  request->target = first[1];
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<std::string, std::string> header = absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    request->headers[absl::AsciiStrToLower(header.first)] = std::string(absl::StripAsciiWhitespace(header.second));
  }
  size_t length = 0;
  if (const auto found = request->headers.find("content-length"); found != request->headers.end()) {
    if (!absl::SimpleAtoi(found->second, &length) || length > kMaxBodyBytes) return false;
  }
  const size_t end = end_of_head + 4 + length;
  while (buffer->size() < end) {
    if (!Receive(socket, buffer)) return false;
  }
  request->body = buffer->substr(end_of_head + 4, length);
  buffer->erase(0, end);
  return true;
}

std::string HeadOf(const ServerReply& reply, size_t body_bytes) {
  std::string head = absl::StrCat("HTTP/1.1 ", reply.status, " scripted\r\n");
  if (reply.framing == Framing::kLength) absl::StrAppend(&head, "Content-Length: ", body_bytes, "\r\n");
  if (reply.framing == Framing::kChunked) absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
  for (const auto& [name, value] : reply.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  absl::StrAppend(&head, "\r\n");
  return head;
}

std::string Chunked(absl::string_view body) {
  constexpr size_t kChunkBytes = 1000;
  std::string out;
  for (; !body.empty(); body.remove_prefix(std::min(kChunkBytes, body.size()))) {
    const absl::string_view chunk = body.substr(0, kChunkBytes);
    absl::StrAppend(&out, absl::Hex(chunk.size()), "\r\n", chunk, "\r\n");
  }
  absl::StrAppend(&out, "0\r\n\r\n");
  return out;
}

// Sends an RST and keeps the socket's number: to disconnect is to reset, for a connected TCP socket on Linux.
void Reset(int socket) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  connect(socket, &nobody, sizeof(nobody));
}

}  // namespace

// The socket is closed by the destructor only, so that its number is not given away while someone may shut it down.
struct ScriptedServer::Connection {
  explicit Connection(int number) : socket(number) {}
  ~Connection() { close(socket); }
  const int socket;
  std::thread thread;
};

ScriptedServer::ScriptedServer(Handler handler, Recording recording)
    : handler_(std::move(handler)), recording_(recording) {
  Listen();
}

ScriptedServer::ScriptedServer(Handler handler, ConnectionScript connections)
    : handler_(std::move(handler)), connection_script_(std::move(connections)), recording_(Recording::kOn) {
  Listen();
}

void ScriptedServer::Listen() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Require(listener_ >= 0, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  Require(bind(listener_, generic, size) == 0, "bind");
  Require(listen(listener_, 512) == 0, "listen");
  Require(getsockname(listener_, generic, &size) == 0, "getsockname");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

ScriptedServer::~ScriptedServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = released_ = true;
  }
  changed_.notify_all();
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  for (const auto& connection : connections_) shutdown(connection->socket, SHUT_RDWR);
  for (const auto& connection : connections_) {
    if (connection->thread.joinable()) connection->thread.join();
  }
}

std::string ScriptedServer::url() const { return absl::StrCat("http://127.0.0.1:", port_); }

std::vector<ServerRequest> ScriptedServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void ScriptedServer::Accept() {
  for (;;) {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) return;
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const int number = connections_accepted_++;
    const std::lock_guard lock(mutex_);
    connections_.push_back(std::make_unique<Connection>(socket));
    Connection* const connection = connections_.back().get();
    const ConnectionFault fault = connection_script_ ? connection_script_(number) : ConnectionFault::kNone;
    if (fault == ConnectionFault::kReset) Reset(socket);
    if (fault == ConnectionFault::kNone) connection->thread = std::thread([this, connection] { Serve(connection); });
  }
}

void ScriptedServer::Serve(Connection* connection) {
  std::string buffer;
  for (bool alive = true; alive;) {
    ServerRequest request;
    if (!ReadRequest(connection->socket, &buffer, &request)) break;
    request.number = next_number_++;
    if (recording_ == Recording::kOn) {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    alive = Answer(connection->socket, handler_(request));
  }
  shutdown(connection->socket, SHUT_RDWR);
  const std::lock_guard lock(mutex_);
  ++connections_ended_;
  changed_.notify_all();
}

bool ScriptedServer::Answer(int socket, const ServerReply& reply) {
  absl::string_view body = reply.shared_body.empty() ? absl::string_view(reply.body) : reply.shared_body;
  std::string head = absl::StrCat(reply.before, HeadOf(reply, body.size()));
  std::string other_body;
  if (!reply.raw.empty()) {
    head = absl::StrCat(reply.before, reply.raw);
    body = "";
  } else if (reply.framing == Framing::kChunked) {
    body = other_body = Chunked(body);
  }
  const auto beginning = [&] { return absl::StrCat(head, body).substr(0, reply.fault_bytes); };
  switch (reply.fault) {
    case ServerFault::kNone:
      return SendSliced(socket, head, reply) && SendSliced(socket, body, reply) &&
             reply.framing != Framing::kUntilClose;
    case ServerFault::kClose:
      return false;
    case ServerFault::kTruncate:
      SendAll(socket, head);
      SendAll(socket, body.substr(0, reply.fault_bytes));
      return false;
    case ServerFault::kReset:
      SendAll(socket, beginning());
      Reset(socket);
      return false;
    case ServerFault::kStall: {
      const std::string all = absl::StrCat(head, body);
      const size_t cut = std::min(reply.fault_bytes, all.size());
      if (!SendAll(socket, absl::string_view(all).substr(0, cut))) return false;
      Stall();
      return SendAll(socket, absl::string_view(all).substr(cut));
    }
    case ServerFault::kHalfClose: {
      SendAll(socket, beginning());
      shutdown(socket, SHUT_WR);
      std::string more;
      while (Receive(socket, &more)) more.clear();
      return false;
    }
    case ServerFault::kCloseAfter:
      SendAll(socket, absl::StrCat(head, body));
      return false;
  }
  return false;
}

bool ScriptedServer::SendSliced(int socket, absl::string_view bytes, const ServerReply& reply) {
  if (reply.slice_bytes == 0) return SendAll(socket, bytes);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(reply.slice_bytes, bytes.size()))) {
    if (!SendAll(socket, bytes.substr(0, reply.slice_bytes))) return false;
    if (reply.slice_pause <= absl::ZeroDuration()) continue;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(reply.slice_pause), [this] { return stopping_; });
    if (stopping_) return false;
  }
  return true;
}

void ScriptedServer::Stall() {
  std::unique_lock lock(mutex_);
  ++stalled_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return released_; });
  --stalled_;
}

void ScriptedServer::WaitForStalled(int count) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return stalled_ >= count; }))
      << "whoever was to ask has not: of " << count << " replies " << stalled_ << " are held back";
}

void ScriptedServer::WaitForEnded(int count) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return connections_ended_ >= count; }))
      << "of " << count << " connections " << connections_ended_ << " have ended";
}

void ScriptedServer::ReleaseStalled() {
  {
    const std::lock_guard lock(mutex_);
    released_ = true;
  }
  changed_.notify_all();
}

}  // namespace reembed
