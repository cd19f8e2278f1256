// SPDX-License-Identifier: Apache-2.0
#include "io/net/line_socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr int kAnswerTakesMs = 10'000;
constexpr size_t kLongestAnswer = size_t{4} << 20;

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the path of a socket has at most ",
                                                   sizeof(address.sun_path) - 1, " bytes, and this has ", path.size()));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

absl::Status SocketError(const std::string& path, absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(path, ": cannot ", what, ": ", std::strerror(errno)));
}

// Reads until the end of the line, which is left out, or of the stream. False: neither came in time.
bool ReadLine(int fd, int patience_ms, size_t longest, std::string* line) {
  char bytes[4096];
  while (line->size() < longest) {
    pollfd wait = {.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, patience_ms) <= 0) return false;
    const ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return false;
    line->append(bytes, static_cast<size_t>(size));
    const size_t end = line->find('\n');
    if (end != std::string::npos) line->resize(end);
    if (size == 0 || end != std::string::npos) return true;
  }
  return false;
}

bool WriteAll(int fd, int patience_ms, absl::string_view bytes) {
  while (!bytes.empty()) {
    pollfd wait = {.fd = fd, .events = POLLOUT, .revents = 0};
    if (poll(&wait, 1, patience_ms) <= 0) return false;
    const ssize_t size = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LineSocket>> LineSocket::Listen(const std::string& path,
                                                               std::function<std::string(absl::string_view)> answer) {
  ABSL_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  struct stat found;
  if (lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) unlink(path.c_str());
  OwnedFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  OwnedFd wake(eventfd(0, EFD_CLOEXEC));
  if (listener.get() < 0 || wake.get() < 0) return SocketError(path, "make a socket");
  // Before anybody can connect, and without a umask, which is the whole process's: a socket takes its rights from here.
  if (fchmod(listener.get(), S_IRUSR | S_IWUSR) != 0) return SocketError(path, "keep the socket from others");
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return SocketError(path, "make the socket");
  }
  if (chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || listen(listener.get(), 8) != 0) {
    const absl::Status failed = SocketError(path, "listen");
    unlink(path.c_str());
    return failed;
  }
  std::unique_ptr<LineSocket> made(new LineSocket(path, std::move(listener), std::move(wake), std::move(answer)));
  try {
    made->thread_ = std::thread([socket = made.get()] { socket->Loop(); });
  } catch (const std::system_error& error) {
    return absl::UnavailableError(absl::StrCat("cannot start a thread: ", error.what()));
  }
  return made;
}

LineSocket::LineSocket(std::string path, OwnedFd listener, OwnedFd wake,
                       std::function<std::string(absl::string_view)> answer)
    : path_(std::move(path)), listener_(std::move(listener)), wake_(std::move(wake)), answer_(std::move(answer)) {}

LineSocket::~LineSocket() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
  unlink(path_.c_str());
}

void LineSocket::Loop() {
  for (;;) {
    pollfd waits[] = {{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                      {.fd = listener_.get(), .events = POLLIN, .revents = 0}};
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[0].revents != 0) return;
    const OwnedFd caller(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (caller.get() >= 0) Serve(caller);
  }
}

void LineSocket::Serve(const OwnedFd& caller) {
  std::string line;
  if (!ReadLine(caller.get(), kPatienceMs, kLongestLine, &line)) return;
  WriteAll(caller.get(), kPatienceMs, absl::StrCat(answer_(line), "\n"));
}

absl::StatusOr<std::string> AskLineSocket(const std::string& path, absl::string_view line) {
  ABSL_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  const OwnedFd server(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (server.get() < 0) return SocketError(path, "make a socket");
  if (connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return absl::NotFoundError(absl::StrCat(path, ": nobody listens"));
    return SocketError(path, "connect");
  }
  std::string answer;
  if (!WriteAll(server.get(), kAnswerTakesMs, absl::StrCat(line, "\n")) ||
      !ReadLine(server.get(), kAnswerTakesMs, kLongestAnswer, &answer) || answer.empty()) {
    return absl::UnavailableError(absl::StrCat(path, ": no answer came in ", kAnswerTakesMs / 1000, " s"));
  }
  return answer;
}

}  // namespace reembed
