// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

// Base64 comes in the server's own byte order unless told otherwise.
WireForm VllmWire(const Ask& ask) {
  WireForm wire = OpenAiWire(ask);
  wire.tail.pop_back();
  if (ask.format == ReplyFormat::kBase64) AppendField("endianness", "little", &wire.tail);
  if (ask.truncate) AppendField("truncate_prompt_tokens", -1, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

}  // namespace

// POST /v1/embeddings with extras. A text above the model's length is refused with a 400, unless it is to be cut
// (vLLM, entrypoints/pooling, 2026).
Dialect VllmDialect() {
  return {.name = "vllm",
          .title = "vLLM",
          .api_base = "http://127.0.0.1:8000/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = VllmWire,
          .key_variables = {"VLLM_API_KEY"},
          .self_hosted = true,
          .limits = {.default_inputs = 64, .default_concurrency = 16, .default_timeout = absl::Minutes(5)}};
}

}  // namespace reembed
