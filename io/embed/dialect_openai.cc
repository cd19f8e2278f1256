// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect_table.h"

namespace reembed {

// POST {base}/embeddings. Limits: 2,048 inputs, 8,192 tokens each, 300,000 tokens in all (API reference and rate-limit
// guide, 2025). A text above the limit is refused.
Dialect OpenAiDialect() {
  return {.name = "openai",
          .title = "OpenAI, and every server that speaks its API",
          .api_base = "https://api.openai.com/v1",
          .url = EmbeddingsUrl,
          .routes = kOpenAiRoutes,
          .wire = OpenAiWire,
          .key_variables = {"OPENAI_API_KEY"},
          .base_variables = {"OPENAI_BASE_URL"},
          .limits = {.inputs = 2048, .request_tokens = 300000}};
}

}  // namespace reembed
