// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/raw_http.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace reembed {

std::string RawHttpReply::Header(absl::string_view name) const {
  for (const absl::string_view line : absl::StrSplit(head, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::EqualsIgnoreCase(parts.first, name)) return std::string(absl::StripAsciiWhitespace(parts.second));
  }
  return "";
}

RawHttpClient::RawHttpClient(int port) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience = {.tv_sec = 20, .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd_);
    fd_ = -1;
  }
}

RawHttpClient::~RawHttpClient() {
  if (fd_ >= 0) close(fd_);
}

bool RawHttpClient::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

RawHttpReply RawHttpClient::Post(absl::string_view path, absl::string_view body, absl::string_view more_headers) {
  Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n", more_headers,
                    "content-length: ", body.size(), "\r\n\r\n", body));
  return Receive();
}

RawHttpReply RawHttpClient::Get(absl::string_view path, absl::string_view more_headers) {
  Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nhost: 127.0.0.1\r\n", more_headers, "\r\n"));
  return Receive();
}

RawHttpReply RawHttpClient::Receive(Body body) {
  RawHttpReply reply;
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return reply;
  }
  reply.head = buffer_.substr(0, end);
  buffer_.erase(0, end + 4);
  size_t length = 0;
  if (body == Body::kAsAnnounced) (void)absl::SimpleAtoi(reply.Header("content-length"), &length);
  while (buffer_.size() < length) {
    if (!Fill()) return reply;
  }
  reply.body = buffer_.substr(0, length);
  buffer_.erase(0, length);
  const std::vector<absl::string_view> status_line = absl::StrSplit(reply.head, absl::MaxSplits(' ', 2));
  if (status_line[0] == "HTTP/1.1" && status_line.size() > 1) (void)absl::SimpleAtoi(status_line[1], &reply.status);
  return reply;
}

std::string RawHttpClient::ReceiveAll() {
  while (Fill()) {
  }
  return std::exchange(buffer_, {});
}

bool RawHttpClient::Ends() {
  char byte;
  return buffer_.empty() && recv(fd_, &byte, 1, 0) == 0;
}

void RawHttpClient::FinishSending() { shutdown(fd_, SHUT_WR); }

void RawHttpClient::Reset() {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(fd_);
  fd_ = -1;
}

bool RawHttpClient::Fill() {
  char bytes[65536];
  const ssize_t received = recv(fd_, bytes, sizeof(bytes), 0);
  if (received > 0) buffer_.append(bytes, static_cast<size_t>(received));
  return received > 0;
}

}  // namespace reembed
