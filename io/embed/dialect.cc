// SPDX-License-Identifier: Apache-2.0
#include "io/embed/dialect.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "io/embed/dialect_table.h"

// A word for each API, in the order in which users see them.
#define REEMBED_FOR_EACH_DIALECT(api)                                                                         \
  api(OpenAi) api(Azure) api(Ollama) api(LlamaCpp) api(Tei) api(Vllm) api(Infinity) api(LmStudio) api(Cohere) \
      api(Voyage) api(Gemini) api(Mistral) api(Jina) api(Together) api(OpenRouter)

namespace reembed {

#define REEMBED_DECLARE_DIALECT(api) Dialect api##Dialect();
REEMBED_FOR_EACH_DIALECT(REEMBED_DECLARE_DIALECT)
#undef REEMBED_DECLARE_DIALECT

namespace {

// APIs that are OpenAI's in everything but their address. What they do with long texts is not documented, or
// depends on the model behind them, so nothing is hoped for.
Dialect LikeOpenAi(const char* name, const char* title, const char* api_base, const char* key_variable) {
  Dialect dialect = OpenAiDialect();
  dialect.name = name;
  dialect.title = title;
  dialect.api_base = api_base;
  dialect.key_variables = {key_variable};
  dialect.base_variables = {};
  dialect.limits.request_tokens = 0;
  dialect.long_input = LongInput::kCutSilently;
  return dialect;
}

Dialect OnThisMachine(Dialect dialect) {
  dialect.self_hosted = true;
  dialect.limits.default_inputs = 64;
  dialect.limits.default_concurrency = 8;
  dialect.limits.default_timeout = absl::Minutes(5);
  return dialect;
}

}  // namespace

Dialect InfinityDialect() {
  return OnThisMachine(LikeOpenAi("infinity", "infinity server", "http://127.0.0.1:7997", "INFINITY_API_KEY"));
}

Dialect LmStudioDialect() {
  return OnThisMachine(LikeOpenAi("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY"));
}

Dialect TogetherDialect() {
  return LikeOpenAi("together", "Together AI", "https://api.together.xyz/v1", "TOGETHER_API_KEY");
}

Dialect OpenRouterDialect() {
  return LikeOpenAi("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY");
}

absl::Span<const Dialect> Dialects() {
#define REEMBED_MAKE_DIALECT(api) api##Dialect(),
  static const auto* const dialects = new std::vector<Dialect>{REEMBED_FOR_EACH_DIALECT(REEMBED_MAKE_DIALECT)};
#undef REEMBED_MAKE_DIALECT
  return *dialects;
}

const Dialect* FindDialect(absl::string_view name) {
  const absl::Span<const Dialect> all = Dialects();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Dialect& dialect) { return dialect.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::string EmbeddingsUrl(const std::string& api_base, const std::string&) {
  return absl::StrCat(api_base, "/embeddings");
}

void AppendField(absl::string_view name, absl::string_view value, std::string* out) {
  absl::StrAppend(out, ",\"", name, "\":");
  AppendJsonString(value, out);
}

void AppendField(absl::string_view name, const std::optional<int>& value, std::string* out) {
  if (value.has_value()) absl::StrAppend(out, ",\"", name, "\":", *value);
}

void AppendSwitch(absl::string_view name, bool value, std::string* out) {
  absl::StrAppend(out, ",\"", name, "\":", value ? "true" : "false");
}

std::string BodyHead(const std::string& model, absl::string_view list) {
  std::string head = "{\"model\":";
  AppendJsonString(model, &head);
  absl::StrAppend(&head, ",\"", list, "\":[");
  return head;
}

WireForm OpenAiWire(const Ask& ask) {
  WireForm wire{.head = BodyHead(ask.model), .tail = "]"};
  AppendField("encoding_format", ask.format == ReplyFormat::kBase64 ? "base64" : "float", &wire.tail);
  AppendField("dimensions", ask.dimensions, &wire.tail);
  // In NVIDIA NIM's words, whose models for search refuse requests without it (NIM text embedding API reference, 2026).
  if (ask.tell_use && ask.use != InputUse::kNone) {
    AppendField("input_type", ask.use == InputUse::kQuery ? "query" : "passage", &wire.tail);
  }
  wire.tail.push_back('}');
  return wire;
}

}  // namespace reembed
