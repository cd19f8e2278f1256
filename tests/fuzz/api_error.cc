// SPDX-License-Identifier: Apache-2.0
// Bodies of refusals: what they mean, which limit they name, how long they want us to wait.
#include "io/embed/api_error.h"

#include "engine/pace/reply_class.h"
#include "engine/pace/wait_hints.h"
#include "io/embed/body_wait.h"
#include "io/embed/dialect.h"
#include "io/embed/dialect_table.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  constexpr int kStatuses[] = {200, 400, 401, 403, 404, 413, 422, 424, 429, 500, 502, 503, 529};
  Input input(data, size);
  const int status = kStatuses[input.Choose(std::size(kStatuses))];
  const Dialect& dialect = Dialects()[input.Choose(Dialects().size())];
  const ErrorTraits traits{.rules = dialect.error_rules};
  const ApiError error = ParseApiError(input.rest());
  Saw(error.code);
  Saw(error.message.substr(0, 40));
  const std::string wait = WaitInBody(input.rest());
  for (const int texts : {1, 2}) {
    const ReplyClass meaning = ClassifyReply(status, error, texts, traits);
    Require(texts == 2 || meaning != ReplyClass::kSplit, "one text is not split");
    if (meaning != ReplyClass::kSplit && meaning != ReplyClass::kRejectText) continue;
    const Excess excess = ExcessOf(status, error, traits);
    Require(excess.limit >= 0 && excess.requested >= 0, "a limit is not below zero");
  }
  (void)IsKnownError(status, error, traits);
  (void)IsOutOfQuota(status, error);
  (void)IsBadKey(status, error);
  (void)StopStatus(status, error, "http://here", error.message);
  const WaitHints hints{.in_body = wait, .message = error.message, .over_quota = status == 429};
  const std::optional<absl::Duration> named = NamedWait(hints, absl::FromUnixSeconds(1'800'000'000));
  Require(!named.has_value() || *named > absl::ZeroDuration(), "a wait is above zero");
  return 0;
}
