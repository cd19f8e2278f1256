// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_BYTE_SERVER_H_
#define REEMBED_TESTS_FAKES_BYTE_SERVER_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"

namespace reembed {

// A TCP server on a free port of the loopback interface that answers bytes with bytes, one connection after the other,
// for tests of what a server may send that means no good.
class ByteServer {
 public:
  // `answer` gets what came in one piece and returns what goes back; runs on the server's thread.
  explicit ByteServer(std::function<std::string(absl::string_view received)> answer);
  ByteServer(const ByteServer&) = delete;
  ByteServer& operator=(const ByteServer&) = delete;
  // Ends the connections.
  ~ByteServer();

  int port() const { return port_; }

 private:
  void Run();

  const std::function<std::string(absl::string_view)> answer_;
  int listener_ = -1;
  int port_ = 0;
  int quit_[2] = {-1, -1};  // a pipe
  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_BYTE_SERVER_H_
