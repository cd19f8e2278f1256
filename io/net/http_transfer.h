// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_HTTP_TRANSFER_H_
#define REEMBED_IO_NET_HTTP_TRANSFER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"
#include "io/net/http_loop.h"
#include "io/net/trust_store.h"

struct curl_slist;

namespace reembed {

// One request of an HttpLoop as libcurl works on it: what it sends, what has come, and what its end means. Belongs to
// one loop, and is used on that loop's thread once it has been handed over.
struct HttpTransfer {
  HttpTransfer() = default;
  HttpTransfer(const HttpTransfer&) = delete;
  HttpTransfer& operator=(const HttpTransfer&) = delete;
  ~HttpTransfer();

  HttpRequest request;
  HttpLoop::Callback callback;
  HttpReply reply;
  std::string proxy;  // empty: none
  HttpLoop::Ticket ticket = 0;
  size_t place = 0;      // among the loop's active ones
  void* easy = nullptr;  // a CURL, which the loop owns; null: not under way
  curl_slist* headers = nullptr;
  size_t head_bytes = 0;
  size_t body_bytes = 0;
  bool too_long = false;
  int sendings = 0;                  // more than 1: libcurl wanted to send it again by itself, which was refused
  Moment silent_since;               // as far as known at the last look
  int64_t bytes_then = 0;            // see BytesMoved()
  std::array<char, 256> error = {};  // what libcurl says of the failure
};
using HttpTransferPtr = std::unique_ptr<HttpTransfer>;

// Tells transfer->easy everything of the request. `trust`: the certificate authorities for https://.
void SetCurlOptions(HttpTransfer* transfer, const HttpLoopOptions& options, const TrustStore& trust);

// The HTTP status that has come; 0: none yet.
int HttpStatusOf(const HttpTransfer& transfer);

// Bytes in both directions so far, headers included.
int64_t BytesMoved(const HttpTransfer& transfer);

// What a transfer's end means, for its callback. `code`: the CURLcode. Errors: those of HttpLoop::Callback, other than
// kCancelled.
absl::Status StatusOfEnd(int code, const HttpTransfer& transfer);

// A time limit as libcurl takes it: in milliseconds, at least 1; 0, which means none to libcurl, for one that is
// practically infinite.
long CurlMilliseconds(absl::Duration duration);

}  // namespace reembed

#endif  // REEMBED_IO_NET_HTTP_TRANSFER_H_
