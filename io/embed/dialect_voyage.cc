// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

WireForm VoyageWire(const Ask& ask) {
  WireForm wire{.head = BodyHead(ask.model), .tail = "]"};
  if (ask.use != InputUse::kNone) {
    AppendField("input_type", ask.use == InputUse::kQuery ? "query" : "document", &wire.tail);
  }
  AppendSwitch("truncation", ask.truncate, &wire.tail);
  if (ask.format == ReplyFormat::kBase64) AppendField("encoding_format", "base64", &wire.tail);
  AppendField("output_dimension", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

// All with a 400.
constexpr ErrorRule kErrors[] = {
    {.message = "is not supported", .meaning = ErrorMeaning::kStop},  // the model, or a field for it
    {.message = "max allowed tokens per submitted batch", .meaning = ErrorMeaning::kTooManyTokens},
};

}  // namespace

// POST /v1/embeddings: 1,000 inputs and 120,000 to 1,000,000 tokens a request, by model (data/models.toml); cuts by
// default; `usage` has only total_tokens (Voyage API reference). MongoDB Atlas has it too: --api-base
// https://ai.mongodb.com/v1, with a key of its own.
Dialect VoyageDialect() {
  return {.name = "voyage",
          .title = "Voyage AI",
          .api_base = "https://api.voyageai.com/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = VoyageWire,
          .key_variables = {"VOYAGE_API_KEY"},
          .limits = {.inputs = 1000, .request_tokens = 120000},
          .long_input = LongInput::kSwitched,
          .error_rules = kErrors,
          .knows_use = true};
}

}  // namespace reembed
