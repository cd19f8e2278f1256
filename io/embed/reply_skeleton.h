// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_REPLY_SKELETON_H_
#define REEMBED_IO_EMBED_REPLY_SKELETON_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace reembed {

// A reply with its long strings and long arrays of numbers left out: "" and [] stand for them. A JSON parser looks at
// every byte; of a reply that is nearly all base64 or digits it then sees one part in a hundred, and who decodes a
// vector looks at its bytes for the first time.
class ReplySkeleton {
 public:
  struct LeftOut {
    size_t at = 0;           // where its "" or [] begins in json()
    absl::string_view text;  // what lies between the quotes, or the array with its brackets; lives as long as the body
    bool is_array = false;
    bool used = false;  // the reader has read it, so it is known to be what it should be
  };

  // Replaces what was built before. `base64_bytes`: how long the base64 text of a vector is expected to be, which saves
  // the search for its end; 0: not known. The body may be anything at all.
  void Build(absl::string_view body, size_t base64_bytes);

  // The same until the next Build().
  std::string* json() { return &json_; }

  // What was left out at `at`, which points into json(); null: nothing. Ask in ascending order.
  LeftOut* Find(const char* at);

  // Whether what nobody used is what its place-holder says, so that the skeleton is valid JSON only if the body is.
  bool UnusedAreSound() const;

 private:
  const char* AddString(const char* quote, const char* end, size_t base64_bytes);
  const char* AddArray(const char* bracket, const char* end);

  std::string json_;
  std::vector<LeftOut> left_out_;
  size_t next_ = 0;  // to be found
};

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_REPLY_SKELETON_H_
