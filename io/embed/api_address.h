// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_EMBED_API_ADDRESS_H_
#define REEMBED_IO_EMBED_API_ADDRESS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "io/embed/dialect.h"

namespace reembed {

// The URL of requests: `api_base` is what people give as the address of an API: its base, with slashes at its end or
// without, with a query, which stays, or a whole URL of it as documents and portals show it (/v1/embeddings, a
// deployment's target URI, /v2/embed, ...:embedContent).
std::string RequestUrl(const Dialect& dialect, absl::string_view api_base, const std::string& model);

// Blanks, quotes and slashes around it gone, but for the slash of a whole URL, which some servers insist on.
std::string TidyAddress(const Dialect& dialect, absl::string_view api_base);

// The API that has this route and no other; null: its address does not tell.
const Dialect* DialectOfAddress(absl::string_view api_base);

// Likewise, if that is another one than `dialect` and the route is none of its own; else null.
const Dialect* ForeignDialect(const Dialect& dialect, absl::string_view api_base);

// What may be wrong with an address at which the API was not found: "did you mean http://host/v1?"; empty: nothing that
// shows. `api_base` without a secret.
std::string AddressHint(const Dialect& dialect, absl::string_view api_base);

// The base URL that a variable for a server's address means, in all forms that Ollama takes in OLLAMA_HOST: host,
// host:port, :port, [::1]:port, with a scheme (whose port is then the default) and a path, in quotes and blanks. What
// is left out is as in `own`, the path too where there is no scheme; the addresses of all interfaces mean this machine;
// a port that is none is passed over. Source: envconfig.Host and ConnectableHost of Ollama 0.33.
std::string AddressOfHost(absl::string_view host, absl::string_view own);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_API_ADDRESS_H_
