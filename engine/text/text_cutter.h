// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TEXT_CUTTER_H_
#define REEMBED_ENGINE_TEXT_TEXT_CUTTER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/batch.h"
#include "engine/mutex.h"
#include "engine/text/long_text.h"

namespace reembed {

// How texts above the model's limit are cut where tokens cannot be counted exactly.
struct CutOptions {
  LongText policy = LongText::kTruncate;  // not kReject
  int64_t max_tokens = 0;                 // of one text, as far as it is known beforehand; 0: it is not
  size_t prefix_bytes = 0;                // that the client puts before each text: they count against the limit
};

// Where to cut texts that are too long for the model, by what the provider says when it refuses one: its figures if it
// names them ("maximum context length is 8192 tokens, however you requested 9013"), else what is known of the limit,
// else halves. Learns on the way. `tokens` are as we count them, an estimate mostly. Thread-safe.
class TextCutter {
 public:
  explicit TextCutter(const CutOptions& options);

  enum class Length {
    kFits,      // as far as anybody knows
    kDoubtful,  // seems too long
    kTooLong,   // has more words than the limit has tokens, and no tokenizer makes one token of two words
  };
  Length Judge(absl::string_view text, int64_t tokens) const;

  // Of a text that is kTooLong, or that was refused: `said` is the refusal, and `cuts` how often it has been cut
  // before. kTruncate: its beginning; kSplit: parts of about the same length without those of white space alone. All
  // are shorter than the text, and views into it. Empty: it is too short to be cut.
  std::vector<TextPart> Cut(const TextPart& text, const Overlength& said, int cuts);

  // The provider has taken a text of so many tokens.
  void Taken(int64_t tokens);

 private:
  double Share(int64_t tokens, const Overlength& said, int cuts);

  const CutOptions options_;
  mutable Mutex mutex_;
  int64_t limit_ ABSL_GUARDED_BY(mutex_);    // tokens as the provider counts them; 0: not known
  int64_t fitting_ ABSL_GUARDED_BY(mutex_);  // tokens as we count them, of a text that should fit; 0: not known
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TEXT_CUTTER_H_
