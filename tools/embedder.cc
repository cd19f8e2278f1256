// SPDX-License-Identifier: Apache-2.0
#include "tools/embedder.h"

#include <algorithm>
#include <cstddef>
#include <latch>
#include <utility>

#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<RunningEmbedder> StartEmbedder(ApiOptions options) {
  RunningEmbedder running;
  if (options.api_base.empty()) {
    ABSL_ASSIGN_OR_RETURN(running.server, EmbeddingServer::Start({.dim = options.model.dim}));
    options.api_base = running.server->base_url();
  }
  ABSL_ASSIGN_OR_RETURN(running.client, MakeApiClient(std::move(options)));
  return running;
}

absl::StatusOr<std::vector<float>> EmbedTexts(EmbeddingClient* client, absl::Span<const std::string> texts) {
  const int dim = client->model().dim;
  size_t bytes = 0;
  for (const std::string& text : texts) {
    if (text.empty()) return absl::InvalidArgumentError("the text is empty");
    bytes += text.size();
  }
  const int count = static_cast<int>(texts.size());
  Batch batch({.max_texts = count, .max_rows = count, .max_text_bytes = bytes}, dim);
  for (int i = 0; i < count; ++i) batch.AddRowWithText(i, int64_t{i}, i, texts[i], 1);
  constexpr int kMostSendings = 32;  // clients give up before, see EmbeddingClient::Decode
  absl::Status decoded;
  do {
    std::latch answered(1);
    client->Send(&batch, Done([&](absl::Status status) {
      if (!status.ok()) batch.Fail(std::move(status));
      answered.count_down();
    }));
    answered.wait();
    if (!batch.status().ok()) return batch.status();
    decoded = client->Decode(&batch);
    batch.NextAttempt();
  } while (absl::IsDataLoss(decoded) && batch.attempts() < kMostSendings);
  ABSL_RETURN_IF_ERROR(decoded);
  std::vector<float> vectors(batch.vectors().begin(), batch.vectors().end());
  int refused = 0;
  for (int i = 0; i < count; ++i) {
    if (batch.texts()[i].reject.ok()) continue;
    std::fill_n(vectors.begin() + static_cast<ptrdiff_t>(i) * dim, dim, 0.0f);
    ++refused;
  }
  if (count > 0 && refused == count) return batch.texts()[0].reject;
  return vectors;
}

absl::StatusOr<std::vector<float>> EmbedOne(EmbeddingClient* client, absl::string_view text) {
  return EmbedTexts(client, {std::string(text)});
}

}  // namespace reembed
