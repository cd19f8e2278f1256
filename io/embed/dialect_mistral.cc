// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

WireForm MistralWire(const Ask& ask) {
  WireForm wire{.head = BodyHead(ask.model), .tail = "]"};
  AppendField("encoding_format", ask.format == ReplyFormat::kBase64 ? "base64" : "float", &wire.tail);
  AppendField("output_dimension", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

constexpr ErrorRule kErrors[] = {
    {.http_status = 400, .message = "invalid model", .meaning = ErrorMeaning::kStop},
};

}  // namespace

// POST /v1/embeddings: 8,192 tokens an input, 16,384 a request ("Too many tokens in batch") (Mistral API reference).
Dialect MistralDialect() {
  return {.name = "mistral",
          .title = "Mistral AI",
          .api_base = "https://api.mistral.ai/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = MistralWire,
          .key_variables = {"MISTRAL_API_KEY"},
          .limits = {.request_tokens = 16384},
          .error_rules = kErrors};
}

}  // namespace reembed
