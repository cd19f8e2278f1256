// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

WireForm LlamaCppWire(const Ask& ask) {
  Ask without = ask;
  without.dimensions.reset();
  return OpenAiWire(without);
}

}  // namespace

// llama-server's POST /v1/embeddings, whose vectors come unnested and at unit length. A text longer than its physical
// batch (-ub, 512 tokens by default) is refused with a 500. It knows no `dimensions` (llama.cpp tools/server/README).
Dialect LlamaCppDialect() {
  return {.name = "llamacpp",
          .title = "llama.cpp's llama-server",
          .api_base = "http://127.0.0.1:8080/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = LlamaCppWire,
          .key_variables = {"LLAMA_API_KEY"},
          .self_hosted = true,
          .limits = {.default_inputs = 64, .default_concurrency = 4, .default_timeout = absl::Minutes(5)},
          .resizes = false};
}

}  // namespace reembed
