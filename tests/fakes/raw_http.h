// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_RAW_HTTP_H_
#define REEMBED_TESTS_FAKES_RAW_HTTP_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

struct RawHttpReply {
  int status = 0;    // 0: the connection ended, or no whole reply came in time
  std::string head;  // as received, with the status line
  std::string body;
  // Value of the first header of this lower-case name; empty when there is none. Header names count as lower case.
  std::string Header(absl::string_view name) const;
};

// A bare HTTP/1.1 client on one loopback connection, for tests that care about bytes and packets. Reads replies with a
// content-length only. Not thread-safe. Every wait ends after 20 seconds.
class RawHttpClient {
 public:
  explicit RawHttpClient(int port);
  ~RawHttpClient();
  RawHttpClient(const RawHttpClient&) = delete;
  RawHttpClient& operator=(const RawHttpClient&) = delete;

  bool connected() const { return fd_ >= 0; }

  // False when the peer takes no more.
  bool Send(absl::string_view bytes);
  // The next final or interim reply. After a HEAD request say so: there is no body then.
  RawHttpReply Receive() { return Receive(Body::kAsAnnounced); }
  RawHttpReply ReceiveHead() { return Receive(Body::kNone); }
  RawHttpReply Post(absl::string_view path, absl::string_view body, absl::string_view more_headers = "");
  RawHttpReply Get(absl::string_view path, absl::string_view more_headers = "");

  // All that comes until the peer ends the connection.
  std::string ReceiveAll();

  // Waits until the peer ends the connection in good order; false if it sends something, resets, or does nothing.
  bool Ends();
  void FinishSending();
  // Ends the connection with a reset, as a killed process with unread data does.
  void Reset();

 private:
  enum class Body { kAsAnnounced, kNone };
  RawHttpReply Receive(Body body);
  // False at the end of the connection.
  bool Fill();

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_RAW_HTTP_H_
