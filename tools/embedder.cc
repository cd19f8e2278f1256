#include "tools/embedder.h"

#include <latch>
#include <utility>

namespace reembed {

absl::StatusOr<RunningEmbedder> StartEmbedder(ApiOptions options) {
  RunningEmbedder running;
  if (options.api_base.empty()) {
    absl::StatusOr<std::unique_ptr<EmbeddingServer>> server = EmbeddingServer::Start({.dim = options.model.dim});
    if (!server.ok()) return server.status();
    running.server = *std::move(server);
    options.api_base = running.server->base_url();
  }
  absl::StatusOr<std::unique_ptr<EmbeddingClient>> client = MakeApiClient(std::move(options));
  if (!client.ok()) return client.status();
  running.client = *std::move(client);
  return running;
}

absl::StatusOr<std::vector<float>> EmbedOne(EmbeddingClient* client, absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("the text is empty");
  const int dim = client->model().dim;
  Batch batch({.max_texts = 1, .max_rows = 1, .max_text_bytes = text.size()}, dim);
  batch.AddRowWithText(0, int64_t{0}, 0, text, 1);
  std::latch answered(1);
  client->Send(&batch, Done([&](absl::Status status) {
    if (!status.ok()) batch.Fail(std::move(status));
    answered.count_down();
  }));
  answered.wait();
  if (!batch.status().ok()) return batch.status();
  if (absl::Status decoded = client->Decode(&batch); !decoded.ok()) return decoded;
  if (!batch.texts()[0].reject.ok()) return batch.texts()[0].reject;
  return std::vector<float>(batch.vectors().begin(), batch.vectors().end());
}

}  // namespace reembed
