// SPDX-License-Identifier: Apache-2.0
#include "tools/serve.h"

#include <latch>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/status_macros.h"
#include "engine/text/lexical_embedder.h"

namespace reembed {

absl::Status Serve(const ServeOptions& options, std::stop_token stop, std::ostream& out) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<EmbeddingServer> server, EmbeddingServer::Start(options.server));
  out << "listening on " << server->base_url();
  if (options.server.mode == EmbeddingServerMode::kPrepared) {
    out << " (prepared vectors that say nothing about the texts, ";
  } else {
    out << " (model " << kLexicalModelName << ", ";
  }
  out << options.server.dim << " dimensions)" << std::endl;
  std::latch stopped(1);
  const std::stop_callback on_stop(std::move(stop), [&stopped] { stopped.count_down(); });
  stopped.wait();
  server->Stop();
  return absl::OkStatus();
}

}  // namespace reembed
