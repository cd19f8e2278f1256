// SPDX-License-Identifier: Apache-2.0
#include "tools/live/listen_address.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace reembed {

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view flag, absl::string_view text) {
  ListenAddress parsed;
  // What a flag without a value is given.
  if (text == "on" || text == "true") return parsed;
  const size_t colon = text.rfind(':');
  absl::string_view host = colon == absl::string_view::npos ? "" : text.substr(0, colon);
  const absl::string_view port = colon == absl::string_view::npos ? text : text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  if (!host.empty()) parsed.address = std::string(host);
  in6_addr numbers;
  const bool is_address = inet_pton(AF_INET, parsed.address.c_str(), &numbers) == 1 ||
                          inet_pton(AF_INET6, parsed.address.c_str(), &numbers) == 1;
  if (!is_address || !absl::SimpleAtoi(port, &parsed.port) || parsed.port < 0 || parsed.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag, " ", text, ": expected ADDRESS:PORT as 127.0.0.1:9464, or a port; a job file stands before the flag"));
  }
  return parsed;
}

std::string HostAndPort(const std::string& address, int port) {
  const bool is_v6 = address.find(':') != std::string::npos;
  return absl::StrCat(is_v6 ? "[" : "", address, is_v6 ? "]:" : ":", port);
}

}  // namespace reembed
