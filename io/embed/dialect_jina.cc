// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

// `late_chunking` stays false: with it the vector of a text depends on its neighbours in the request.
WireForm JinaWire(const Ask& ask) {
  WireForm wire{.head = BodyHead(ask.model), .tail = "]"};
  if (ask.use != InputUse::kNone) {
    AppendField("task", ask.use == InputUse::kQuery ? "retrieval.query" : "retrieval.passage", &wire.tail);
  }
  AppendField("embedding_type", ask.format == ReplyFormat::kBase64 ? "base64" : "float", &wire.tail);
  AppendSwitch("normalized", true, &wire.tail);
  AppendSwitch("truncate", ask.truncate, &wire.tail);
  AppendSwitch("late_chunking", false, &wire.tail);
  AppendField("dimensions", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

}  // namespace

// POST /v1/embeddings: 512 inputs; `embedding_type` in place of `encoding_format`; 5 requests at a time without payment
// (api.jina.ai/openapi.json).
Dialect JinaDialect() {
  return {.name = "jina",
          .title = "Jina AI",
          .api_base = "https://api.jina.ai/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = JinaWire,
          .key_variables = {"JINA_API_KEY"},
          .limits = {.inputs = 512, .default_concurrency = 5},
          .long_input = LongInput::kSwitched,
          .knows_use = true};
}

}  // namespace reembed
