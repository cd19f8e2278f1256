#ifndef REEMBED_IO_EMBED_OPENAI_REPLY_H_
#define REEMBED_IO_EMBED_OPENAI_REPLY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/normalize.h"

namespace reembed {

// Reads the reply to a request of faults.size() texts into `vectors`, row-major [faults.size(), dim], each placed by
// its `index`, and sets faults[i] to what is wrong with vector i itself. Takes base64 strings and number arrays, told
// apart by their JSON type; fields in any order. `body` is only lengthened and shortened again, for the parser's sake:
// with kReplySlackBytes of spare capacity it is not copied. Thread-safe. Returns the model tokens that `usage` charges;
// -1 when it says nothing. Errors: kDataLoss (anything that makes a vector's place or length doubtful: `vectors` and
// `faults` are in any state), kFailedPrecondition (a good reply with vectors of another width). Source: OpenAI API
// reference, POST /v1/embeddings.
absl::StatusOr<int64_t> DecodeOpenAiReply(std::string* body, int dim, absl::Span<float> vectors,
                                          absl::Span<VectorFault> faults);

// The width of the one vector in a reply. Errors: kDataLoss.
absl::StatusOr<int> OpenAiReplyWidth(std::string* body);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_OPENAI_REPLY_H_
