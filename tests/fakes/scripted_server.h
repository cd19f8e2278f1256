// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_SCRIPTED_SERVER_H_
#define REEMBED_TESTS_FAKES_SCRIPTED_SERVER_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

// One request as the server got it.
struct ServerRequest {
  int number = 0;  // from 0, in the order of arrival
  std::string method;
  std::string target;                          // "/v1/embeddings"
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// How the server misbehaves.
enum class ServerFault {
  kNone,
  kClose,       // ends the connection in place of a reply
  kReset,       // sends `fault_bytes` bytes of the reply, head included, then resets the connection
  kTruncate,    // sends the head with the full Content-Length and `fault_bytes` bytes of the body, then closes
  kStall,       // sends `fault_bytes` bytes of the reply, head included, and the rest after ReleaseStalled()
  kHalfClose,   // sends `fault_bytes` bytes of the reply, head included, then no more, and goes on listening
  kCloseAfter,  // sends the whole reply as one that keeps the connection alive, then closes it
};

// How a reply says where it ends.
enum class Framing {
  kLength,
  kChunked,     // of 1,000 bytes
  kUntilClose,  // it does not: the connection ends
};

// What the server answers.
struct ServerReply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;  // besides those of the framing
  std::string body;
  absl::string_view shared_body;  // sent in place of `body` when not empty, without a copy; outlives the server
  ServerFault fault = ServerFault::kNone;
  size_t fault_bytes = 0;

  Framing framing = Framing::kLength;
  std::string before;          // sent before the reply as it is: "HTTP/1.1 100 Continue\r\n\r\n"
  std::string raw;             // sent in place of head and body, if not empty
  size_t slice_bytes = 0;      // so many bytes at a time; 0: all at once
  absl::Duration slice_pause;  // between them
};

// What happens to a connection before it has asked for anything.
enum class ConnectionFault {
  kNone,
  kReset,
  kDeaf,  // takes it, and neither reads nor answers
};

// An HTTP/1.1 server on 127.0.0.1, on a port that the system chose, which does what the test says: keep-alive, one
// thread per connection, everything ended by the destructor.
class ScriptedServer {
 public:
  // Called for each request, from several threads at once.
  using Handler = std::function<ServerReply(const ServerRequest&)>;

  enum class Recording { kOn, kOff };  // off for benchmarks: requests() stays empty

  // Called for each connection with its number, from 0.
  using ConnectionScript = std::function<ConnectionFault(int number)>;

  explicit ScriptedServer(Handler handler, Recording recording = Recording::kOn);
  ScriptedServer(Handler handler, ConnectionScript connections);
  ~ScriptedServer();

  std::string url() const;  // "http://127.0.0.1:PORT"

  std::vector<ServerRequest> requests() const;
  int request_count() const { return next_number_; }
  int connection_count() const { return connections_accepted_; }

  // Blocks until so many replies are stalled. After two minutes the test fails, as it does below.
  void WaitForStalled(int count);

  // Blocks until the server has ended so many connections.
  void WaitForEnded(int count);

  // Lets all stalled replies go on, present and future ones.
  void ReleaseStalled();

 private:
  struct Connection;

  void Listen();
  void Accept();
  void Serve(Connection* connection);
  // False: the connection is over.
  bool Answer(int socket, const ServerReply& reply);
  bool SendSliced(int socket, absl::string_view bytes, const ServerReply& reply);
  void Stall();

  const Handler handler_;
  const ConnectionScript connection_script_;
  const Recording recording_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> next_number_{0};
  std::atomic<int> connections_accepted_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ServerRequest> requests_;
  int stalled_ = 0;
  int connections_ended_ = 0;
  bool released_ = false;
  bool stopping_ = false;
  std::vector<std::unique_ptr<Connection>> connections_;

  std::thread acceptor_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_SCRIPTED_SERVER_H_
