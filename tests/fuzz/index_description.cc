// SPDX-License-Identifier: Apache-2.0
// What is said beside an index.
#include "index/flat_json.h"
#include "index/index_files.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Saw(ParseFlatJson(bytes).status());
  const absl::StatusOr<IndexDescription> read = ReadDescription(scratch.Write("index.json", bytes));
  Saw(read.status());
  if (!read.ok()) return 0;
  Require(read->rows >= 0 && read->model.dim > 0, "what is read can be");
  const std::string printed = DescriptionJson(*read);
  const absl::StatusOr<IndexDescription> again = ReadDescription(scratch.Write("again.json", printed));
  Require(again.ok() && DescriptionJson(*again) == printed, "a description is read as it was written");
  (void)ResolveFactory(read->factory, 1000, 1000);
  return 0;
}
