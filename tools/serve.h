// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SERVE_H_
#define REEMBED_TOOLS_SERVE_H_

#include <ostream>
#include <stop_token>

#include "absl/status/status.h"
#include "io/embed/embedding_server.h"

namespace reembed {

struct ServeOptions {
  EmbeddingServerOptions server;
};

// `reembed serve`: an OpenAI-compatible embedding server until `stop`. When it listens it prints one line to `out` and
// flushes it, so that whoever started it can read the address:
//   listening on http://127.0.0.1:8080/v1 (model reembed-lexical-1, 512 dimensions)
// Returns OK when it was stopped and the requests under way are finished.
// Errors: as EmbeddingServer::Start().
absl::Status Serve(const ServeOptions& options, std::stop_token stop, std::ostream& out);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SERVE_H_
