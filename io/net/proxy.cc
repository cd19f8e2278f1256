#include "io/net/proxy.h"

#include <arpa/inet.h>

#include <cstdint>
#include <cstdlib>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "io/net/url.h"

namespace reembed {
namespace {

using absl::string_view;

std::optional<uint32_t> Ipv4(string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

bool InNetwork(uint32_t address, string_view network) {
  const std::pair<string_view, string_view> parts = absl::StrSplit(network, absl::MaxSplits('/', 1));
  const std::optional<uint32_t> base = Ipv4(parts.first);
  int bits = 32;
  if (!base.has_value() || (!parts.second.empty() && !absl::SimpleAtoi(parts.second, &bits))) return false;
  if (bits < 0 || bits > 32) return false;
  return bits == 0 || (address ^ *base) >> (32 - bits) == 0;
}

bool NeedsNone(string_view host, string_view list) {
  if (absl::StripAsciiWhitespace(list) == "*") return true;
  const std::optional<uint32_t> address = Ipv4(host);
  for (string_view entry : absl::StrSplit(list, absl::ByAnyChar(", \t"), absl::SkipEmpty())) {
    if (address.has_value() ? InNetwork(*address, entry) : false) return true;
    absl::ConsumePrefix(&entry, "[");
    entry = absl::StripSuffix(absl::StripSuffix(absl::StripPrefix(entry, "."), "."), "]");
    if (entry.empty()) continue;
    if (absl::EqualsIgnoreCase(host, entry)) return true;
    if (!address.has_value() && absl::EndsWithIgnoreCase(host, absl::StrCat(".", entry))) return true;
  }
  return false;
}

}  // namespace

std::string ProxyFor(string_view url, const std::string& asked, VariableReader variable) {
  if (!asked.empty()) return asked;
  if (IsLoopbackUrl(url)) return "";
  const auto first = [&](std::initializer_list<const char*> names) {
    for (const char* const name : names) {
      if (std::string value = variable(name); !value.empty()) return value;
    }
    return std::string();
  };
  // HTTP_PROXY is what a CGI program gets from a header, so libcurl does not read it.
  std::string proxy =
      absl::StartsWithIgnoreCase(url, "https:") ? first({"https_proxy", "HTTPS_PROXY"}) : first({"http_proxy"});
  if (proxy.empty()) proxy = first({"all_proxy", "ALL_PROXY"});
  if (proxy.empty() || NeedsNone(absl::StripSuffix(UrlHost(url), "."), first({"no_proxy", "NO_PROXY"}))) return "";
  return proxy;
}

std::string ProxyFor(string_view url, const std::string& asked) {
  return ProxyFor(url, asked, [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  });
}

std::string ProxyForMessages(string_view proxy) {
  if (proxy.empty()) return "";
  const std::string url = absl::StrContains(proxy, "://") ? std::string(proxy) : absl::StrCat("http://", proxy);
  return absl::StrCat(" through the proxy ", UrlForMessages(url));
}

}  // namespace reembed
