// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

std::string TeiUrl(const std::string& api_base, const std::string&) { return absl::StrCat(api_base, "/embed"); }

// The server has one model, so the request names none.
WireForm TeiWire(const Ask& ask) {
  WireForm wire{.head = "{\"inputs\":[",
                .tail = "]",
                .reply = {.list = "", .vector = "", .index = nullptr, .tokens = {nullptr, nullptr}}};
  AppendSwitch("normalize", true, &wire.tail);
  AppendSwitch("truncate", ask.truncate, &wire.tail);
  AppendField("dimensions", ask.dimensions, &wire.tail);
  wire.tail.push_back('}');
  return wire;
}

}  // namespace

// The native POST /embed, since its OpenAI route cuts long texts by default. A bare array of vectors comes back, in the
// order of the inputs. Defaults of the server: 32 inputs and 2 MB a request, and at most 512 inputs, not requests, at a
// time (text-embeddings-inference 1.9, router).
Dialect TeiDialect() {
  return {.name = "tei",
          .title = "Hugging Face text-embeddings-inference",
          .api_base = "http://127.0.0.1:3000",
          .url = TeiUrl,
          .routes = {"/embed", "/embed_all", "/v1/embeddings", "/embeddings", "/v1"},
          .wire = TeiWire,
          .key_variables = {"TEI_API_KEY"},
          .self_hosted = true,
          .limits = {.inputs = 32,
                     .body_bytes = 2000000,
                     .default_inputs = 32,
                     .default_concurrency = 16,
                     .default_timeout = absl::Minutes(5)},
          .long_input = LongInput::kSwitched,
          .base64 = false};
}

}  // namespace reembed
