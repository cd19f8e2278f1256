// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

std::string OllamaUrl(const std::string& api_base, const std::string&) { return absl::StrCat(api_base, "/api/embed"); }

WireForm OllamaWire(const Ask& ask) {
  WireForm wire{.head = BodyHead(ask.model),
                .tail = "]",
                .reply = {.list = "embeddings", .vector = "", .index = nullptr, .tokens = {"prompt_eval_count"}}};
  AppendSwitch("truncate", ask.truncate, &wire.tail);
  AppendField("dimensions", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

}  // namespace

// The native POST /api/embed, since /v1/embeddings cuts long texts and cannot be told not to. It answers numbers, in
// the order of the inputs, at unit length. It cuts any model's vectors to `dimensions`, also where that makes no sense.
// By default it works on one request at a time; the first one waits for the model (Ollama docs/api.md, 0.33).
Dialect OllamaDialect() {
  return {.name = "ollama",
          .title = "Ollama",
          .api_base = "http://127.0.0.1:11434",
          .url = OllamaUrl,
          .routes = {"/api/embed", "/api/embeddings", "/api/generate", "/api/chat", "/v1/embeddings",
                     "/v1/chat/completions", "/api", "/v1"},
          .wire = OllamaWire,
          .key_variables = {"OLLAMA_API_KEY"},
          .base_variables = {"OLLAMA_BASE_URL", "OLLAMA_HOST"},
          .self_hosted = true,
          .limits = {.default_inputs = 64, .default_concurrency = 4, .default_timeout = absl::Minutes(5)},
          .long_input = LongInput::kSwitched,
          .base64 = false};
}

}  // namespace reembed
