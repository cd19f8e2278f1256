// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_SERVER_WORKER_H_
#define REEMBED_IO_NET_HTTP_SERVER_WORKER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/mutex.h"
#include "io/net/http_server.h"
#include "io/net/http_server_connection.h"
#include "io/net/owned_fd.h"

namespace reembed {

// One thread's share of the connections of an HttpServer; internal to the server. The first worker also accepts, and
// hands connections to all of them in turn. Everything but Hand() and Stop() belongs to the thread that calls Run().
class HttpServerWorker {
 public:
  // What the workers of one server share.
  struct Common {
    HttpServerOptions options;
    HttpHandler handler;
    std::atomic<int> connections{0};
    std::atomic<int64_t> held_bytes{0};
    std::vector<std::unique_ptr<HttpServerWorker>> workers;  // complete before the first Run()
  };

  // `common` is borrowed.
  HttpServerWorker(Common* common, int number) : common_(*common), number_(number) {}

  // `listener` is empty for all workers but one.
  // Errors: kUnavailable (out of descriptors).
  absl::Status Open(OwnedFd listener);

  // Serves until Stop(), and until the requests under way are finished or out of time.
  void Run();

  // Thread-safe.
  void Hand(OwnedFd socket);
  void Stop();

 private:
  using Clock = HttpServerConnection::Clock;

  // A connection and its place in wakes_.
  struct Served {
    Served(OwnedFd socket, Common* common, int worker)
        : connection(std::move(socket), common->options, common->handler, &common->held_bytes, worker) {}
    HttpServerConnection connection;
    Clock::time_point wake_at;
  };

  absl::Status Watch(int fd, uint32_t events);
  void SetTimer();
  void Wait();
  void Accept();
  bool EndLongestIdle();
  void TakeHanded();
  void Add(OwnedFd socket);
  void Advance(int fd, Served* served);
  void OnTime(Clock::time_point now);
  void BeginStop();
  void EndIdle();

  Common& common_;
  const int number_;
  OwnedFd epoll_;
  OwnedFd event_;  // wakes the thread for handed_ and stop_
  OwnedFd timer_;
  OwnedFd listener_;

  Mutex mutex_;
  std::vector<OwnedFd> handed_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> stop_{false};

  size_t next_worker_ = 0;
  Clock::time_point accept_again_ = Clock::time_point::max();  // max: the listener is not paused
  Clock::time_point stop_deadline_ = Clock::time_point::max();
  Clock::time_point armed_ = Clock::time_point::max();        // what timer_ is set to
  absl::flat_hash_map<int, std::unique_ptr<Served>> served_;  // by descriptor
  std::set<std::pair<Clock::time_point, int>> wakes_;         // one per connection, never later than its deadline
  std::vector<int> again_;                                    // connections that wait for their next turn
  bool stopping_ = false;
};

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_SERVER_WORKER_H_
