// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server_worker.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr int kEventsPerWait = 128;
constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kAcceptPause(100);

void RefuseConnection(const OwnedFd& socket) {
  const std::string body = OpenAiErrorBody("too many connections", "server_error", "", "");
  const std::string reply = absl::StrCat(
      "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ",
      body.size(), "\r\n\r\n", body);
  // Best effort: a fresh socket has room for it.
  (void)!send(socket.get(), reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

absl::Status HttpServerWorker::Open(OwnedFd listener) {
  epoll_ = OwnedFd(epoll_create1(EPOLL_CLOEXEC));
  event_ = OwnedFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  timer_ = OwnedFd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  listener_ = std::move(listener);
  absl::Status status = Watch(event_.get(), EPOLLIN);
  status.Update(Watch(timer_.get(), EPOLLIN));
  if (listener_.get() >= 0) status.Update(Watch(listener_.get(), EPOLLIN));
  return status;
}

absl::Status HttpServerWorker::Watch(int fd, uint32_t events) {
  epoll_event event = {.events = events, .data = {.fd = fd}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot wait for connections: ", std::strerror(errno)));
}

void HttpServerWorker::Run() {
  for (;;) {
    Wait();
    if (stop_.load() && !stopping_) BeginStop();
    if (!stopping_) continue;
    EndIdle();
    if (served_.empty() || Clock::now() >= stop_deadline_) return;
  }
}

void HttpServerWorker::Hand(OwnedFd socket) {
  {
    const MutexLock lock(&mutex_);
    handed_.push_back(std::move(socket));
  }
  eventfd_write(event_.get(), 1);
}

void HttpServerWorker::Stop() {
  stop_.store(true);
  eventfd_write(event_.get(), 1);
}

void HttpServerWorker::SetTimer() {
  Clock::time_point earliest = std::min(accept_again_, stop_deadline_);
  if (!wakes_.empty()) earliest = std::min(earliest, wakes_.begin()->first);
  if (earliest == armed_) return;
  armed_ = earliest;
  itimerspec spec = {};  // all zero: off
  if (earliest != Clock::time_point::max()) {
    const int64_t nanoseconds = std::max<int64_t>(1, std::chrono::nanoseconds(earliest.time_since_epoch()).count());
    spec.it_value = {.tv_sec = nanoseconds / 1'000'000'000, .tv_nsec = nanoseconds % 1'000'000'000};
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

void HttpServerWorker::Wait() {
  SetTimer();
  std::array<epoll_event, kEventsPerWait> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kEventsPerWait, again_.empty() ? -1 : 0);
  bool accept = false;
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    if (fd == event_.get() || fd == timer_.get()) {
      uint64_t expired;
      (void)!read(fd, &expired, sizeof(expired));
    } else if (fd == listener_.get()) {
      accept = true;
    } else if (const auto it = served_.find(fd); it != served_.end()) {
      if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) it->second->connection.OnBroken();
      if ((events[i].events & (EPOLLIN | EPOLLRDHUP)) != 0) it->second->connection.OnReadable();
      Advance(fd, it->second.get());
    }
  }
  for (const int fd : std::exchange(again_, {})) {
    if (const auto it = served_.find(fd); it != served_.end()) Advance(fd, it->second.get());
  }
  OnTime(Clock::now());
  // Last, so that no event of this round can be for another connection that had the same number.
  if (accept) Accept();
  TakeHanded();
}

void HttpServerWorker::Accept() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    OwnedFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.get() < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return;
      // Without descriptors that is the answer also where nobody waits.
      pollfd waits{.fd = listener_.get(), .events = POLLIN, .revents = 0};
      if (poll(&waits, 1, 0) == 0) return;
      if (EndLongestIdle()) continue;
      // Out of descriptors or memory. The listener stays readable, so asking again at once would spin.
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
      accept_again_ = Clock::now() + kAcceptPause;
      return;
    }
    if (common_.connections.load() >= common_.options.max_connections && !EndLongestIdle()) {
      RefuseConnection(socket);
      continue;
    }
    const int on = 1;
    setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ++common_.connections;
    HttpServerWorker& worker = *common_.workers[next_worker_++ % common_.workers.size()];
    if (&worker == this) {
      Add(std::move(socket));
    } else {
      worker.Hand(std::move(socket));
    }
  }
}

// Makes room for one more: clients that keep connections they do not use must not lock out those that ask. Among this
// worker's own.
bool HttpServerWorker::EndLongestIdle() {
  int longest = -1;
  Clock::time_point since = Clock::time_point::max();
  for (const auto& [fd, served] : served_) {
    const std::optional<Clock::time_point> idle = served->connection.idle_since();
    if (!idle.has_value() || *idle >= since) continue;
    longest = fd;
    since = *idle;
  }
  const auto it = served_.find(longest);
  if (it == served_.end() || Clock::now() - since < absl::ToChronoNanoseconds(common_.options.idle_yields))
    return false;
  it->second->connection.OnBroken();
  Advance(longest, it->second.get());
  return true;
}

void HttpServerWorker::TakeHanded() {
  std::vector<OwnedFd> handed;
  {
    const MutexLock lock(&mutex_);
    handed.swap(handed_);
  }
  for (OwnedFd& socket : handed) Add(std::move(socket));
}

void HttpServerWorker::Add(OwnedFd socket) {
  const int fd = socket.get();
  if (!Watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET).ok()) {
    --common_.connections;
    return;
  }
  auto added = std::make_unique<Served>(std::move(socket), &common_, number_);
  Served* const served = added.get();
  served_[fd] = std::move(added);
  served->wake_at = served->connection.deadline();
  wakes_.emplace(served->wake_at, fd);
  Advance(fd, served);
}

void HttpServerWorker::Advance(int fd, Served* served) {
  const HttpServerConnection::Waits waits = served->connection.Advance();
  if (waits == HttpServerConnection::Waits::kClosed) {
    wakes_.erase({served->wake_at, fd});
    served_.erase(fd);
    --common_.connections;
    return;
  }
  if (waits == HttpServerConnection::Waits::kTurn) again_.push_back(fd);
  // A later deadline is seen when the old one comes: no work here per request.
  if (const Clock::time_point deadline = served->connection.deadline(); deadline < served->wake_at) {
    wakes_.erase({served->wake_at, fd});
    served->wake_at = deadline;
    wakes_.emplace(deadline, fd);
  }
}

void HttpServerWorker::OnTime(Clock::time_point now) {
  if (accept_again_ <= now) {
    accept_again_ = Clock::time_point::max();
    (void)Watch(listener_.get(), EPOLLIN);
  }
  while (!wakes_.empty() && wakes_.begin()->first <= now) {
    const int fd = wakes_.begin()->second;
    Served* const served = served_.find(fd)->second.get();
    if (served->connection.deadline() <= now) served->connection.OnDeadline();
    wakes_.erase(wakes_.begin());
    served->wake_at = served->connection.deadline();
    wakes_.emplace(served->wake_at, fd);
    Advance(fd, served);
  }
}

void HttpServerWorker::BeginStop() {
  stopping_ = true;
  stop_deadline_ = Clock::now() + absl::ToChronoNanoseconds(common_.options.stop_timeout);
  accept_again_ = Clock::time_point::max();
  listener_.Reset();
}

void HttpServerWorker::EndIdle() {
  std::vector<int> fds;
  fds.reserve(served_.size());
  for (const auto& [fd, served] : served_) fds.push_back(fd);
  for (const int fd : fds) {
    Served* const served = served_.find(fd)->second.get();
    served->connection.EndSoon();
    Advance(fd, served);
  }
}

}  // namespace reembed
