// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_LINE_SOCKET_H_
#define REEMBED_IO_NET_LINE_SOCKET_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/net/owned_fd.h"

namespace reembed {

// Answers lines on a Unix socket that only this user may use (0600): one line in, one line out, and the connection
// closes. One caller at a time; one that is slow to ask has kPatience. Its only thread calls the answerer.
class LineSocket {
 public:
  static constexpr int kPatienceMs = 1000;
  static constexpr size_t kLongestLine = 4096;  // in

  // Listens at `path`; a socket that is there already, which nobody can be at, is replaced.
  // Errors: kInvalidArgument (the path is longer than a socket's may be), kUnavailable (what the system says).
  static absl::StatusOr<std::unique_ptr<LineSocket>> Listen(const std::string& path,
                                                            std::function<std::string(absl::string_view)> answer);

  LineSocket(const LineSocket&) = delete;
  LineSocket& operator=(const LineSocket&) = delete;
  ~LineSocket();  // ends soon, and removes the socket

 private:
  LineSocket(std::string path, OwnedFd listener, OwnedFd wake, std::function<std::string(absl::string_view)> answer);
  void Loop();
  void Serve(const OwnedFd& caller);

  const std::string path_;
  const OwnedFd listener_;
  const OwnedFd wake_;
  const std::function<std::string(absl::string_view)> answer_;
  std::thread thread_;
};

// Sends a line to such a socket, and returns the answer without its end. Blocks for some seconds at most.
// Errors: kNotFound (nobody listens there), kInvalidArgument (the path is too long), kUnavailable (no whole answer).
absl::StatusOr<std::string> AskLineSocket(const std::string& path, absl::string_view line);

}  // namespace reembed

#endif  // REEMBED_IO_NET_LINE_SOCKET_H_
