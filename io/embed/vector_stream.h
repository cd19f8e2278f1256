// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_VECTOR_STREAM_H_
#define REEMBED_IO_EMBED_VECTOR_STREAM_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/number/normalize.h"

namespace reembed {

// Decodes the base64 vectors of a reply while it arrives, so that nine tenths of it are never copied, and looked at
// while they are in the processor's cache. What stays as text is short: in it, "" stands for a decoded vector.
//
// A string of the length that a vector has is one if it decodes. A longer string, or one with a backslash, ends the
// decoding: from there on all stays as text. So the text plus the vectors are always the whole reply, and DecodeReply()
// judges it. Used by one thread at a time.
class VectorStream {
 public:
  // Vector i of the reply goes to row i of `vectors`, [vectors.size() / dim, dim], whatever its index turns out to be;
  // borrowed until the last Add().
  VectorStream(int dim, absl::Span<float> vectors);

  // The next bytes of the reply; what stays as text is appended to `text`, always the same one.
  void Add(absl::string_view bytes, std::string* text);

  // The reply is over: appends what was held back. Returns the vectors in the order of their places in `text`.
  std::vector<DecodedVector> Finish(std::string* text);

 private:
  size_t Take(absl::string_view bytes, std::string* text);
  bool TakeVector(absl::string_view string, std::string* text);

  const int dim_;
  const size_t length_;  // of the base64 text of a vector
  const absl::Span<float> vectors_;
  std::vector<DecodedVector> decoded_;
  std::string held_back_;  // from a quote on, which may begin a vector: the rest has not arrived
  bool off_;
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_VECTOR_STREAM_H_
