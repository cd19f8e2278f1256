// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

std::string CohereUrl(const std::string& api_base, const std::string&) { return absl::StrCat(api_base, "/v2/embed"); }

WireForm CohereWire(const Ask& ask) {
  const bool base64 = ask.format == ReplyFormat::kBase64;
  WireForm wire{.head = BodyHead(ask.model, "texts"),
                .tail = "]",
                .reply = {.list = base64 ? "embeddings.base64" : "embeddings.float",
                          .vector = "",
                          .index = nullptr,
                          .tokens = {"meta.billed_units.input_tokens"}}};
  if (ask.use != InputUse::kNone) {
    AppendField("input_type", ask.use == InputUse::kQuery ? "search_query" : "search_document", &wire.tail);
  }
  absl::StrAppend(&wire.tail, ",\"embedding_types\":[\"", base64 ? "base64" : "float", "\"]");
  AppendField("truncate", ask.truncate ? "END" : "NONE", &wire.tail);
  AppendField("output_dimension", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

constexpr ErrorRule kErrors[] = {
    {.http_status = 498, .meaning = ErrorMeaning::kBadText},  // a text that it blocks
    // Trial keys end for the month, and no minute's wait helps.
    {.http_status = 429, .message = "calls / month", .meaning = ErrorMeaning::kStop},
};

}  // namespace

// POST /v2/embed: 96 texts; `input_type` must be said from the models of version 3 on; cuts at the end by default. The
// reply has an object of arrays by type, in the order of the texts (Cohere API reference, embed v2).
Dialect CohereDialect() {
  return {.name = "cohere",
          .title = "Cohere",
          .api_base = "https://api.cohere.com",
          .url = CohereUrl,
          .routes = {"/v2/embed", "/v1/embed", "/v2/chat", "/v1/chat", "/v2", "/v1"},
          .wire = CohereWire,
          .key_variables = {"CO_API_KEY", "COHERE_API_KEY"},
          .base_variables = {"CO_API_URL"},
          .limits = {.inputs = 96, .default_inputs = 96},
          .long_input = LongInput::kSwitched,
          .error_rules = kErrors,
          .knows_use = true};
}

}  // namespace reembed
