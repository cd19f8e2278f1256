#include "tools/embedder.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace reembed {

absl::StatusOr<RunningEmbedder> StartEmbedder(OpenAiOptions options) {
  RunningEmbedder running;
  if (options.api_base.empty()) {
    absl::StatusOr<std::unique_ptr<EmbeddingServer>> server = EmbeddingServer::Start({.dim = options.model.dim});
    if (!server.ok()) return server.status();
    running.server = *std::move(server);
    options.api_base = absl::StrCat("http://127.0.0.1:", running.server->port(), "/v1");
  }
  absl::StatusOr<std::unique_ptr<EmbeddingClient>> client = MakeOpenAiClient(std::move(options));
  if (!client.ok()) return client.status();
  running.client = *std::move(client);
  return running;
}

}  // namespace reembed
