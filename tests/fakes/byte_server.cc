// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/byte_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>
#include <vector>

namespace reembed {

ByteServer::ByteServer(std::function<std::string(absl::string_view)> answer) : answer_(std::move(answer)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (listener_ < 0 || bind(listener_, generic, size) != 0 || listen(listener_, 16) != 0 ||
      getsockname(listener_, generic, &size) != 0 || pipe(quit_) != 0) {
    abort();
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

ByteServer::~ByteServer() {
  close(quit_[1]);
  thread_.join();
  close(quit_[0]);
  close(listener_);
}

void ByteServer::Run() {
  std::vector<pollfd> watched = {{.fd = quit_[0], .events = POLLIN, .revents = 0},
                                 {.fd = listener_, .events = POLLIN, .revents = 0}};
  std::string piece(1 << 16, '\0');
  while (poll(watched.data(), watched.size(), -1) >= 0 && watched[0].revents == 0) {
    std::vector<pollfd> next = {watched[0], watched[1]};
    for (size_t i = 2; i < watched.size(); ++i) {
      const ssize_t got = watched[i].revents == 0 ? 0 : recv(watched[i].fd, piece.data(), piece.size(), 0);
      if (watched[i].revents != 0 && got <= 0) {
        close(watched[i].fd);
        continue;
      }
      if (got > 0) {
        const std::string back = answer_({piece.data(), static_cast<size_t>(got)});
        (void)!send(watched[i].fd, back.data(), back.size(), MSG_NOSIGNAL);
      }
      next.push_back(watched[i]);
    }
    if (watched[1].revents != 0) {
      next.push_back({.fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), .events = POLLIN, .revents = 0});
    }
    watched = std::move(next);
  }
  for (size_t i = 2; i < watched.size(); ++i) close(watched[i].fd);
}

}  // namespace reembed
