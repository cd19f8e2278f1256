// SPDX-License-Identifier: Apache-2.0
// Files of texts, a JSON object a line; also what gzip and zstd packed.
#include "io/file/jsonl_source.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  Input input(data, size);
  const size_t choice = input.Choose(4);
  Location location{.scheme = "jsonl", .path = scratch.Write("texts.jsonl", input.rest())};
  if (choice % 2 == 1) location.parameters = {{"key", "meta.id"}, {"text", "body"}};
  absl::StatusOr<std::unique_ptr<Source>> source = OpenJsonlSource(location, {.strict = choice >= 2});
  Saw(source.status());
  if (source.ok()) ReadAll(source->get());
  return 0;
}
