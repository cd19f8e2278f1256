// SPDX-License-Identifier: Apache-2.0
// Files whose rows each name their width.
#include "io/file/fvecs_reader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<std::unique_ptr<VectorReader>> reader =
      OpenFvecsReader({.scheme = "fvecs", .path = scratch.Write("vectors.fvecs", bytes)});
  Saw(reader.status());
  if (!reader.ok()) return 0;
  const int64_t rows = (*reader)->rows();
  Require(rows >= 0 && static_cast<uint64_t>(rows) * 4 <= size, "a row takes its width at least");
  ReadAll(reader->get());
  return 0;
}
