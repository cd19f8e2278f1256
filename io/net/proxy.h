// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_NET_PROXY_H_
#define REEMBED_IO_NET_PROXY_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace reembed {

// The value of an environment variable; empty: it is not set.
using VariableReader = absl::FunctionRef<std::string(const char* name)>;

// The proxy for requests to `url`; empty: none. `asked`, if given, whatever the host is. Else none for this machine,
// and for others what the environment says, as libcurl reads it: http_proxy (in lower case only), or https_proxy and
// HTTPS_PROXY, then all_proxy and ALL_PROXY; hosts in no_proxy or NO_PROXY (names with all under them, addresses,
// IPv4 networks as 10.0.0.0/8, or *) need none.
std::string ProxyFor(absl::string_view url, const std::string& asked, VariableReader variable);

// By the variables of this process.
std::string ProxyFor(absl::string_view url, const std::string& asked);

// " through the proxy http://host:port", without user and password; empty without a proxy.
std::string ProxyForMessages(absl::string_view proxy);

}  // namespace reembed

#endif  // REEMBED_IO_NET_PROXY_H_
