// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_CLIENT_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_CLIENT_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "io/net/http_loop.h"

namespace reembed {

// What a caller knows that an address must not hold.
struct QdrantOptions {
  std::string api_key;                         // empty: the server wants none. Sent, never shown
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away, before kUnavailable
  int streams = 4;                             // requests under way at a time
  std::shared_ptr<std::atomic<bool>> answered = std::make_shared<std::atomic<bool>>(false);  // whether the server has
};

struct QdrantRequest {
  std::string method;
  std::string path;                                        // with the query, from '/' on; what it names must be escaped
  std::string body;                                        // JSON, or empty
  std::shared_ptr<const std::string> long_body = nullptr;  // instead, where it may be needed again
};

// Requests to one Qdrant server over its REST API. All that this program asks for may be asked twice, so a request
// whose answer is lost, or that the server is too busy for (408, 429, 500, 503), is repeated until `patience` is over;
// not before the first answer. Used by one thread.
class QdrantClient {
 public:
  // The answer to a request: the server's whole JSON text. Errors, with the server's own words:
  //   kUnavailable (no connection, or busy, for longer than `patience`), kUnauthenticated (401), kPermissionDenied
  //   (403), kNotFound (404), kUnimplemented (405), kAlreadyExists (409), kOutOfRange (the body is longer than the
  //   server takes: 413, and 400 with words to that effect), kResourceExhausted (507), kInvalidArgument (other 4xx),
  //   kDataLoss (no JSON, or longer than max_reply_bytes), kFailedPrecondition (certificate, redirect).
  using Answer = absl::StatusOr<std::string>;

  // `url`: http(s)://host:port, perhaps with a path, without a slash at the end. Sends nothing.
  static absl::StatusOr<std::unique_ptr<QdrantClient>> Make(const std::string& url, const QdrantOptions& options);

  // Waits for what is under way.
  ~QdrantClient();

  Answer Call(const QdrantRequest& request);

  // Starts a request, once fewer than `streams` are under way. `take` is called with the answer, by this thread, in a
  // later Start() or Drain(), in any order; it may Start() further ones.
  void Start(QdrantRequest request, std::function<void(Answer)> take);

  // Takes all answers that are outstanding.
  void Drain();

  const std::string& url() const { return url_; }

 private:
  struct Sent;

  QdrantClient(std::string url, const QdrantOptions& options, std::unique_ptr<HttpLoop> loop);

  HttpRequest HttpOf(const QdrantRequest& request) const;
  Answer Finish(const QdrantRequest& request, absl::StatusOr<HttpReply> reply) const;
  void Send(std::shared_ptr<Sent> sent);
  // Waits for an answer, and meanwhile sends again what has rested long enough.
  std::shared_ptr<Sent> NextAnswered();
  // Waits for one answer and takes it, or has its request sent again.
  void TakeOne();

  const std::string url_;
  const QdrantOptions options_;
  std::mt19937_64 random_;

  Mutex mutex_;
  std::condition_variable_any arrived_;
  std::vector<std::shared_ptr<Sent>> answered_ ABSL_GUARDED_BY(mutex_);

  // Of the thread that uses it.
  std::vector<std::shared_ptr<Sent>> resting_;  // to be sent again
  int under_way_ = 0;                           // neither taken nor given up

  std::unique_ptr<HttpLoop> loop_;  // last: its threads use the above
};

// Percent-encodes a name for a path.
std::string QdrantPathPart(absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_CLIENT_H_
