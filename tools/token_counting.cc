// SPDX-License-Identifier: Apache-2.0
#include "tools/token_counting.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/piece_meter.h"
#include "io/embed/vocabulary_file.h"

namespace reembed {

absl::Status ResolveTextLimit(const CommandOptions& options, ResolvedJob* job) {
  TextLimit& limit = job->pipeline.text_limit;
  const std::string& model = job->client.model.name;
  const bool known = job->known_model.has_value();
  if (!options.tokenizer.empty() && known && job->known_model->tokenizer != kCl100k) {
    return absl::InvalidArgumentError(absl::StrCat("--tokenizer: ", model, " does not count tokens by ", kCl100k,
                                                   ", the one vocabulary that is understood; leave the flag out"));
  }
  limit.max_tokens = known ? job->known_model->max_tokens : 0;
  if (options.long_text.empty() || options.long_text == "reject") {
    // --truncate leaves long texts to the API.
    if (job->client.truncate) limit.max_tokens = 0;
    return absl::OkStatus();
  }
  limit.policy = options.long_text == "split" ? LongText::kSplit : LongText::kTruncate;
  const std::string flag = absl::StrCat("--long-text ", options.long_text);
  if (job->client.truncate) {
    return absl::InvalidArgumentError(absl::StrCat(flag,
                                                   " and --truncate do not go together: one says what we do "
                                                   "with long texts, the other leaves them to the API"));
  }
  // What is cut silently is never refused: there only a known limit helps.
  const Dialect* const dialect = FindDialect(job->client.dialect);
  if (limit.max_tokens == 0 && dialect != nullptr && dialect->long_input == LongInput::kCutSilently) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", dialect->name,
                                                   " may cut long texts without a word, and the token limit of ", model,
                                                   " is not known; add the model to a models.toml of your own"));
  }
  return absl::OkStatus();
}

std::string TextLimitRecipe(const ResolvedJob& job) {
  const TextLimit& limit = job.pipeline.text_limit;
  if (limit.policy == LongText::kReject) return "";
  const char* const policy = limit.policy == LongText::kSplit ? ", split" : ", truncated";
  if (job.options.tokenizer.empty() || limit.max_tokens == 0) return absl::StrCat(policy, " where the API refuses");
  return absl::StrCat(policy, " above ", limit.max_tokens, " tokens of ", kCl100k);
}

absl::StatusOr<std::unique_ptr<TokenCounting>> TokenCounting::Make(const ResolvedJob& job) {
  std::unique_ptr<TokenCounting> made(new TokenCounting());
  if (!job.options.tokenizer.empty()) {
    absl::StatusOr<std::unique_ptr<BpeTokenizer>> loaded = LoadVocabulary(job.options.tokenizer);
    if (!loaded.ok()) {
      return absl::Status(loaded.status().code(), absl::StrCat("--tokenizer ", loaded.status().message()));
    }
    made->tokenizer_ = *std::move(loaded);
    made->meter_ = made->tokenizer_.get();
  } else if (job.known_model.has_value() && job.known_model->tokenizer == kCl100k) {
    made->bounds_ = std::make_unique<PieceMeter>();
    made->meter_ = made->bounds_.get();
  }
  made->limit_ = job.pipeline.text_limit;
  const std::string& prefix = job.client.text_prefix;
  made->prefix_bytes_ = static_cast<int64_t>(prefix.size());
  if (made->meter_ != nullptr && !prefix.empty()) made->prefix_tokens_ = made->meter_->AtLeast(prefix);
  made->limit_.prefix_tokens = made->prefix_tokens_;
  // Bounds say that a text is too long, not where to cut it.
  const bool cuts_by_refusal = made->limit_.policy != LongText::kReject && made->tokenizer_ == nullptr;
  made->limit_.meter = cuts_by_refusal ? nullptr : made->meter_;
  return made;
}

int64_t TokenCounting::Count(absl::string_view text) const {
  if (tokenizer_ != nullptr) return prefix_tokens_ + tokenizer_->Count(text);
  // What is proven is the better estimate.
  return std::max(AtLeast(text), estimator_.Estimate(prefix_bytes_ + static_cast<int64_t>(text.size())));
}

int64_t TokenCounting::AtLeast(absl::string_view text) const {
  return meter_ == nullptr ? 0 : prefix_tokens_ + meter_->AtLeast(text);
}

int64_t TokenCounting::AtMost(absl::string_view text) const {
  return tokenizer_ != nullptr ? Count(text) : prefix_bytes_ + static_cast<int64_t>(text.size());
}

}  // namespace reembed
