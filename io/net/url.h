#ifndef REEMBED_IO_NET_URL_H_
#define REEMBED_IO_NET_URL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

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
