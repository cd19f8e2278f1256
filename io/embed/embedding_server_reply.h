// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_EMBEDDING_SERVER_REPLY_H_
#define REEMBED_IO_EMBED_EMBEDDING_SERVER_REPLY_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/embed/embedding_server_request.h"

namespace reembed {

// Writes the reply of `POST /v1/embeddings` in its two parts, so that the first, which has the vectors, can be shared
// by many replies: a reply is vectors() followed by EmbeddingReplyTail().
class EmbeddingReplyWriter {
 public:
  EmbeddingReplyWriter(EmbeddingEncoding encoding, int vectors, int dim);

  // The next vector [dim]. float: the shortest digits that read back as the same float32. base64: little-endian
  // float32.
  void Add(absl::Span<const float> vector);

  // Ends the list; the writer is of no further use.
  std::string TakeVectors() &&;

 private:
  void AddDigits(absl::Span<const float> vector);
  void AddBase64(absl::Span<const float> vector);

  const EmbeddingEncoding encoding_;
  int count_ = 0;
  std::string out_;
  std::string base64_;
};

std::string EmbeddingReplyTail(absl::string_view model, int64_t tokens);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_EMBEDDING_SERVER_REPLY_H_
