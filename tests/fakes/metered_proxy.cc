// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/metered_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <utility>

namespace reembed {
namespace {

void Require(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  abort();
}

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  Require(path.size() < sizeof(address.sun_path), "MeteredProxy: path");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

sockaddr_in AddressOf(int port) {
  return {.sin_family = AF_INET,
          .sin_port = htons(static_cast<uint16_t>(port)),
          .sin_addr = {htonl(INADDR_LOOPBACK)},
          .sin_zero = {}};
}

// Until one of both ends.
void HandOn(int from, int to, std::atomic<int64_t>* counted) {
  std::string piece(1 << 16, '\0');
  for (ssize_t got = 0; (got = recv(from, piece.data(), piece.size(), 0)) > 0;) {
    if (counted != nullptr) *counted += got;
    for (ssize_t sent = 0, more = 0; sent < got; sent += more) {
      more = send(to, piece.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (more <= 0) break;
    }
  }
  shutdown(to, SHUT_RDWR);
  shutdown(from, SHUT_RDWR);
}

}  // namespace

MeteredProxy::MeteredProxy(int server) : server_port_(server) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = AddressOf(0);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  Require(listener >= 0 && bind(listener, generic, size) == 0 && getsockname(listener, generic, &size) == 0,
          "MeteredProxy: bind");
  port_ = ntohs(address.sin_port);
  Listen(listener);
}

MeteredProxy::MeteredProxy(std::string server, const std::string& listens_at) : path_(std::move(server)) {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = AddressOf(listens_at);
  Require(listener >= 0 && bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0,
          "MeteredProxy: bind");
  Listen(listener);
}

MeteredProxy::~MeteredProxy() {
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
  for (Pair& pair : pairs_) {
    shutdown(pair.client, SHUT_RDWR);
    shutdown(pair.server, SHUT_RDWR);
    pair.there.join();
    pair.back.join();
    close(pair.client);
    close(pair.server);
  }
}

void MeteredProxy::Listen(int listener) {
  listener_ = listener;
  Require(listen(listener_, 64) == 0, "MeteredProxy: listen");
  thread_ = std::thread([this] { Run(); });
}

int MeteredProxy::ConnectToServer() const {
  const int fd = socket(path_.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (path_.empty()) {
    const sockaddr_in address = AddressOf(server_port_);
    Require(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "MeteredProxy: connect");
  } else {
    const sockaddr_un address = AddressOf(path_);
    Require(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "MeteredProxy: connect");
  }
  return fd;
}

void MeteredProxy::Run() {
  while (true) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = ConnectToServer();
    Pair& pair = pairs_.emplace_back();
    pair.client = client;
    pair.server = server;
    pair.there = std::thread(HandOn, client, server, nullptr);
    pair.back = std::thread(HandOn, server, client, &bytes_);
  }
}

}  // namespace reembed
