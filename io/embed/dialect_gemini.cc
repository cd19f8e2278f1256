// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/number/json_text.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

std::string GeminiUrl(const std::string& api_base, const std::string& model) {
  return absl::StrCat(api_base, "/models/", absl::StripPrefix(model, "models/"), ":batchEmbedContents");
}

// One content with one part for each text: several parts of a content become one vector, and nobody says so.
WireForm GeminiWire(const Ask& ask) {
  WireForm wire{.head = "{\"requests\":[",
                .before_text = "{\"model\":",
                .after_text = "}]}",
                .tail = "]}",
                .reply = {.list = "embeddings", .vector = "values", .index = nullptr, .tokens = {nullptr, nullptr}},
                .fields_per_text = true};
  AppendJsonString(absl::StrCat("models/", absl::StripPrefix(ask.model, "models/")), &wire.before_text);
  wire.before_text.append(",\"content\":{\"parts\":[{\"text\":");
  // Its successor wants the task in the text, and takes no notice of the field.
  if (ask.use != InputUse::kNone && !absl::StrContains(ask.model, "gemini-embedding-2")) {
    AppendField("taskType", ask.use == InputUse::kQuery ? "RETRIEVAL_QUERY" : "RETRIEVAL_DOCUMENT", &wire.after_text);
  }
  AppendField("outputDimensionality", ask.dimensions, &wire.after_text);
  wire.after_text.push_back('}');
  return wire;
}

}  // namespace

// POST {base}/models/{model}:batchEmbedContents: 100 requests in one, each with the model again; no `usage`. Long texts
// are cut without a word (2,048 tokens for gemini-embedding-001), and only its 3,072-wide vectors have unit length
// (Gemini API reference, embeddings). The quota of requests per minute counts each of the 100 (garrytan/gbrain#1922).
Dialect GeminiDialect() {
  return {.name = "gemini",
          .title = "Google Gemini",
          .api_base = "https://generativelanguage.googleapis.com/v1beta",
          .url = GeminiUrl,
          .routes = {nullptr, "/openai/embeddings", "/openai/chat/completions", "/openai"},
          .wire = GeminiWire,
          .key_header = "x-goog-api-key: ",
          .key_variables = {"GEMINI_API_KEY", "GOOGLE_API_KEY"},
          .limits = {.inputs = 100, .default_inputs = 100, .counts_texts = true},
          .long_input = LongInput::kCutSilently,
          .base64 = false,
          .knows_use = true};
}

}  // namespace reembed
