// SPDX-License-Identifier: Apache-2.0
#include "io/net/proxy.h"

#include <arpa/inet.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

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

// Its 4 or 16 bytes in network order; empty: it is a name.
std::string AddressBytes(string_view text) {
  const std::string address(text);
  unsigned char bytes[sizeof(in6_addr)];
  for (const auto& [family, size] : {std::pair(AF_INET, sizeof(in_addr)), {AF_INET6, sizeof(in6_addr)}}) {
    if (inet_pton(family, address.c_str(), bytes) == 1) return std::string(bytes, bytes + size);
  }
  return "";
}

// `network`: 10.0.0.0/8, fd00::/8, or one address.
bool InNetwork(string_view address, string_view network) {
  const std::pair<string_view, string_view> parts = absl::StrSplit(network, absl::MaxSplits('/', 1));
  const std::string base = AddressBytes(absl::StripSuffix(absl::StripPrefix(parts.first, "["), "]"));
  int bits = static_cast<int>(8 * base.size());
  if (base.size() != address.size()) return false;
  if (!parts.second.empty() && !absl::SimpleAtoi(absl::StripSuffix(parts.second, "]"), &bits)) return false;
  if (bits < 0 || bits > static_cast<int>(8 * base.size())) return false;
  const size_t whole = static_cast<size_t>(bits) / 8;
  if (address.substr(0, whole) != string_view(base).substr(0, whole)) return false;
  const int rest = 8 - bits % 8;
  return rest == 8 || (static_cast<uint8_t>(address[whole]) ^ static_cast<uint8_t>(base[whole])) >> rest == 0;
}

bool NeedsNone(string_view host, string_view list) {
  if (absl::StripAsciiWhitespace(list) == "*") return true;
  const std::string address = AddressBytes(host);
  for (string_view entry : absl::StrSplit(list, absl::ByAnyChar(", \t"), absl::SkipEmpty())) {
    if (!address.empty() && InNetwork(address, entry)) return true;
    absl::ConsumePrefix(&entry, "[");
    entry = absl::StripSuffix(absl::StripSuffix(absl::StripPrefix(entry, "."), "."), "]");
    if (entry.empty()) continue;
    if (absl::EqualsIgnoreCase(host, entry)) return true;
    if (address.empty() && absl::EndsWithIgnoreCase(host, absl::StrCat(".", entry))) return true;
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
