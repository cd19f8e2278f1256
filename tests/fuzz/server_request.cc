// SPDX-License-Identifier: Apache-2.0
// Bodies of requests to the embedding server.
#include <string>

#include "io/embed/embedding_server_request.h"
#include "io/net/http_server_parser.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static auto* const parser = new EmbeddingServerRequestParser;
  const absl::string_view body(reinterpret_cast<const char*>(data), size);
  const std::string padded = std::string(body) + std::string(kHttpBodyPadding, '\0');
  EmbeddingServerRequest read, counted;
  using Texts = EmbeddingServerRequestParser::Texts;
  const EmbeddingServerError count_error = parser->Parse({padded.data(), size}, Texts::kCount, &counted);
  const EmbeddingServerError error = parser->Parse({padded.data(), size}, Texts::kRead, &read);
  Saw(error.message);
  Require(error.status == 0 || !error.message.empty(), "an error says what it is");
  if (error.status != 0 || count_error.status != 0) return 0;
  Require(read.inputs >= 1 && read.texts.size() == static_cast<size_t>(read.inputs), "there is a text for each input");
  Require(counted.inputs == read.inputs && counted.dim == read.dim, "as many are counted as are read");
  for (const absl::string_view text : read.texts) Require(!text.empty(), "no text is empty");
  return 0;
}
