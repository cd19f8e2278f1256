// SPDX-License-Identifier: Apache-2.0
// What headers of answers say of waits and quotas, and addresses in them.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "engine/pace/wait_hints.h"
#include "io/net/url.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::pair<std::string, std::string>> headers;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) continue;
    headers.emplace_back(absl::AsciiStrToLower(line.substr(0, colon)),
                         absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  for (const bool over_quota : {false, true}) {
    const WaitHints hints{.headers = headers, .over_quota = over_quota};
    const std::optional<absl::Duration> wait = NamedWait(hints, absl::FromUnixSeconds(1'800'000'000));
    Require(!wait.has_value() || *wait > absl::ZeroDuration(), "a wait is above zero");
    if (wait.has_value()) Saw(absl::StrCat("wait", *wait < absl::Minutes(1) ? "" : " long"));
  }
  (void)QuotaOf(headers);
  for (const auto& [name, value] : headers) {
    const absl::StatusOr<UrlAndLogin> apart = TakeLogin(value);
    Saw(apart.status());
    // Where the rest of the address repeats it, nothing can be said.
    if (apart.ok() && apart->login.size() >= 8 && apart->url.find(apart->login) == std::string::npos) {
      Require(UrlForMessages(value).find(apart->login) == std::string::npos, "a login is in no message");
    }
    (void)UrlHost(value);
    (void)IsLoopbackUrl(value);
    (void)ResolveReference("http://127.0.0.1:8080/v1/embeddings?a=b", value);
    (void)ResolveReference(value, "../other");
  }
  return 0;
}
