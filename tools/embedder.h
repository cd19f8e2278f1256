#ifndef REEMBED_TOOLS_EMBEDDER_H_
#define REEMBED_TOOLS_EMBEDDER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/embedding_client.h"
#include "io/embed/api_client.h"
#include "io/embed/embedding_server.h"

namespace reembed {

// A client, and the server in this process that it talks to when the embedder is the built-in one.
struct RunningEmbedder {
  std::unique_ptr<EmbeddingServer> server;  // before the client: it must outlive it
  std::unique_ptr<EmbeddingClient> client;
};

// `options.api_base` empty: starts the built-in embedder on a free port of the loopback interface and talks to it over
// HTTP like to any other.
absl::StatusOr<RunningEmbedder> StartEmbedder(ApiOptions options);

// One text, one vector [dim], by the way that a run takes. Blocks.
absl::StatusOr<std::vector<float>> EmbedOne(EmbeddingClient* client, absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_TOOLS_EMBEDDER_H_
