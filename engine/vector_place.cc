// SPDX-License-Identifier: Apache-2.0
#include "engine/vector_place.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace reembed {

std::string FileStoreName(const Location& place) {
  std::error_code failed;
  const std::filesystem::path canonical =
      std::filesystem::weakly_canonical(std::filesystem::absolute(place.path, failed), failed);
  return absl::StrCat(place.scheme, ":", failed ? place.path : canonical.string());
}

std::string ServerStoreName(absl::string_view scheme, absl::string_view path, absl::string_view default_host,
                            absl::string_view default_port) {
  for (const absl::string_view prefix : {"https://", "http://", "wss://", "ws://", "//"}) {
    if (absl::ConsumePrefix(&path, prefix)) break;
  }
  const size_t slash = std::min(path.find('/'), path.size());
  absl::string_view host = path.substr(0, slash), rest = path.substr(slash), port = default_port;
  absl::ConsumeSuffix(&rest, "/");
  if (const size_t at = host.rfind('@'); at != absl::string_view::npos) host.remove_prefix(at + 1);
  if (const size_t colon = host.rfind(':'); colon != absl::string_view::npos && !absl::EndsWith(host, "]")) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.empty()) host = default_host;
  if (host == "127.0.0.1" || host == "[::1]") host = "localhost";
  return absl::StrCat(scheme, ":", absl::AsciiStrToLower(host), port.empty() ? "" : ":", port, rest);
}

}  // namespace reembed
