// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_METERED_PROXY_H_
#define REEMBED_TESTS_FAKES_METERED_PROXY_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <thread>

namespace reembed {

// Stands between clients and a server, hands on what they say, and counts what the server says. Ends the connections
// with the object; ends the program if there is no such server.
class MeteredProxy {
 public:
  // `server`: a port of the loopback interface; or the path of a socket, and `listens_at` another one.
  explicit MeteredProxy(int server);
  MeteredProxy(std::string server, const std::string& listens_at);
  ~MeteredProxy();
  MeteredProxy(const MeteredProxy&) = delete;
  MeteredProxy& operator=(const MeteredProxy&) = delete;

  // From now on connections go to another port; those that are there stay.
  void PointTo(int server) { server_port_ = server; }

  int port() const { return port_; }
  int64_t bytes() const { return bytes_; }

 private:
  struct Pair {
    int client = -1, server = -1;
    std::thread there, back;
  };

  void Listen(int listener);
  int ConnectToServer() const;
  void Run();

  const std::string path_;  // of the server's socket; empty: it has a port
  std::atomic<int> server_port_{0};
  int port_ = 0;
  int listener_ = -1;
  std::atomic<int64_t> bytes_{0};
  std::list<Pair> pairs_;  // of the thread, and of the destructor behind its end
  std::thread thread_;     // last: it uses the above
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_METERED_PROXY_H_
