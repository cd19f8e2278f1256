// SPDX-License-Identifier: Apache-2.0
// URIs of sources and targets.
#include "engine/location.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  const absl::StatusOr<Location> location = ParseLocation({reinterpret_cast<const char*>(data), size});
  Saw(location.status());
  if (!location.ok()) return 0;
  Require(!location->scheme.empty(), "a location has a scheme");
  const std::string printed = location->ToString();
  const absl::StatusOr<Location> again = ParseLocation(printed);
  Require(again.ok(), "a location that was printed is one");
  Require(again->scheme == location->scheme && again->path == location->path &&
              again->parameters == location->parameters && again->ToString() == printed,
          "a location is read as it was printed");
  return 0;
}
