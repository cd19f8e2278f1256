// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_EMBEDDING_SERVER_REQUEST_H_
#define REEMBED_IO_EMBED_EMBEDDING_SERVER_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace reembed {

// OpenAI's limit on the length of `input`. Source: OpenAI's API reference, "Create embeddings".
inline constexpr int kMaxEmbeddingInputs = 2048;

enum class EmbeddingEncoding { kFloat, kBase64 };

// An error in OpenAI's form; `param` and `code` may be empty.
struct EmbeddingServerError {
  int status = 0;  // HTTP; 0: no error
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;
  std::string code;
};

// A `POST /v1/embeddings` that was understood.
struct EmbeddingServerRequest {
  std::string model;  // any name
  int dim = 0;        // 0: none asked for
  EmbeddingEncoding encoding = EmbeddingEncoding::kFloat;
  int inputs = 0;                        // 1 to kMaxEmbeddingInputs
  int64_t tokens = 0;                    // estimated: a quarter of the bytes of each input, at least 1
  std::vector<absl::string_view> texts;  // the inputs, none of them empty, when asked for; live until the next Parse()
};

// Reads request bodies. One per thread: it keeps its buffers.
class EmbeddingServerRequestParser {
 public:
  enum class Texts { kRead, kCount };  // kCount: only how many there are, which is faster

  EmbeddingServerRequestParser();
  ~EmbeddingServerRequestParser();

  // Precondition: kHttpBodyPadding readable bytes are behind `body`. After an error *request is in any state.
  EmbeddingServerError Parse(absl::string_view body, Texts texts, EmbeddingServerRequest* request);

 private:
  struct Json;
  std::unique_ptr<Json> json_;
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_EMBEDDING_SERVER_REQUEST_H_
