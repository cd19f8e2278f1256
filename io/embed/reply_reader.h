// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_REPLY_READER_H_
#define REEMBED_IO_EMBED_REPLY_READER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/number/normalize.h"

namespace reembed {

// Where an API puts its vectors. The names are JSON field names; those called paths may have dots between names.
// The default is OpenAI's (API reference, POST /v1/embeddings), which most others copy.
struct ReplyShape {
  const char* list = "data";         // path of the array with one element per text; "": the reply itself is the array
  const char* vector = "embedding";  // path inside an element; "": the element itself is the vector
  const char* index = "index";       // name inside an element; null: the API promises the order of the texts
  const char* tokens[2] = {"usage.prompt_tokens", "usage.total_tokens"};  // paths; the first that is there counts
  bool nested = false;  // a vector of numbers is [[...]], one row (llama.cpp's own API)
};

// Reads the reply to a request of faults.size() texts into `vectors`, row-major [faults.size(), dim], each placed by
// its index if the shape has one (one item may lack it, it is the one that is left), and sets faults[i] to what is
// wrong with vector i itself. Takes base64 strings (also in the alphabet for URLs, and without padding) and number
// arrays (also [[...]] of one row), told apart by their JSON type; fields in any order. `body` is only lengthened and
// shortened again, for the parser's sake: with kReplySlackBytes of spare capacity it is not copied. `decoded`: vectors
// that are in `vectors` already, the k-th in row k, see DecodedVector. Thread-safe. Returns the model tokens that the
// reply charges; -1 when it says nothing. Errors: kDataLoss (anything that makes a vector's place or length doubtful
// for all: `vectors` and `faults` are in any state), kFailedPrecondition (a good reply with vectors of another width,
// all of them).
absl::StatusOr<int64_t> DecodeReply(const ReplyShape& shape, std::string* body, int dim, absl::Span<float> vectors,
                                    absl::Span<VectorFault> faults, absl::Span<const DecodedVector> decoded = {});

// The width of the one vector in a reply. Errors: kDataLoss.
absl::StatusOr<int> ReplyWidth(const ReplyShape& shape, std::string* body);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REPLY_READER_H_
