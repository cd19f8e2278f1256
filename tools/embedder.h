// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_EMBEDDER_H_
#define REEMBED_TOOLS_EMBEDDER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
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

// The vectors of some texts, [texts.size(), dim], by one batch that takes the way of a run: one request where the API
// takes so many texts. A text that was refused has zeros. Blocks. Errors: as EmbeddingClient; kInvalidArgument (an
// empty text; all were refused, and why the first).
absl::StatusOr<std::vector<float>> EmbedTexts(EmbeddingClient* client, absl::Span<const std::string> texts);

// One text, one vector [dim].
absl::StatusOr<std::vector<float>> EmbedOne(EmbeddingClient* client, absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_TOOLS_EMBEDDER_H_
