// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/text_shop.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "tests/crash/expected_table.h"
#include "tests/fakes/openai_replies.h"

namespace reembed {

TextShop::TextShop(int dim)
    : dim_(dim),
      server_([this](const ServerRequest& request) { return Answer(request); }, ScriptedServer::Recording::kOff) {}

ServerReply TextShop::Answer(const ServerRequest& request) {
  const std::vector<std::string> texts = TextsOf(request.body);
  const auto is_refused = [](const std::string& text) { return absl::EndsWith(text, " refused"); };
  if (refusing_ && std::any_of(texts.begin(), texts.end(), is_refused)) {
    return OpenAiError(400, "", "invalid_request_error", "Invalid 'input': this is not to be said.");
  }
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& text : texts) {
      if (absl::StartsWith(text, kRowTextMark)) ++sold_[text];
    }
  }
  return OpenAiAnswer(request, {.dim = dim_});
}

int64_t TextShop::sold() const {
  const std::lock_guard lock(mutex_);
  int64_t count = 0;
  for (const auto& [text, times] : sold_) count += times;
  return count;
}

int64_t TextShop::twice() const {
  const std::lock_guard lock(mutex_);
  int64_t count = 0;
  for (const auto& [text, times] : sold_) count += times - 1;
  return count;
}

}  // namespace reembed
