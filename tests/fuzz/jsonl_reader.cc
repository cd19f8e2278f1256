// SPDX-License-Identifier: Apache-2.0
// Files of vectors, a JSON object a line.
#include "io/file/jsonl_reader.h"

#include <cmath>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Location location{.scheme = "jsonl", .path = scratch.Write("vectors.jsonl", bytes)};
  absl::StatusOr<std::unique_ptr<VectorReader>> reader = OpenJsonlReader(location);
  Saw(reader.status());
  if (reader.ok()) ReadAll(reader->get());
  return 0;
}
