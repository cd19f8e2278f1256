// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TOKEN_COUNTING_H_
#define REEMBED_TOOLS_TOKEN_COUNTING_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/token_estimator.h"
#include "engine/text/token_meter.h"
#include "tools/resolve.h"

namespace reembed {

// The part of Resolve() that says what becomes of texts above the model's limit: job->pipeline.text_limit, without the
// meter, which a command opens and adds (TokenCounting::limit()). Errors: kInvalidArgument (says what is missing, or
// does not go together). With --tokenizer texts are cut by our count before they are sent (RowReader), else by what the
// API says when it refuses one (LongTextClient).
absl::Status ResolveTextLimit(const CommandOptions& options, ResolvedJob* job);

// What the limit does to vectors, for JobIdentity::recipe; empty if nothing: rejected texts have none.
std::string TextLimitRecipe(const ResolvedJob& job);

// How a job counts tokens: by --tokenizer exactly, else by an estimate, with what is certain all the same. Thread-safe.
class TokenCounting {
 public:
  // Errors: of LoadVocabulary, with the flag.
  static absl::StatusOr<std::unique_ptr<TokenCounting>> Make(const ResolvedJob& job);

  // All with the prefix that the model wants before each text.
  int64_t Count(absl::string_view text) const;
  // Of a text whatever it is: Count() is no lower, and no higher.
  int64_t AtLeast(absl::string_view text) const;
  int64_t AtMost(absl::string_view text) const;
  // Whether AtLeast() and AtMost() are known at all.
  bool bounded() const { return meter_ != nullptr; }

  // The job's limit, with the meter in place.
  TextLimit limit() const { return limit_; }

  // Nullptr if counts are exact.
  TokenEstimator* estimator() { return tokenizer_ == nullptr ? &estimator_ : nullptr; }
  const TokenEstimator* estimator() const { return tokenizer_ == nullptr ? &estimator_ : nullptr; }

 private:
  TokenCounting() = default;

  int64_t prefix_bytes_ = 0;   // of what is put before each text; it counts like the text
  int64_t prefix_tokens_ = 0;  // at least
  std::unique_ptr<BpeTokenizer> tokenizer_;
  std::unique_ptr<TokenMeter> bounds_;
  const TokenMeter* meter_ = nullptr;  // one of the two, or none
  TokenEstimator estimator_;
  TextLimit limit_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_TOKEN_COUNTING_H_
