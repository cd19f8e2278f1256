// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_address.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "io/net/url.h"

namespace reembed {
namespace {

using absl::string_view;

string_view WithoutSlashes(string_view text) {
  while (absl::ConsumeSuffix(&text, "/")) {
  }
  return text;
}

string_view Trimmed(string_view text) {
  text = absl::StripAsciiWhitespace(text);
  for (const string_view quote : {"\"", "'"}) {
    if (text.size() >= 2 && absl::StartsWith(text, quote) && absl::EndsWith(text, quote)) {
      text = text.substr(1, text.size() - 2);
    }
  }
  return absl::StripAsciiWhitespace(text);
}

// From the first slash behind the host on; empty: it has no path.
string_view PathOf(string_view url) {
  const size_t scheme = url.find("://");
  const size_t slash = url.find('/', scheme == string_view::npos ? 0 : scheme + 3);
  return slash == string_view::npos ? "" : url.substr(slash);
}

// Takes a route at the end of it. `whole`: whether it was that of requests.
string_view WithoutRoute(const Dialect& dialect, string_view url, bool* whole) {
  *whole = false;
  for (const char* const route : dialect.routes) {
    if (route == nullptr) continue;
    // A part of a host's name is no route.
    if (!absl::EndsWith(PathOf(url), route)) continue;
    *whole = route == dialect.routes.front();
    return absl::StripSuffix(url, route);
  }
  // Gemini: /models/NAME:embedContent.
  const string_view path = PathOf(url);
  const size_t models = path.rfind("/models/");
  if (models == string_view::npos || !absl::StrContains(path.substr(models), ':')) return url;
  return url.substr(0, url.size() - (path.size() - models));
}

// The parameters of both, those of the first where both have one of that name.
std::string MergeQueries(string_view first, string_view second) {
  std::vector<string_view> all = absl::StrSplit(first, '&', absl::SkipEmpty());
  const auto name_of = [](string_view parameter) { return parameter.substr(0, parameter.find('=')); };
  for (const string_view parameter : absl::StrSplit(second, '&', absl::SkipEmpty())) {
    const auto same = [&](string_view other) { return name_of(other) == name_of(parameter); };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(parameter);
  }
  return absl::StrJoin(all, "&");
}

std::pair<string_view, string_view> SplitQuery(string_view url) {
  url = url.substr(0, url.find('#'));
  return absl::StrSplit(url, absl::MaxSplits('?', 1));
}

bool IsVersion(string_view segment) {
  return segment.size() >= 2 && segment[0] == 'v' && absl::ascii_isdigit(segment[1]);
}

}  // namespace

std::string RequestUrl(const Dialect& dialect, string_view api_base, const std::string& model) {
  const auto [address, query] = SplitQuery(api_base);
  bool whole = false;
  const string_view base = WithoutRoute(dialect, WithoutSlashes(address), &whole);
  const std::string built = dialect.url(std::string(WithoutSlashes(base)), model);
  const auto [url, own_query] = SplitQuery(built);
  const std::string merged = MergeQueries(query, own_query);
  return absl::StrCat(url, whole && absl::EndsWith(address, "/") ? "/" : "", merged.empty() ? "" : "?", merged);
}

std::string TidyAddress(const Dialect& dialect, string_view api_base) {
  const auto [address, query] = SplitQuery(Trimmed(api_base));
  bool whole = false;
  const string_view tidy = WithoutSlashes(address);
  WithoutRoute(dialect, tidy, &whole);
  return absl::StrCat(tidy, whole && absl::EndsWith(address, "/") ? "/" : "", query.empty() ? "" : "?", query);
}

const Dialect* DialectOfAddress(string_view api_base) {
  const string_view path = WithoutSlashes(PathOf(SplitQuery(Trimmed(api_base)).first));
  static constexpr std::pair<string_view, string_view> kRoutes[] = {
      {"/api/embed", "ollama"},
      {"/v2/embed", "cohere"},
      {":batchEmbedContents", "gemini"},
      {":embedContent", "gemini"},
  };
  for (const auto& [route, name] : kRoutes) {
    if (absl::EndsWith(path, route)) return FindDialect(name);
  }
  if (absl::EndsWith(UrlHost(Trimmed(api_base)), ".azure.com") && absl::StrContains(path, "/openai/deployments/")) {
    return FindDialect("azure");
  }
  return nullptr;
}

const Dialect* ForeignDialect(const Dialect& dialect, string_view api_base) {
  const Dialect* const other = DialectOfAddress(api_base);
  if (other == nullptr || other == &dialect) return nullptr;
  const string_view address = WithoutSlashes(SplitQuery(Trimmed(api_base)).first);
  bool whole = false;
  return WithoutRoute(dialect, address, &whole).size() < address.size() ? nullptr : other;
}

std::string AddressHint(const Dialect& dialect, string_view api_base) {
  const string_view version = PathOf(dialect.api_base);
  bool whole = false;
  const string_view address = WithoutSlashes(SplitQuery(api_base).first);
  const string_view base = WithoutSlashes(WithoutRoute(dialect, address, &whole));
  const std::vector<string_view> segments = absl::StrSplit(PathOf(base), '/');
  if (*dialect.api_base == '\0') return "";
  if (!version.empty()) {
    const bool has_version = std::any_of(segments.begin(), segments.end(), IsVersion);
    return has_version ? "" : absl::StrCat("did you mean ", UrlForMessages(base), version, "?");
  }
  // infinity, by default without one.
  if (!IsVersion(segments.back())) return "";
  return absl::StrCat("did you mean ", UrlForMessages(base.substr(0, base.rfind('/'))), "?");
}

std::string AddressOfHost(string_view host, string_view own) {
  string_view rest = Trimmed(host);
  string_view scheme = own.substr(0, own.find("://"));
  const string_view own_authority = absl::StripSuffix(own.substr(scheme.size() + 3), PathOf(own));
  const std::pair<string_view, string_view> own_parts = absl::StrSplit(own_authority, absl::MaxSplits(':', 1));
  string_view port_by_default = own_parts.second;
  if (const size_t at = rest.find("://"); at != string_view::npos) {
    scheme = rest.substr(0, at);
    rest.remove_prefix(at + 3);
    port_by_default = "";  // the scheme's own
  } else if (WithoutSlashes(rest) == "ollama.com") {
    scheme = "https";
    port_by_default = "";
  }
  const size_t slash = rest.find('/');
  string_view path = slash == string_view::npos ? "" : WithoutSlashes(rest.substr(slash));
  if (path.empty() && !absl::StrContains(host, "://")) path = PathOf(own);
  const string_view authority = rest.substr(0, slash);
  string_view name = authority, port;
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  const bool bare_ipv6 = bracket == string_view::npos && std::count(authority.begin(), authority.end(), ':') > 1;
  if (!bare_ipv6 && colon != string_view::npos && (bracket == string_view::npos || colon > bracket)) {
    name = authority.substr(0, colon);
    port = authority.substr(colon + 1);
  }
  name = absl::StripSuffix(absl::StripPrefix(name, "["), "]");
  if (name.empty() || name == "0.0.0.0") name = own_parts.first;
  if (name == "::") name = "::1";
  int number = 0;
  if (!absl::SimpleAtoi(port, &number) || number < 0 || number > 65535) port = port_by_default;
  const bool ipv6 = absl::StrContains(name, ':');
  return absl::StrCat(scheme, "://", ipv6 ? "[" : "", name, ipv6 ? "]" : "", port.empty() ? "" : ":", port, path);
}

}  // namespace reembed
