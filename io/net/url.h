// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_URL_H_
#define REEMBED_IO_NET_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// A URL apart from who is to be let in there.
struct UrlAndLogin {
  std::string url;    // as it was given, without user and password
  std::string login;  // user:password, decoded; empty: the URL has none
};

// Errors: kInvalidArgument (a % without two hex digits, or a / ? # in the password that is not written as %2F %3F %23);
// they show nothing of the URL.
absl::StatusOr<UrlAndLogin> TakeLogin(absl::string_view url);

// The URL without what may be secret: user, password, query.
std::string UrlForMessages(absl::string_view url);

// Its host, without user, port and the brackets of IPv6; a scheme may be missing.
absl::string_view UrlHost(absl::string_view url);

// Whether it names this machine: localhost, names under it, 127.0.0.0/8, ::1, and the addresses of all interfaces.
bool IsLoopbackUrl(absl::string_view url);

// Where `reference` leads from `url`, as a Location header means it (RFC 3986, 5.2; dots in paths stay).
std::string ResolveReference(absl::string_view url, absl::string_view reference);

}  // namespace reembed

#endif  // REEMBED_IO_NET_URL_H_
