// SPDX-License-Identifier: Apache-2.0
// The replies of every dialect, whole and as a stream that is cut anywhere.
#include <cmath>
#include <string>
#include <vector>

#include "engine/number/normalize.h"
#include "io/embed/dialect.h"
#include "io/embed/dialect_table.h"
#include "io/embed/reply_reader.h"
#include "io/embed/vector_stream.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

constexpr int kDims[] = {1, 2, 3, 4, 12, 13, 16, 24};  // from 13 on vectors are decoded while they arrive

// Of all dialects, made once: the rest of a wire form is of no use here.
const std::vector<ReplyShape>& Shapes() {
  static const auto* const shapes = [] {
    auto* const made = new std::vector<ReplyShape>;
    for (const Dialect& dialect : Dialects()) made->push_back(dialect.wire({.model = "m"}).reply);
    return made;
  }();
  return *shapes;
}

struct Decoded {
  Decoded(int texts, int dim) : vectors(static_cast<size_t>(texts) * dim), faults(texts) {}
  absl::StatusOr<int64_t> tokens = 0;
  std::vector<float> vectors;
  std::vector<VectorFault> faults;
};

Decoded DecodeWhole(const ReplyShape& shape, absl::string_view body, int texts, int dim) {
  Decoded decoded(texts, dim);
  std::string text(body);
  decoded.tokens = DecodeReply(shape, &text, dim, absl::MakeSpan(decoded.vectors), absl::MakeSpan(decoded.faults));
  Require(text == body, "the body is as it was");
  return decoded;
}

struct Streamed {
  Streamed(int texts, int dim) : vectors(static_cast<size_t>(texts) * dim) {}
  std::vector<float> vectors;
  std::string text;
  std::vector<DecodedVector> decoded;
};

Streamed Stream(absl::string_view body, int texts, int dim, bool cut) {
  Streamed streamed(texts, dim);
  VectorStream stream(dim, absl::MakeSpan(streamed.vectors));
  Pieces pieces(body);
  if (!cut) stream.Add(body, &streamed.text);
  for (absl::string_view piece; cut && !(piece = pieces.Next()).empty();) stream.Add(piece, &streamed.text);
  streamed.decoded = stream.Finish(&streamed.text);
  return streamed;
}

void CheckVectors(const Decoded& decoded, int dim) {
  for (size_t i = 0; decoded.tokens.ok() && i < decoded.faults.size(); ++i) {
    if (decoded.faults[i] != VectorFault::kNone) continue;
    const absl::Span<const float> vector = absl::MakeSpan(decoded.vectors).subspan(i * dim, dim);
    Require(CheckVector(vector) == VectorFault::kNone, "a vector without a fault has none");
    for (const float number : vector) Require(std::isfinite(number), "a vector without a fault is finite");
  }
}

void CheckSame(const Decoded& whole, const Decoded& other, int dim) {
  Require(whole.tokens.ok() == other.tokens.ok(), "a stream is judged as the whole reply is");
  if (!whole.tokens.ok()) return;
  Require(*whole.tokens == *other.tokens, "a stream costs what the whole reply costs");
  Require(whole.faults == other.faults, "a stream has the faults of the whole reply");
  for (size_t i = 0; i < whole.faults.size(); ++i) {
    if (whole.faults[i] != VectorFault::kNone) continue;
    Require(SameBits(absl::MakeSpan(whole.vectors).subspan(i * dim, dim),
                     absl::MakeSpan(other.vectors).subspan(i * dim, dim)),
            "a stream has the vectors of the whole reply");
  }
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  Input input(data, size);
  const ReplyShape& shape = Shapes()[input.Choose(Shapes().size())];
  const int texts = 1 + static_cast<int>(input.Choose(8));
  const int dim = kDims[input.Choose(std::size(kDims))];
  const absl::string_view body = input.rest();

  const Decoded whole = DecodeWhole(shape, body, texts, dim);
  Saw(whole.tokens.status());
  CheckVectors(whole, dim);
  std::string text(body);
  const absl::StatusOr<int> width = ReplyWidth(shape, &text);
  Require(!width.ok() || *width > 0, "a width is above zero");

  const Streamed at_once = Stream(body, texts, dim, false);
  Streamed in_pieces = Stream(body, texts, dim, true);
  Require(at_once.text == in_pieces.text && at_once.decoded.size() == in_pieces.decoded.size(),
          "where a stream is cut makes no difference");
  for (size_t i = 0; i < at_once.decoded.size(); ++i) {
    Require(at_once.decoded[i].at == in_pieces.decoded[i].at && at_once.decoded[i].fault == in_pieces.decoded[i].fault,
            "where a stream is cut makes no difference to its places");
  }
  Decoded streamed(texts, dim);
  streamed.vectors = std::move(in_pieces.vectors);
  streamed.tokens = DecodeReply(shape, &in_pieces.text, dim, absl::MakeSpan(streamed.vectors),
                                absl::MakeSpan(streamed.faults), in_pieces.decoded);
  CheckVectors(streamed, dim);
  CheckSame(whole, streamed, dim);
  return 0;
}
