// SPDX-License-Identifier: Apache-2.0
// The text keys of an index.
#include <string>

#include "index/index_files.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const auto read = [&](absl::string_view lines) {
    Checksum checksum;
    checksum.Add(lines.data(), lines.size());
    const FileMark mark{.bytes = static_cast<int64_t>(lines.size()), .checksum = checksum.Value()};
    return KeyTable::Read(scratch.Write("index.keys.jsonl", lines), mark);
  };
  const absl::StatusOr<KeyTable> table = read({reinterpret_cast<const char*>(data), size});
  Saw(table.status());
  if (!table.ok()) return 0;
  std::string lines;
  for (int64_t i = 0; i < table->size(); ++i) {
    Require(table->FindId(table->id(i)) == i, "an id is found");
    KeyTable::AppendLine(table->id(i), table->key(i), &lines);
  }
  const absl::StatusOr<KeyTable> again = read(lines);
  Require(again.ok() && again->size() == table->size(), "keys are read as they were written");
  for (int64_t i = 0; i < table->size(); ++i) {
    Require(again->id(i) == table->id(i) && again->key(i) == table->key(i), "a key is read as it was written");
  }
  return 0;
}
