// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_DIALECT_TABLE_H_
#define REEMBED_IO_EMBED_DIALECT_TABLE_H_

#include <array>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "io/embed/dialect.h"

namespace reembed {

// What most others begin with. Each API is a function NameDialect() in a file dialect_NAME.cc of its own, and a word in
// the list of dialect.cc, which declares the function.
Dialect OpenAiDialect();

// What most of them share: the address is the base and `/embeddings`, the body {"model":M,"input":[texts],...}, with
// `encoding_format` and `dimensions`, and the reply is OpenAI's.
std::string EmbeddingsUrl(const std::string& api_base, const std::string& model);
inline constexpr std::array<const char*, 8> kOpenAiRoutes = {"/embeddings", "/chat/completions", "/completions",
                                                             "/responses"};
WireForm OpenAiWire(const Ask& ask);

// "name":"value" as JSON with a comma before it, for the tail of a body.
void AppendField(absl::string_view name, absl::string_view value, std::string* out);

// `,"name":number` if there is one.
void AppendField(absl::string_view name, const std::optional<int>& value, std::string* out);

// `,"name":true` or false.
void AppendSwitch(absl::string_view name, bool value, std::string* out);

// {"model":M,"input":[ - the head of most bodies, with the name of the list of texts.
std::string BodyHead(const std::string& model, absl::string_view list = "input");

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_DIALECT_TABLE_H_
