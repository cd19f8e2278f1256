// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_EMBEDDING_SERVER_H_
#define REEMBED_IO_EMBED_EMBEDDING_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "io/embed/embedding_server_load.h"
#include "io/embed/embedding_server_quota.h"

namespace reembed {

class HttpServer;

// kLexical: vectors of the built-in embedder (engine/text/lexical_embedder.h).
// kPrepared: the n-th input of any request gets the same fixed unit vector, whatever its text is. These vectors say
// NOTHING about the texts; they are for measuring how fast a client reads replies. A reply for n inputs is built once,
// and the same bytes are sent from then on.
enum class EmbeddingServerMode { kLexical, kPrepared };

struct EmbeddingServerOptions {
  std::string address = "127.0.0.1";  // IPv4 or IPv6, as numbers
  int port = 0;                       // 0: the kernel chooses a free one
  int dim = 512;                      // of requests that name none, 32 to 4096
  int threads = 1;
  std::string api_key;  // requests must bear it; empty: none is asked for
  EmbeddingServerMode mode = EmbeddingServerMode::kLexical;
  EmbeddingServerSpeed speed;    // for tests
  EmbeddingServerLimits limits;  // beyond them: 429; for tests
};

// What a server does instead of answering; for tests. kReset: it resets the connection.
enum class EmbeddingServerOutage { kNone, kUnavailable503, kReset };

// What a server has been asked for so far.
struct EmbeddingServerCounts {
  int64_t requests = 0;  // for embeddings, refused ones included
  int64_t refused = 0;   // of them, answered with an error, or not at all
  int64_t limited = 0;   // of those, with 429
  int64_t texts = 0;     // that were given a vector
};

// An OpenAI-compatible embedding server over the built-in embedder.
//   POST /v1/embeddings, /embeddings   input: a string or up to 2,048 strings, none empty; tokens are refused
//   GET  /v1/models, /models           the one model
//   GET  /health                       never needs the key
// On a loopback address, and without a key, `Host` must name this machine: HttpServerOptions::only_local_hosts.
// Any model name is accepted and echoed, so that clients with a fixed name work unchanged. `dimensions` may be 32 to
// 4,096; `encoding_format` float (default) or base64. `usage` is an estimate, a quarter of the bytes of each text.
// Source of the wire: OpenAI's API reference, "Embeddings".
class EmbeddingServer {
 public:
  // Listens and starts the threads.
  // Errors: kInvalidArgument (options), kUnavailable (the port is taken; out of descriptors or threads).
  static absl::StatusOr<std::unique_ptr<EmbeddingServer>> Start(const EmbeddingServerOptions& options);

  ~EmbeddingServer();  // stops
  EmbeddingServer(const EmbeddingServer&) = delete;
  EmbeddingServer& operator=(const EmbeddingServer&) = delete;

  // Whether only this machine can reach a server that listens there.
  static bool IsLoopback(absl::string_view address);

  int port() const;
  // What a client is given as its base: http://127.0.0.1:8080/v1
  std::string base_url() const;
  // Thread-safe.
  EmbeddingServerCounts counts() const;

  // From now on. Thread-safe.
  void SetOutage(EmbeddingServerOutage outage);

  // Finishes the requests under way, for at most some seconds.
  void Stop();

 private:
  class Service;
  EmbeddingServer(std::string address, std::unique_ptr<Service> service, std::unique_ptr<HttpServer> http);

  const std::string address_;
  const std::unique_ptr<Service> service_;
  const std::unique_ptr<HttpServer> http_;  // last: its threads use the service
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_EMBEDDING_SERVER_H_
