// SPDX-License-Identifier: Apache-2.0
#include "io/net/url.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/location.h"

namespace reembed {
namespace {

using absl::string_view;

// Where the host begins, with user and password before it.
size_t AuthorityBegin(string_view url) {
  const size_t scheme = url.find("://");
  return scheme == string_view::npos ? 0 : scheme + 3;
}

string_view Authority(string_view url) {
  url.remove_prefix(AuthorityBegin(url));
  return url.substr(0, url.find_first_of("/?#"));
}

}  // namespace

absl::StatusOr<UrlAndLogin> TakeLogin(string_view url) {
  const size_t begin = AuthorityBegin(url);
  const string_view authority = Authority(url);
  const size_t at = authority.rfind('@');
  const string_view host = at == string_view::npos ? authority : authority.substr(at + 1);
  const size_t colon = host.rfind(':');
  const bool is_port = colon == string_view::npos || absl::EndsWith(host, "]") ||
                       host.find_first_not_of("0123456789", colon + 1) == string_view::npos;
  // What looks like a port is the beginning of the password, then.
  if (!is_port && absl::StrContains(url.substr(begin), '@')) {
    return absl::InvalidArgumentError(
        "the address seems to hold a password with / ? or #: write these as %2F, %3F and %23");
  }
  if (at == string_view::npos) return UrlAndLogin{.url = std::string(url)};
  absl::StatusOr<std::string> login = PercentDecode(authority.substr(0, at));
  if (!login.ok()) {
    return absl::InvalidArgumentError("the user or the password in the address has a % of its own; write %25");
  }
  if (!absl::StrContains(*login, ':')) login->push_back(':');
  return UrlAndLogin{.url = absl::StrCat(url.substr(0, begin), url.substr(begin + at + 1)), .login = *std::move(login)};
}

std::string UrlForMessages(string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  const string_view authority = Authority(url);
  const size_t at = authority.rfind('@');
  if (at == string_view::npos) return std::string(url);
  const size_t begin = AuthorityBegin(url);
  return absl::StrCat(url.substr(0, begin), url.substr(begin + at + 1));
}

string_view UrlHost(string_view url) {
  string_view host = Authority(url);
  if (const size_t at = host.rfind('@'); at != string_view::npos) host.remove_prefix(at + 1);
  if (absl::ConsumePrefix(&host, "[")) return host.substr(0, host.find(']'));
  return host.substr(0, host.find(':'));
}

bool IsLoopbackUrl(string_view url) {
  const std::string lower = absl::AsciiStrToLower(UrlHost(url));
  string_view host = absl::StripSuffix(lower, ".");
  for (const string_view name : {"localhost", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1"}) {
    if (host == name) return true;
  }
  if (absl::EndsWith(host, ".localhost")) return true;
  // A name may begin with these digits, too.
  const bool is_address = host.find_first_not_of("0123456789.") == string_view::npos;
  return is_address && absl::StartsWith(host, "127.");
}

std::string ResolveReference(string_view url, string_view reference) {
  const size_t scheme = reference.find(':');
  const bool absolute = scheme != string_view::npos && scheme > 0 && absl::ascii_isalpha(reference[0]) &&
                        std::all_of(reference.begin(), reference.begin() + scheme,
                                    [](char c) { return absl::ascii_isalnum(c) || c == '+' || c == '-' || c == '.'; });
  if (absolute) return std::string(reference);
  const size_t authority = AuthorityBegin(url);
  if (absl::StartsWith(reference, "//")) return absl::StrCat(url.substr(0, authority - 2), reference);
  const string_view path = url.substr(0, url.find_first_of("?#"));
  const size_t root = std::min(path.find('/', authority), path.size());
  if (absl::StartsWith(reference, "/")) return absl::StrCat(path.substr(0, root), reference);
  if (reference.empty() || reference[0] == '?' || reference[0] == '#') return absl::StrCat(path, reference);
  const size_t folder = path.rfind('/');
  return absl::StrCat(folder == string_view::npos || folder < root ? path.substr(0, root) : path.substr(0, folder), "/",
                      reference);
}

}  // namespace reembed
