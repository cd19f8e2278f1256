// SPDX-License-Identifier: Apache-2.0
// Addresses of --quota and --cache.
#include "io/share/share_address.h"

#include "absl/strings/match.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::string_view uri(reinterpret_cast<const char*>(data), size);
  if (absl::StrContains(uri, "hidden-password")) return 0;  // as a host it is one that may be shown
  const absl::StatusOr<ShareAddress> address = ParseShareAddress("--quota", uri, "hidden-password");
  Saw(address.status());
  Require(!absl::StrContains(address.status().message(), "hidden-password"), "no message has the password");
  if (!address.ok()) return 0;
  Require(IsShareAddress(uri), "what is read has a scheme that is known");
  Require(!address->server.host.empty() && !address->key.empty(), "an address has a host and a key");
  Require(address->server.port > 0 && address->server.port <= 65535, "a port is one");
  Require(address->server.database >= 0, "a database is not below zero");
  Require(!absl::StrContains(address->name, "hidden-password"), "a name has no password");
  return 0;
}
