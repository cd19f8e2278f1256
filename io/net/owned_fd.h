// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_OWNED_FD_H_
#define REEMBED_IO_NET_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace reembed {

// A file descriptor that is closed with its owner; negative: none.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~OwnedFd() { Reset(); }

  int get() const { return fd_; }

  void Reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_OWNED_FD_H_
